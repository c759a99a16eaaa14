"""Which files lie in what failed its check: of any number of files, names and pieces."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from unittest import mock
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats import indexing
from rofuse_formats.entry import Extent
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.reader import Image
from rofuse_formats.report import Report
from rofuse_formats.verify import _known_damage

FILE = stat.S_IFREG | 0o644


def image_of(builder: ImageBuilder) -> Image:
    return Image(b"".join(bytes(piece) for piece in builder.finish()))


def told(image: Image, suspect: list[tuple[int, int]]) -> str:
    report = Report()
    indexing.tell_untrusted(report, image, suspect)
    (warning,) = report.warnings
    return warning.partition(": ")[2].partition(";")[0]


def ranges(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Every second one, of those that lie one behind the other."""
    at = 0
    for number, length in enumerate(lengths):
        if number % 2:
            yield at, at + length
        at += length


@given(
    st.lists(st.integers(1, 9), max_size=12).map(lambda lengths: list(ranges(lengths))),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=5),
)
def test_a_file_lies_there_or_not(suspect: list[tuple[int, int]], files: list[tuple[int, int]]) -> None:
    builder = ImageBuilder()
    for number, (at, size) in enumerate(files):
        builder.add(b"%d" % number, FILE, builder.implied_owner, size, 0, 0, at)
    bad = [
        number
        for number, (at, size) in enumerate(files)
        if any(start < at + size and at < end for start, end in suspect)
    ]
    expected = f"{len(bad)} files (first: '{bad[0]}') are read as errors" if bad else "no file lies there"
    assert told(image_of(builder), suspect) == expected


def test_a_file_of_many_names_and_pieces_is_looked_at_once() -> None:
    builder = ImageBuilder()
    pieces = [Extent(10 * number, 5, 5 * number) for number in range(100)]
    builder.add(b"file", FILE, builder.implied_owner, 1000, 0, 0, builder.extents(pieces))
    for number in range(20):
        builder.hardlink(b"%d" % number, b"file")
    image = image_of(builder)
    with mock.patch.object(indexing, "_places", wraps=indexing._places) as places:
        assert told(image, [(0, 1)]).startswith("21 files (first: 'file')")
    places.assert_called_once()


@given(
    st.lists(st.integers(1, 9), max_size=12).map(lambda lengths: list(ranges(lengths))),
    st.integers(0, 60),
    st.integers(1, 30),
)
def test_where_in_a_file_the_damage_begins(suspect: list[tuple[int, int]], at: int, size: int) -> None:
    builder = ImageBuilder()
    builder.add(b"file", FILE, builder.implied_owner, size, 0, 0, at)
    archive = Mock(image=image_of(builder), suspect=[suspect], stream=Mock(size=1000))
    bad = [at + n for n in range(size) if any(start <= at + n < end for start, end in suspect)]
    expected = ("its data failed its check", bad[0] - at, False) if bad else ("", None, False)
    assert _known_damage(archive, 2) == expected

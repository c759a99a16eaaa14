"""What every codec must pass, on files that the real tools made: codec x maker x shape.

A new codec is covered by what ``testdata/streams`` has of its suffix, a new maker by a file there; nothing here names
one. What each file holds was found by the format's own decompressor; see ``testdata/streams/make.py``.
"""

from __future__ import annotations

import random
import threading
from functools import cache
from zlib import crc32

import pytest

import rofuse_formats
from rofuse_formats.codecs import codecs
from rofuse_formats.detect import HEAD
from rofuse_formats.errors import FormatError, TruncatedError
from rofuse_formats.streams import BlockCache, DecodedStream
from testdata.streams.expected import FOLDER
from testdata.streams.makers import UNFRAMED
from tests.archive_tree import tree_of
from tests.formats.stream_support import (
    Decoded,
    Stream,
    around,
    by_program,
    check_cursors,
    check_intact,
    decode,
    digest,
    is_usable,
    opened,
    streams,
)
from tests.trees import difference, read_expected

CUTS, FLIPS = 20, 200
CUTS_OF_PROGRAMS, FLIPS_OF_PROGRAMS = 4, 20  # each takes some processes

READ = [stream for stream in streams() if stream.codec and is_usable(stream.codec)]
CODECS = sorted(name for name, codec in codecs().items() if is_usable(codec))

pytestmark = pytest.mark.timeout(120)  # a hang costs no more


def each(chosen: list[Stream]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stream", chosen, ids=[stream.path.name for stream in chosen])


@cache
def whole(stream: Stream) -> Decoded:
    assert stream.codec
    return decode(stream.codec, stream.path.read_bytes())


def seed(stream: Stream) -> int:
    return crc32(stream.path.name.encode())


# The files themselves


def test_the_folder_holds_what_is_expected() -> None:
    made = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", "") and path.is_file()}
    assert made == {stream.path.name for stream in streams()}


def test_what_the_judges_found_is_what_we_compare_with() -> None:
    for stream in streams():
        assert digest(stream.content()) == stream.expected.digest, stream.path.name


@pytest.mark.parametrize("name", CODECS)
def test_each_codec_has_files(name: str) -> None:
    assert any(stream.codec is codecs()[name] for stream in READ)


def test_each_file_has_its_codec() -> None:
    assert [stream.path.name for stream in streams() if not stream.codec] == []


# Whole files


@each(READ)
def test_its_own_codec_recognises_it_and_no_other(stream: Stream) -> None:
    with open(stream.path, "rb") as file:
        head = file.read(HEAD)
    assert stream.codec
    claimed = {codec.name for codec in codecs().values() if codec.magic and codec.recognise(head)}
    assert claimed == ({stream.codec.name} if stream.codec.magic else set())
    assert stream.codec.recognise(head)


@each(READ)
def test_first_pass(stream: Stream) -> None:
    decoded = whole(stream)
    first_pass, compressed = decoded.first_pass, stream.path.stat().st_size
    assert digest(decoded.data) == stream.expected.digest
    assert first_pass.suspect == []
    if stream.shape == "garbage":  # damage to some formats, ignored by others, never passed over in silence
        assert first_pass.damages or first_pass.warnings
    else:
        assert first_pass.damages == []
        assert first_pass.warnings == []
    assert first_pass.consumed <= compressed
    assert first_pass.name == stream.maker.says
    assert min(stream.maker.parts, stream.expected.size) <= first_pass.frames <= compressed


@each(READ)
def test_index_is_canonical(stream: Stream) -> None:
    assert stream.codec
    again = decode(stream.codec, stream.path.read_bytes())
    assert again.seeks == whole(stream).seeks


@each(READ)
def test_cursors(stream: Stream) -> None:
    assert stream.codec
    decoded = whole(stream)
    source = opened(stream.codec, stream.path.read_bytes(), decoded)
    check_cursors(source, decoded, around(source.points, source.size, seed(stream)))


@each(READ)
def test_four_readers_at_once(stream: Stream) -> None:
    assert stream.codec
    decoded = whole(stream)
    source = opened(stream.codec, stream.path.read_bytes(), decoded)
    shared = DecodedStream(source, BlockCache())
    wrong: list[int | BaseException] = []

    def reader(number: int) -> None:
        offsets = around(source.points, source.size, seed(stream) + number)
        random.Random(number).shuffle(offsets)
        try:
            for offset in offsets:
                size = (1, 511, 4096, 150_000)[offset % 4]
                if shared.pread(size, offset) != decoded.data[offset : offset + size]:
                    wrong.append(offset)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@each([stream for stream in READ if not stream.is_archive])
def test_alone_it_is_a_directory_with_one_file(stream: Stream) -> None:
    assert stream.codec
    suffix = stream.path.suffix.encode()
    stem = stream.path.name.encode().removesuffix(suffix) + stream.codec.suffixes[suffix]
    with rofuse_formats.open(stream.path, keep=False) as archive:
        ((name, node),) = archive.image.walk()
        assert name == (stream.maker.says or stem)
        assert archive.image.size[node - 1] == stream.expected.size
        assert digest(b"".join(archive.read(node, 0, stream.expected.size))) == stream.expected.digest
        assert bool(archive.report.lines()) == (stream.shape == "garbage")


@each([stream for stream in READ if stream.is_archive])
def test_an_archive_in_it_is_the_tree_that_another_tool_found(stream: Stream) -> None:
    expected = read_expected(FOLDER.parent / stream.shape.replace(".tar", ".expected"))
    with rofuse_formats.open(stream.path, keep=False) as archive:
        assert difference(expected, tree_of(archive)) == []
        assert archive.report.lines() == []


# Damaged files


@each(READ)
def test_truncated(stream: Stream) -> None:
    """What comes out is right, what can be read again is the same, that it ended early is told, and nothing that came
    before is called in question."""
    assert stream.codec
    compressed = stream.path.read_bytes()
    choose = random.Random(seed(stream))
    count = CUTS_OF_PROGRAMS if by_program(stream.codec) else CUTS
    cuts = set(choose.choices(range(len(compressed)), k=count - 2)) | {0, len(compressed) - 1}
    for cut in sorted(cuts):
        try:
            decoded = check_damaged(stream, compressed[:cut])
            still_known = stream.codec.recognise(compressed[: min(cut, HEAD)])
            says_how = stream.maker.checked and not by_program(
                stream.codec
            )  # which says that something is wrong
            if decoded and still_known and says_how and stream.shape != "garbage":
                first_pass = decoded.first_pass
                assert all(isinstance(damage, TruncatedError) for damage in first_pass.damages)
                assert not any(any(decoded.data[start:end]) for start, end in first_pass.suspect)
        except Exception as error:
            error.add_note(f"{stream.path.name}, truncated to {cut} of {len(compressed)} bytes")
            raise


@pytest.mark.parametrize("name", CODECS)
def test_flipped_bits(name: str) -> None:
    """What comes out is right, what can be read again is the same; where nothing is told, nothing is lost."""
    files = [stream for stream in READ if stream.codec is codecs()[name]]
    choose = random.Random(seed(files[0]))
    for _ in range(FLIPS_OF_PROGRAMS if by_program(codecs()[name]) else FLIPS):
        stream = choose.choice(files)
        broken = bytearray(stream.path.read_bytes())
        at, bit = choose.randrange(len(broken)), choose.randrange(8)
        broken[at] ^= 1 << bit
        try:
            check_damaged(stream, bytes(broken), cut_off=False)
        except Exception as error:
            error.add_note(f"{stream.path.name}, bit {bit} of byte {at} of {len(broken)} flipped")
            raise


def check_damaged(stream: Stream, broken: bytes, cut_off: bool = True) -> Decoded | None:
    """What a first pass over the broken stream came to, if it was not refused. ``cut_off``: that is all that is wrong
    with it."""
    assert stream.codec
    try:
        decoded = decode(stream.codec, broken)
    except FormatError as refused:
        assert "\n" not in str(refused)
        return None
    source = opened(stream.codec, broken, decoded)
    check_cursors(source, decoded)
    first_pass = decoded.first_pass
    mistaken = any(isinstance(damage, TruncatedError) for damage in first_pass.damages) and not cut_off
    if stream.maker.checked and not (mistaken and stream.maker.suffix in UNFRAMED):
        check_intact(decoded, stream.content())
        told = first_pass.damages or first_pass.warnings
        fewer = first_pass.frames < whole(stream).first_pass.frames  # it ends between two of them
        assert told or fewer or digest(decoded.data) == stream.expected.digest, "silently not all"
    return decoded

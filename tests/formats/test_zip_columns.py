"""The central directory read column by column: it says what it says when each entry is described by itself."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rofuse_formats.archives.zip import directory, scanner
from rofuse_formats.archives.zip.columns import Columns
from rofuse_formats.entry import ScanOptions
from rofuse_formats.errors import FormatError
from rofuse_formats.image.builder import ImageBuilder
from tests.formats.sources import BytesSource

TESTDATA = Path(__file__).parents[2] / "testdata"
SMALL = 200_000
MUTATIONS = 20
ARCHIVES = [path for path in sorted(TESTDATA.glob("*.zip")) if path.stat().st_size < SMALL]


class FileLikeSource(BytesSource):
    """Beyond its end there is nothing, as in files."""

    def pread(self, size: int, offset: int, /) -> bytes:
        return super().pread(size, min(offset, self.size))


def described(archive: bytes) -> tuple[bytes, object]:
    """The image of an archive and what was noticed; or why there is none."""
    builder = ImageBuilder()
    try:
        scanner.Scanner(FileLikeSource(archive), builder, ScanOptions()).run()
    except FormatError as error:
        return type(error).__name__.encode(), str(error)
    return b"".join(bytes(piece) for piece in builder.finish()), builder.report.to_json()


def described_one_by_one(monkeypatch: pytest.MonkeyPatch, archive: bytes) -> tuple[bytes, object]:
    def no_window(columns: Columns, buffer: bytes) -> Any:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(Columns, "window", no_window)
        return described(archive)


def mutated(chance: random.Random, archive: bytes, start: int, end: int) -> bytes:
    """With some bytes changed between ``start`` and ``end``, at times to a signature."""
    changed = bytearray(archive)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(start, end)
        what = chance.choice((b"\0", b"\1", b"\xff", b"/", b"\\", b"PK\1\2", bytes((chance.randrange(256),))))
        changed[at : at + len(what)] = what
    return bytes(changed)


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_columns_say_what_the_entries_say(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    archive = path.read_bytes()
    assert described(archive) == described_one_by_one(monkeypatch, archive)
    found = directory.find(BytesSource(archive))
    if found is None or found.start == found.end:
        return
    chance = random.Random(path.name)
    for _ in range(MUTATIONS):
        damaged = mutated(chance, archive, found.start, found.end)
        assert described(damaged) == described_one_by_one(monkeypatch, damaged)


def made(names: list[str], comment: bytes = b"", extra: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10))
            info.comment, info.extra, info.external_attr = comment, extra, 0o100644 << 16
            archive.writestr(info, name)
    return file.getvalue()


@pytest.mark.parametrize("window", [300, 1000, 1 << 20])
@pytest.mark.parametrize("comment", [b"", b"a comment", b"PK\1\2"])
def test_it_does_not_matter_where_a_window_ends(
    monkeypatch: pytest.MonkeyPatch, window: int, comment: bytes
) -> None:
    signature = "PK\1\2"
    names = [f"{number % 7}/name-{number}{signature * (number % 50 == 3)}" for number in range(200)]
    monkeypatch.setattr(scanner, "_WINDOW", window)
    for behind in comment, comment * 10:
        archive = made(names, behind)
        assert described(archive) == described_one_by_one(monkeypatch, archive)
        image, _report = described(archive)
        assert image.count(b"name-") == len(names)


def test_more_kinds_than_are_told_apart_are_described_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = bytearray(made([f"name-{number}" for number in range(400)]))
    found = directory.find(BytesSource(bytes(archive)))
    assert found is not None
    at = found.start
    for number in range(400):
        archive[at + 38 : at + 42] = (0o100000 + number << 16).to_bytes(4, "little")
        at = archive.find(b"PK\1\2", at + 4)
    assert described(bytes(archive)) == described_one_by_one(monkeypatch, bytes(archive))

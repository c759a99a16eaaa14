"""7z archives that 7-Zip's threads have compressed in runs: what is decoded from the beginning of one, and what comes
after it."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import pytest

from rofuse_formats import Archive
from rofuse_formats.archives.libarchive.sevenzip import runs
from rofuse_formats.archives.libarchive.sevenzip.description import description
from rofuse_formats.archives.libarchive.sevenzip.groups import Group, Groups
from rofuse_formats.archives.libarchive.sevenzip.header import LARGEST, header_of
from rofuse_formats.errors import DamagedError, LimitError
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import FileSource
from tests.formats.libarchive_support import content, decodings, files, headed, opened, seven

_SECONDS = 60
IN_RUNS = ("-ms=on", "-mx=1", "-m0=lzma2:d=64k:c=1m", "-mmt=2")
_UNIT = 1 << 12


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def patterns(sizes: list[int]) -> dict[str, bytes]:
    """Files that pack to little, no two alike, each with no end of a pattern."""
    chance = random.Random(5)
    return {f"{n:02}": (chance.randbytes(_UNIT) * (size // _UNIT + 1))[:size] for n, size in enumerate(sizes)}


@pytest.fixture(scope="module")
def tree() -> dict[str, bytes]:
    """28 MiB. One file goes over three runs, and one is empty."""
    return patterns([700_000] * 10 + [0] + [300_000] * 5 + [18 * MIB + 5] + [500_000] * 3)


@pytest.fixture(scope="module")
def archive_in_runs(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]) -> Path:
    return seven(tmp_path_factory.mktemp("runs"), tree, *IN_RUNS)


def groups_of(path: Path) -> list[Group]:
    source = FileSource(path)
    found, groups, at = description(source.pread, source.size, MIB), [], 0
    assert found is not None
    size = sum(sum(folder.sizes) for folder in found.folders)
    parts = Groups(source.pread, source.size, Limits())
    while at < size:
        group = parts.find(at)
        assert group is not None
        groups.append(group)
        at = group.files[-1].end
    return groups


def test_a_group_is_the_files_that_begin_in_a_run(archive_in_runs: Path, tree: dict[str, bytes]) -> None:
    groups = groups_of(archive_in_runs)
    assert len(groups) == 3
    assert [file.end - file.start for group in groups for file in group.files] == [
        len(data) for data in tree.values() if data
    ]
    assert all(a.files[-1].end == b.files[0].start for a, b in pairwise(groups))
    assert {group.whole for group in groups} == {(0, sum(map(len, tree.values())))}


def test_every_group_is_decoded_from_its_own_run(
    archive_in_runs: Path, tree: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LEAST", MIB)
    source, whole = FileSource(archive_in_runs), b"".join(tree.values())
    parts, found = Groups(source.pread, source.size, Limits()), groups_of(archive_in_runs)
    assert len(found) > 5
    for group in random.Random(1).sample(found, len(found)):
        assert parts.find(group.files[-1].end - 1) == group
        assert b"".join(parts.decoded(group)) == whole[group.files[0].start : group.files[-1].end]


def is_kept(archive: Archive, end: int) -> bool:
    (decoding,) = decodings(archive)
    with decoding._changed:
        return decoding._end_of(0) >= end and not any(one.is_busy for one in decoding._passes)


def test_what_is_not_asked_for_is_decoded_when_nobody_waits(
    archive_in_runs: Path, tree: dict[str, bytes]
) -> None:
    """From the last run on to the end, and then what is before it."""
    archive = opened(archive_in_runs, keep=True)
    assert content(archive, b"18") == tree["18"]
    size, end = sum(map(len, tree.values())), time.monotonic() + _SECONDS
    while not is_kept(archive, size):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert all(content(archive, name) == tree[name.decode()] for name in files(archive))
    archive.close()
    again = opened(archive_in_runs, keep=True)
    assert content(again, b"00") == tree["00"]
    assert not any(one._passes for one in decodings(again))


def test_damage_is_that_of_its_run(archive_in_runs: Path, tree: dict[str, bytes], tmp_path: Path) -> None:
    groups = groups_of(archive_in_runs)
    data = bytearray(archive_in_runs.read_bytes())
    for at in range(groups[0].place + 3000, groups[0].place + 4000):
        data[at] ^= 0x55
    path = tmp_path / "damaged.7z"
    path.write_bytes(data)
    archive = opened(path, keep=True)
    good = [name for name in files(archive) if is_good(archive, name, tree[name.decode()])]
    assert set(good) >= {name for name in files(archive) if name >= b"17"}
    assert len(good) < len(files(archive))


def is_good(archive: Archive, name: bytes, data: bytes) -> bool:
    try:
        assert content(archive, name) == data
    except DamagedError:
        return False
    return True


def test_a_wrong_checksum_is_that_of_one_file(tmp_path: Path) -> None:
    """Where nothing is wrong with what is compressed."""
    tree = patterns([5000, 6000, 7000])
    path = seven(tmp_path, tree, "-ms=on")
    sums = [crc32(data).to_bytes(4, "little") for data in tree.values()]
    source = FileSource(path)
    whole = header_of(source.pread, source.size, LARGEST)
    assert whole.count(sums[1]) == 1
    path.write_bytes(headed(path.read_bytes(), whole.replace(sums[1], b"none")))
    archive = opened(path)
    assert [is_good(archive, name.encode(), data) for name, data in tree.items()] == [True, False, True]
    with pytest.raises(DamagedError, match="failed its check"):
        content(archive, b"01")
    assert content(opened(path, salvage=True), b"01") == tree["01"]


def test_chunks_that_are_none_are_no_runs(archive_in_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LEAST", MIB)
    source = FileSource(archive_in_runs)
    found = description(source.pread, source.size, MIB)
    assert found is not None
    folder, chance = found.folders[0], random.Random(2)
    size = sum(folder.sizes)
    for _ in range(50):
        cut = chance.randrange(source.size)

        def pread(count: int, at: int, cut: int = cut, chance: random.Random = chance) -> bytes:
            return source.pread(count, at) if at < cut else chance.randbytes(count)

        made = runs.Runs(pread, folder)
        for at in (0, size - 1, chance.randrange(size)):
            start, end, place = made.find(at)
            assert start <= at < end <= size
            assert folder.packed[0] <= place < sum(folder.packed)


def test_a_dictionary_has_its_limit(archive_in_runs: Path) -> None:
    source = FileSource(archive_in_runs)
    limits = Limits()
    parts = Groups(source.pread, source.size, limits)
    group = parts.find(0)
    assert group is not None
    limits.max_window = 1 << 15
    with pytest.raises(LimitError, match="--max-window"):
        list(parts.decoded(group))


@pytest.mark.parametrize("options", [["-m0=lzma"], ["-m0=lzma:lc=0:lp=2:pb=1"], ["-m0=lzma2", "-ms=off"]])
def test_other_ways_of_the_same_coders(options: list[str], tmp_path: Path) -> None:
    tree = patterns([5000, 0, 70_000, 1])
    archive = opened(seven(tmp_path, tree, *options))
    assert {name: content(archive, name.encode()) for name in tree if tree[name]} == {
        name: data for name, data in tree.items() if data
    }

"""Members that libarchive decodes: kept while they come, whatever becomes of who decodes them."""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
import time
import zlib
from pathlib import Path

import pytest

from rofuse_formats import Archive, cache
from rofuse_formats.archives.libarchive import decoding, process
from rofuse_formats.archives.libarchive.keeping import Held
from rofuse_formats.errors import DamagedError, LimitError, RatioError
from rofuse_formats.growing_spool import GrowingSpool
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.spool_file import SpoolFile
from tests.formats.libarchive_support import (
    TESTDATA,
    content,
    crashing,
    decodings,
    descendants,
    files,
    helpers,
    opened,
    seven,
    texts,
)

SECONDS = 60


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rofuse-mount"


@pytest.fixture(scope="module")
def tree() -> dict[str, bytes]:
    return texts(12, MIB)


@pytest.fixture(scope="module")
def solid(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]) -> Path:
    """Of 12 MiB, in one piece."""
    return seven(tmp_path_factory.mktemp("solid"), tree, "-mx=1", "-ms=on")


def becomes_idle(archive: Archive) -> None:
    """Waits until no pass goes on, and all that came is written."""
    end = time.monotonic() + SECONDS
    while any(one.is_busy for made in decodings(archive) for one in made._passes):
        assert time.monotonic() < end
        time.sleep(0.01)
    for made in decodings(archive):
        made._writer.wait()


def spools(archive: Archive) -> list[GrowingSpool]:
    return [spool for made in decodings(archive) for spool in made._keeping().spools]


def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no helper may be started."""

    def start(*_arguments: object, **_named: object) -> None:
        raise AssertionError("a helper was started")

    monkeypatch.setattr("rofuse_formats.archives.libarchive.reading.Helper", start)


def test_the_first_read_has_all_decoded_and_a_second_mount_finds_it(
    solid: Path, tree: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    archive = opened(solid, keep=True)
    last = list(tree)[-1]
    assert content(archive, last.encode()) == tree[last]
    becomes_idle(archive)
    (kept,) = [file for file in cache.kept() if file.kind == "spool"]
    assert (kept.source, Path(kept.path).parent) == (str(solid), own_cache)
    assert os.stat(kept.path).st_mode & 0o777 == 0o600
    assert not cache.drop(kept.path)  # it is in use
    forbidden(monkeypatch)
    for _ in range(2):
        assert {name: content(archive, name.encode()) for name in tree} == tree
        archive.close()
        archive = opened(solid, keep=True)
    archive.close()
    assert cache.drop(kept.path)


def test_what_a_killed_mount_had_decoded_is_found(
    solid: Path, tree: dict[str, bytes], own_cache: Path
) -> None:
    archive = opened(solid, keep=True)
    content(archive, next(iter(tree)).encode())
    becomes_idle(archive)
    archive.close()
    (file,) = own_cache.glob("*.members")
    os.truncate(file, file.stat().st_size * 2 // 3)  # in the midst of a batch
    archive = opened(solid, keep=True)
    spool = decodings_of(archive, tree)
    assert 0 < spool < 12 * MIB
    assert {name: content(archive, name.encode()) for name in tree} == tree
    becomes_idle(archive)
    assert [one.end_of(0) for one in spools(archive)] == [12 * MIB]


def decodings_of(archive: Archive, tree: dict[str, bytes]) -> int:
    """How much is kept when the first file has been read, which was."""
    first = next(iter(tree))
    assert content(archive, first.encode()) == tree[first]
    return spools(archive)[0].end_of(0)


def test_who_waits_gets_it_when_it_is_there(solid: Path, tree: dict[str, bytes]) -> None:
    archive = opened(solid)
    wrong: list[str] = []

    def reader(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(30):
            name = chance.choice(list(tree))
            node, at = archive.image.resolve(name.encode()), chance.randrange(MIB)
            got = b"".join(bytes(piece) for piece in archive.read(node, at, 100_000))
            if got != tree[name][at : at + 100_000]:
                wrong.append(name)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert wrong == []


def test_a_helper_that_is_killed_is_started_again(solid: Path, tree: dict[str, bytes]) -> None:
    archive = opened(solid)
    first, *_others, last = tree
    assert content(archive, first.encode()) == tree[first]  # its pass goes on
    for helper in helpers(archive):
        os.kill(helper.pid, signal.SIGKILL)
    assert content(archive, last.encode()) == tree[last]
    assert {name: content(archive, name.encode()) for name in tree} == tree


def test_what_kills_its_helper_is_an_error_and_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = texts(5, 2000)
    archive = opened(seven(tmp_path, tree, "-ms=off", "-m0=bzip2"))
    started = crashing(monkeypatch, first=4000, last=6000)
    bad = list(files(archive))[2]
    names = {archive.image.member(row).at: row for row in range(5)}
    assert sorted(names) == [0, 2000, 4000, 6000, 8000]
    failed = {}
    for name in tree:
        try:
            assert content(archive, name.encode()) == tree[name]
        except DamagedError as error:
            failed[name] = str(error)
    assert list(failed.values()) == ["libarchive was ended by signal 11 when it decoded this, 3 times"]
    before = started()
    with pytest.raises(DamagedError):
        content(archive, next(iter(failed)).encode())
    assert started() == before  # it is known by now
    assert bad


def test_of_a_solid_archive_what_came_before_a_crash_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = texts(4, 2000)
    archive = opened(seven(tmp_path, tree, "-ms=on", "-m0=bzip2"))
    crashing(monkeypatch, first=4000, last=6000)
    good = [name for name in tree if readable(archive, name)]
    assert len(good) == 2


def readable(archive: Archive, name: str) -> bool:
    try:
        content(archive, name.encode())
    except DamagedError:
        return False
    return True


def test_a_bad_checksum_is_an_error_for_its_file_alone(tmp_path: Path, own_cache: Path) -> None:
    tree = texts(3, MIB)
    path = seven(tmp_path, tree, "-m0=bzip2", "-ms=on")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    archive = opened(path, keep=True)
    good = [name for name in tree if readable(archive, name)]
    assert len(good) < 3
    assert all(content(archive, name.encode()) == tree[name] for name in good)


def test_without_a_spool_it_is_decoded_again_and_nothing_is_kept(
    solid: Path, tree: dict[str, bytes], own_cache: Path
) -> None:
    archive = opened(solid, keep=True, spool=False)
    assert archive.report.lines() == ["12 MiB are read slowly at random: they are not spooled"]
    for name in list(tree)[::5]:
        assert content(archive, name.encode()) == tree[name]
    assert spools(archive) == []
    assert list(own_cache.glob("*.members")) == []


def test_where_there_is_surely_no_room_it_is_refused(solid: Path, own_cache: Path) -> None:
    own_cache.mkdir(parents=True, exist_ok=True)
    with pytest.raises(LimitError, match=r"a spool of \d+ MiB or more .* may take 1 MiB .*--spool-limit"):
        opened(solid, keep=True, spool_limit=MIB)


def test_what_is_decoded_together_may_become_only_so_much(
    solid: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rofuse_formats.limits.UNQUESTIONED", MIB)
    opened(solid, limits=Limits(max_ratio=100))
    with pytest.raises(RatioError, match=r"more than 1 times the .*--max-ratio"):
        opened(solid, limits=Limits(max_ratio=1))


def test_where_room_is_lacking_it_is_told_and_read_all_the_same(
    solid: Path, tree: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened(solid, keep=True, spool_limit=solid.stat().st_size)
    told: list[str] = []
    archive.log = told.append
    assert {name: content(archive, name.encode()) for name in tree} == tree
    assert len(told) == 1
    assert "--spool-limit" in told[0]
    assert "MiB" in told[0]
    assert SpoolFile().fd == -1


def test_what_takes_a_password_is_not_left_on_disk(
    solid: Path, tree: dict[str, bytes], own_cache: Path
) -> None:
    archive = opened(solid, keep=True, password=b"secret")
    last = list(tree)[-1]
    assert content(archive, last.encode()) == tree[last]
    becomes_idle(archive)
    assert [spool.end_of(0) for spool in spools(archive)] == [12 * MIB]
    assert list(own_cache.glob("*.members")) == []


def test_small_groups_stay_in_memory_and_then_go_to_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = texts(6, 40_000)
    archive = opened(seven(tmp_path, tree, "-ms=off", "-m0=bzip2"))
    (made,) = [decoding_of(archive, tree)]
    made._held._budget = 100_000
    for _ in range(2):
        assert {name: content(archive, name.encode()) for name in tree} == tree
        becomes_idle(archive)  # the end of a pass is another thread's
    (spool,) = made._keeping().spools
    assert sum(spool._ends) - sum(spool._starts) == 4 * 40_000
    forbidden(monkeypatch)
    assert {name: content(archive, name.encode()) for name in tree} == tree


def test_what_is_held_is_what_was_put_last_and_most_of_it() -> None:
    held = Held(1000)
    assert held.put(100, b"a" * 300) == []
    assert held.put(100, b"a" * 400) == []  # a pass had to stop before
    assert held.put(100, b"a" * 200) == []
    assert bytes(held.get(100, 500) or b"") == b"a" * 400
    assert held.get(100, 501) is None
    assert held.get(99, 200) is None
    assert held.put(500, b"b" * 601) == [(100, b"a" * 400)]
    assert held.get(100, 101) is None
    assert bytes(held.get(600, 1101) or b"") == b"b" * 501


def decoding_of(archive: Archive, tree: dict[str, bytes]) -> decoding.Decoding:
    content(archive, next(iter(tree)).encode())
    return decodings(archive)[0]


def test_a_pass_that_goes_on_for_nobody_makes_room(
    tmp_path: Path, tree: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened(seven(tmp_path, tree, "-mx=1", "-ms=6f"))
    monkeypatch.setattr(decoding, "MOST_PASSES", 1)
    for name in [*list(tree)[::6], *list(tree)[5::6], *tree]:
        assert content(archive, name.encode()) == tree[name]
    archive.close()


def test_two_mounts_share_what_one_of_them_decodes(
    solid: Path, tree: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = opened(solid, keep=True), opened(solid, keep=True)
    first = next(iter(tree))
    assert content(one, first.encode()) == tree[first]
    becomes_idle(one)
    forbidden(monkeypatch)
    assert {name: content(two, name.encode()) for name in tree} == tree
    assert [spool.is_writer for spool in spools(one) + spools(two)] == [True, False]


def test_a_helper_has_its_bounds() -> None:
    archive = opened(TESTDATA / "la-7z-solid.7z")
    assert content(archive, b"d/one") == b"one\n"
    becomes_idle(archive)
    (helper,) = [one for made in decodings(archive) for one in made._resting.helpers]
    limits = Path(f"/proc/{helper.pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert rows["Max file size"] == "0"
    assert rows["Max address space"].isdigit()
    assert rows["Max cpu time"].isdigit()
    archive.close()


def test_what_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    """A dictionary of almost 4 GiB, it says. Who knows how much is compressed does without."""
    tree = texts(2, 5000)
    claim_much(plain := seven(tmp_path, tree, "-m0=lzma:d=64k", "-mhc=off"))
    assert all(content(opened(plain), name.encode()) == data for name, data in tree.items())
    plain.unlink()
    claim_much(path := seven(tmp_path, tree, "-m0=bcj", "-m1=lzma:d=64k", "-mhc=off"))
    archive = opened(path)
    with pytest.raises(LimitError, match="--max-window"):
        content(archive, next(iter(tree)).encode())


def claim_much(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.rindex(
        b"\3\1\1\5"
    )  # the method; five bytes of properties, of which the last four are the dictionary
    data[at + 5 : at + 9] = (0xFFFF0000).to_bytes(4, "little")
    place, size = struct.unpack_from("<QQ", data, 12)
    data[28:32] = zlib.crc32(data[32 + place : 32 + place + size]).to_bytes(4, "little")
    data[8:12] = zlib.crc32(data[12:32]).to_bytes(4, "little")
    path.write_bytes(data)


def test_nothing_is_left_of_an_archive_that_is_closed() -> None:
    before = descendants()
    archive = opened(TESTDATA / "la-7z-solid.7z")
    for name in files(archive):
        content(archive, name)
    started = descendants() - before
    assert started
    archive.close()
    end = time.monotonic() + SECONDS
    while started & descendants():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("nonsense", ["b'x' * 100", "b'\\xff' * 24", "b''"])
def test_a_helper_that_speaks_nonsense_is_not_believed(
    nonsense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
import socket
socket.socket(fileno={{descriptor}}).sendall({nonsense})
{{path!r}}
"""
    monkeypatch.setattr(process, "_CODE", code)
    with pytest.raises(DamagedError):
        opened(TESTDATA / "la-cpio-odc.cpio")
    with pytest.raises(DamagedError):
        content(opened(TESTDATA / "la-7z-solid.7z"), b"text")

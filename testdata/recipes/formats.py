"""The dialects of tar, and GNU tar's own ways: labels, incremental dumps, volumes, sparse files."""

from __future__ import annotations

import os
import tarfile

from testdata.recipes import (
    BSD_FORMATS,
    GNU_FORMATS,
    NO_CTIME,
    PYTHON_FORMATS,
    archive_source,
    entry,
    headers,
    python_archive,
    recipe,
    seal,
    tiny,
)
from testdata.workshop import BLOCK, BSDTAR, MTIME, Judge, Shop, prose

# -- formats -------------------------------------------------------------------------------------------------


@recipe(*GNU_FORMATS, *BSD_FORMATS, *PYTHON_FORMATS)
def basic(shop: Shop, archiver: str) -> None:
    """Every type an ordinary user has, sizes around a block, odd modes."""
    with shop.source() as source:
        for size in (0, 1, 511, 512, 513, 1024, 3_000):
            source.file(b"%d" % size, prose(size, size), owner=(1000, 100))
        source.directory(b"empty", mode=0o700)
        source.directory(b"deep")
        source.directory(b"deep/er", mode=0o1777, owner=(8, 12))
        source.file(b"deep/er/script", b"#!/bin/sh\n", mode=0o755)
        source.file(b"deep/set-uid", mode=0o6755)
        source.file(b"deep/secret", b"x", mode=0)
        source.hardlink(b"deep/script", b"deep/er/script")
        source.symlink(b"deep/link", b"er/script")
        source.symlink(b"dangling", b"/no/such/file")
    archive_source(shop, archiver)
    shop.keep()
    if archiver in ("gnu", "posix"):
        shop.zstd()


@recipe()
def empty(shop: Shop, _: str) -> None:
    """No entries at all: end marks alone."""
    with shop.source():
        pass
    shop.gnu_tar("--files-from=/dev/null")
    shop.keep()
    shop.zstd()


@recipe("", "padding", judge=Judge(BSDTAR, statuses=(0, 1)))
def no_end_mark(shop: Shop, padding: str) -> None:
    """Ends with the last member, or without that one's padding, as some writers leave it."""
    with shop.source() as source:
        tiny(source)
    shop.gnu_tar("d", "two")
    data = shop.archive.read_bytes()
    end = data.index(b"two") + BLOCK + 1_200
    shop.archive.write_bytes(data[: end if padding else end + -end % BLOCK])
    shop.keep()


@recipe()
def odd_types(shop: Shop, _: str) -> None:
    """A contiguous file (type 7), and a type that nobody has defined, which POSIX wants treated as a file."""
    python_archive(
        shop,
        entry("contiguous", b"in one piece\n", type=tarfile.CONTTYPE),
        entry("undefined", b"of type Z\n", type=b"Z"),
    )
    shop.keep()


# -- sparse files --------------------------------------------------------------------------------------------


SPARSE = {
    "oldgnu": ("--format=gnu",),
    "pax-0.0": ("--format=posix", NO_CTIME, "--sparse-version=0.0"),
    "pax-0.1": ("--format=posix", NO_CTIME, "--sparse-version=0.1"),
    "pax-1.0": ("--format=posix", NO_CTIME, "--sparse-version=1.0"),
}


@recipe(*SPARSE)
def sparse(shop: Shop, version: str) -> None:
    """Holes first, last, between, alone; more pieces than fit into one header and into one extension of it."""
    with shop.source() as source:
        source.sparse(b"all-hole", 1 << 20, [])
        source.sparse(b"first", 70_000, [(65_536, prose(1, 4_464))])
        source.sparse(b"last", 3_000_001, [(0, prose(2, 700))])
        source.sparse(b"between", 200_000, [(0, b"begin"), (199_997, b"end")])
        source.sparse(b"five", 65_536, [(8_192 * n, b"%d" % n) for n in range(5)])
        source.sparse(b"sixty", 500_000, [(8_192 * n + 1024, b"%d" % n) for n in range(60)])
        source.sparse(b"n" * 120, 50_000, [(40_960, b"a long name")])
        source.file(b"plain", prose(3, 2_000))
    shop.gnu_tar("--sparse", "--hole-detection=raw", *SPARSE[version], ".")
    shop.keep()
    shop.zstd()


@recipe("oldgnu", "pax-1.0")
def sparse_huge(shop: Shop, version: str) -> None:
    """More than 8 GiB, which eleven octal digits cannot say."""
    with shop.source() as source:
        source.sparse(b"huge", 9_000_000_001, [(4_096, b"near"), (8_999_997_440, b"far")])
    shop.gnu_tar("--sparse", *SPARSE[version], ".")
    shop.keep()


# -- GNU's own -----------------------------------------------------------------------------------------------


@recipe("gnu", "posix")
def label(shop: Shop, archiver: str) -> None:
    """A volume label, which is no entry. Its header has the time of day, which is made a fixed one."""
    with shop.source() as source:
        tiny(source)
    archive_source(shop, archiver, "--label=spring volume")
    data = bytearray(shop.archive.read_bytes())
    data[136:148] = b"%011o\0" % MTIME
    seal(data, 0)
    shop.archive.write_bytes(data)
    shop.keep()


@recipe("gnu", "posix")
def incremental(shop: Shop, archiver: str) -> None:
    """A full dump with --listed-incremental: directories carry lists of what was in them."""
    with shop.source() as source:
        tiny(source)
        source.directory(b"old")
        source.file(b"old/kept", b"kept\n")
    dump(shop, archiver)
    shop.keep()


@recipe("gnu", "posix")
def incremental_next(shop: Shop, archiver: str) -> None:
    """The dump after it: one file changed, one new, one directory renamed, which its list says."""
    incremental(shop, archiver)
    source = shop.scratch / "source"
    os.rename(source / "old", source / "renamed")
    for name in ("two", "new"):
        (source / name).write_bytes(b"changed\n")
        os.utime(source / name, (MTIME, MTIME))
    for path in (source / "renamed", source):
        os.utime(path, (MTIME, MTIME))
    dump(shop, archiver)
    shop.keep()


def dump(shop: Shop, archiver: str) -> None:
    """A dump against the snapshot file, if there is one. GNU headers then have atime and ctime, which nobody can
    set: they are made the mtime."""
    archive_source(shop, archiver, f"--listed-incremental={shop.scratch / 'snapshot'}")
    data = bytearray(shop.archive.read_bytes())
    if archiver == "gnu":
        for at in headers(data):
            data[at + 345 : at + 369] = data[at + 136 : at + 148] * 2
            seal(data, at)
    shop.archive.write_bytes(data)


@recipe(
    judge=Judge(statuses=(2,), notes=("rule: the rest of a file whose beginning is elsewhere is not shown",))
)
def second_volume(shop: Shop, _: str) -> None:
    """Begins in the middle of a file of the volume before."""
    with shop.source() as source:
        source.file(b"a", prose(5, 30_000))
        source.file(b"b", b"after it\n")
    second = shop.scratch / "second.tar"
    shop.gnu_tar("--multi-volume", "--tape-length=20", "--format=gnu", "--file", second, "./a", "./b")
    second.rename(shop.archive)
    shop.keep()

"""Hard links, names that come twice, archives behind archives."""

from __future__ import annotations

import tarfile

from testdata.recipes import NO_CTIME, archive_source, directory, entry, link, python_archive, recipe, tiny
from testdata.workshop import GNU_TAR, MTIME, Judge, Shop, prose


@recipe("gnu", "posix", "bsd-pax")
def hardlinks(shop: Shop, archiver: str) -> None:
    """To a file and a symlink, across directories, with long names, and of a file to itself."""
    with shop.source() as source:
        source.directory(b"a")
        source.file(b"a/file", b"shared\n")
        source.symlink(b"a/symlink", b"file")
        source.directory(b"b")
        for name in (b"file", b"symlink"):
            source.hardlink(b"b/" + name, b"a/" + name)
        source.directory(b"b" * 60)
        source.file(b"b" * 60 + b"/" + b"f" * 60, b"long\n")
        source.hardlink(b"b/long", b"b" * 60 + b"/" + b"f" * 60)
    # a name given twice comes as a link to itself when its file has several
    twice = ("./a/file",) if archiver == "gnu" else ()
    archive_source(shop, archiver, *twice)
    shop.keep()


FORWARD = Judge(
    again=(*GNU_TAR, "--skip-old-files"),
    statuses=(0, 2),
    notes=(
        "rule: a link before its file is a link to it; the second extraction makes what the first cannot",
    ),
)


@recipe()
def hardlinks_special(shop: Shop, _: str) -> None:
    """To a device and a fifo, which GNU tar would write twice."""
    python_archive(
        shop,
        entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("pipe", type=tarfile.FIFOTYPE),
        link("null-too", "null"),
        link("pipe-too", "pipe"),
    )
    shop.keep()


@recipe(judge=FORWARD)
def hardlinks_forward(shop: Shop, _: str) -> None:
    """Links before the file they are of."""
    python_archive(shop, link("early", "d/file"), link("d/beside", "d/file"), entry("d/file", b"the file\n"))
    shop.keep()


@recipe()
def hardlinks_replaced(shop: Shop, _: str) -> None:
    """A link means the file that had the name when the link came, whoever takes the name later."""
    python_archive(
        shop, entry("x", b"1"), link("first", "x"), entry("x", b"22"), link("second", "x"), entry("x", b"333")
    )
    shop.keep()


@recipe("gnu", "posix")
def duplicates(shop: Shop, archiver: str) -> None:
    """Appended to with tar -r: of two entries with one name the later wins; a directory keeps its entries."""
    with shop.source() as source:
        tiny(source)
        source.symlink(b"link", b"two")
    archive_source(shop, archiver)
    with shop.source("newer") as source:
        source.directory(b"d", mode=0o700)
        source.file(b"d/more", b"more\n")
        source.file(b"two", b"newer two\n", mode=0o600)
        source.file(b"link", b"no longer a link\n")
    times = [NO_CTIME] if archiver == "posix" else []
    shop.gnu_tar(f"--format={archiver}", *times, "./d", "./two", "./link", mode="--append", source="newer")
    shop.keep()


@recipe(
    judge=Judge(
        statuses=(2,), notes=("rule: a directory that has entries stays one, which the tool reports",)
    )
)
def same_name(shop: Shop, _: str) -> None:
    """A file where a directory was and a directory where a file was."""
    python_archive(
        shop,
        entry("file-then-dir", b"gone\n"),
        directory("file-then-dir"),
        entry("file-then-dir/child", b"kept\n"),
        directory("empty-dir-then-file"),
        entry("empty-dir-then-file", b"kept\n"),
        directory("full-dir-then-file"),
        entry("full-dir-then-file/child", b"kept\n"),
        entry("full-dir-then-file", b"refused\n"),
    )
    shop.keep()


def two_archives(shop: Shop) -> tuple[bytes, bytes]:
    made = []
    for number, name in enumerate((b"first", b"second")):
        with shop.source(name.decode()) as source:
            source.file(name, name * 100, mtime_ns=(MTIME + number) * 10**9)
            source.file(b"both", name, mtime_ns=(MTIME + number) * 10**9)
        shop.gnu_tar("./both", f"./{name.decode()}", source=name.decode())
        made.append(shop.archive.read_bytes())
    return made[0], made[1]


@recipe()
def concatenated(shop: Shop, _: str) -> None:
    """Two archives by cat(1): the second is beyond the first one's end mark."""
    shop.archive.write_bytes(b"".join(two_archives(shop)))
    shop.keep()


@recipe(judge=Judge((*GNU_TAR, "--ignore-zeros")))
def concatenated_ignore_zeros(shop: Shop, _: str) -> None:
    """The same bytes, to be read with --ignore-zeros."""
    concatenated(shop, "")


@recipe()
def catenated(shop: Shop, _: str) -> None:
    """Two archives joined by tar -A: no end mark between them."""
    first, second = two_archives(shop)
    shop.archive.write_bytes(first)
    (shop.scratch / "second.tar").write_bytes(second)
    shop.gnu_tar(shop.scratch / "second.tar", mode="--catenate", source="first")
    shop.keep()


@recipe()
def junk_behind(shop: Shop, _: str) -> None:
    """Something else behind the end mark, which nobody looks at."""
    with shop.source() as source:
        tiny(source)
    shop.gnu_tar(".")
    shop.archive.write_bytes(shop.archive.read_bytes() + prose(4, 3_000))
    shop.keep()

"""Names: long, odd, unclean, missing."""

from __future__ import annotations

from testdata.recipes import (
    PYTHON_FORMATS,
    archive_source,
    directory,
    entry,
    link,
    python_archive,
    recipe,
    symlink,
)
from testdata.workshop import BSDTAR, Judge, Shop

ODD_NAMES = (b" ", b"new\nline", b"tab\t", b"back\\slash", b"quote\"'", b"-dash", b"=", b"~", b"...", b"\x01\x7f",
             b"latin-\xe9", b"cut-\xc3", b"\xff\xfe", "gr\u00fcn-\u6797-\U0001f333".encode())  # fmt: skip


@recipe("gnu", "posix", "bsd-pax", "python-pax")
def names(shop: Shop, archiver: str) -> None:
    """Long, odd, and no UTF-8."""
    with shop.source() as source:
        for name in ODD_NAMES:
            source.file(name, name)
            source.symlink(name + b".link", name)
        for length in (99, 100, 101, 154, 155, 156, 255):
            source.file(b"%d-" % length + b"n" * (length - 4), b"%d" % length)
        path = b"directory"
        for depth in range(6):
            source.directory(path)
            source.file(path + b"/file", b"%d" % depth)
            path += b"/" + b"%d" % depth * 60
        source.symlink(b"to-far", b"t" * 101)
        source.symlink(b"to-further", b"../" * 300 + b"end")
        source.hardlink(b"hard-link-to-far", path[:-61] + b"/file")
    archive_source(shop, archiver, utf8=False)
    shop.keep()


@recipe()
def names_ustar(shop: Shop, _: str) -> None:
    """As long as ustar can say: a prefix of 155 and a name of 100 bytes."""
    with shop.source() as source:
        source.directory(b"p" * 77)
        source.directory(b"p" * 77 + b"/" + b"q" * 75)
        source.file(b"p" * 77 + b"/" + b"q" * 75 + b"/" + b"f" * 100, b"far\n")
        source.file(b"n" * 98, b"near\n")
    shop.gnu_tar("--format=ustar", ".")
    shop.keep()


@recipe("gnu", "pax", judge=Judge(BSDTAR))
def names_deep(shop: Shop, archiver: str) -> None:
    """A path longer than PATH_MAX (4096 bytes), which no system call takes whole."""
    path = "/".join(f"{depth:02d}" * 125 for depth in range(17))
    python_archive(shop, entry(f"{path}/file", b"deep\n"), format=PYTHON_FORMATS[f"python-{archiver}"])
    shop.keep()


@recipe(
    "gnu",
    "pax",
    judge=Judge(statuses=(2,), notes=("rule: a name over 255 bytes is refused, as here by the kernel",)),
)
def names_too_long(shop: Shop, archiver: str) -> None:
    """A component of 256 bytes, as a file, as a directory and as a symlink; one of 255 beside them."""
    python_archive(
        shop,
        entry("n" * 255, b"good\n"),
        entry("n" * 256, b"refused\n"),
        entry("d" * 256 + "/file", b"refused\n"),
        symlink("s" * 300, "target"),
        symlink("target-too-long", "t" * 4096),
        symlink("target-just-right", "t" * 4095),
        entry("last", b"good\n"),
        format=PYTHON_FORMATS[f"python-{archiver}"],
    )
    shop.keep()


@recipe(
    judge=Judge(
        statuses=(2,),
        notes=("rule: absolute names land below the root, names with .. are refused: as by the tool",),
    )
)
def names_unclean(shop: Shop, _: str) -> None:
    """Absolute, climbing, and with more dots and slashes than needed."""
    python_archive(
        shop,
        entry("/absolute/file", b"below the root\n"),
        entry("//two/slashes", b"below the root\n"),
        entry("././dots/./file", b"dots\n"),
        entry("slashes//between///file", b"slashes\n"),
        entry("../escape", b"refused\n"),
        entry("absolute/../../escape", b"refused\n"),
        entry("dots/../sideways", b"refused\n"),
        entry("..dots/..file..", b"good\n"),
        link("link-to-absolute", "/absolute/file"),
        link("link-with-dots", "./dots//file"),
        symlink("symlink-up", "../../etc/passwd"),
        symlink("symlink-absolute", "/etc/passwd"),
    )
    shop.keep()


@recipe()
def parents_missing(shop: Shop, _: str) -> None:
    """Files whose directories the archive does not hold, and one that it holds too late."""
    python_archive(
        shop,
        entry("a/b/c/file", b"deep\n"),
        entry("a/beside", b"beside\n"),
        entry("late/file", b"before its directory\n"),
        directory("late"),
    )
    shop.keep()

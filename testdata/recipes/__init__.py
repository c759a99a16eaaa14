"""The archives of this folder: one function each, or one for several archivers.

A recipe is called with the Shop for its name (the function's name, underscores as dashes, and the parameter of
the decorator) and puts archives into the folder with ``keep`` and ``zstd``. Of the archive that it leaves in
``shop.archive`` the judge says what tree is expected; where the judge is None, nobody can read it.

This module holds what the recipes share; each of the others registers its own when ``recipes`` imports it.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from testdata.workshop import BLOCK, MTIME, Judge, Shop, Source, noise, prose


class Recipe(NamedTuple):
    make: Callable[[Shop, str], None]
    parameter: str
    judge: Judge | None


RECIPES: dict[str, Recipe] = {}
"""By name; filled by ``recipes``."""
GNU = Judge()


def recipes() -> dict[str, Recipe]:
    """All recipes, by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return RECIPES


def recipe(
    *parameters: str, judge: Judge | None = GNU
) -> Callable[[Callable[[Shop, str], None]], Callable[[Shop, str], None]]:
    """Registers a recipe, once for each parameter."""

    def register(make: Callable[[Shop, str], None]) -> Callable[[Shop, str], None]:
        stem = make.__name__.replace("_", "-")
        for parameter in parameters or ("",):
            RECIPES[f"{stem}-{parameter}" if parameter else stem] = Recipe(make, parameter, judge)
        return make

    return register


GNU_FORMATS = {"v7", "ustar", "gnu", "oldgnu", "posix"}
BSD_FORMATS = {"bsd-v7": "v7tar", "bsd-ustar": "ustar", "bsd-gnutar": "gnutar", "bsd-pax": "pax"}
PYTHON_FORMATS = {
    "python-ustar": tarfile.USTAR_FORMAT,
    "python-gnu": tarfile.GNU_FORMAT,
    "python-pax": tarfile.PAX_FORMAT,
}
# GNU tar's pax records of times that cannot be set, left out
NO_CTIME = "--pax-option=delete=atime,delete=ctime"


def archive_source(shop: Shop, archiver: str, *options: str, utf8: bool = True) -> None:
    """The source directory as an archive by one of the archivers named above. bsdtar is given GNU tar's pax, or,
    where names are no ``utf8``, GNU tar's own format, which does not say what they are."""
    if archiver in BSD_FORMATS:
        between = ["--format=posix", NO_CTIME] if utf8 else ["--format=gnu"]
        shop.gnu_tar(*between, *options, ".")
        shop.bsdtar(f"--format={BSD_FORMATS[archiver]}")
    elif archiver in PYTHON_FORMATS:
        with tarfile.open(shop.archive, "w", format=PYTHON_FORMATS[archiver]) as tar:
            tar.add(shop.scratch / "source", ".", filter=_anonymous)
    else:
        times = [NO_CTIME] if archiver == "posix" else []
        shop.gnu_tar(f"--format={archiver}", *times, *options, ".")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uname = member.gname = ""
    return member


Member = tuple[tarfile.TarInfo, bytes]


def entry(name: str, data: bytes = b"", **fields: object) -> Member:
    """A file for python_archive, or what ``fields`` (of TarInfo) make of it."""
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, data


def directory(name: str) -> Member:
    return entry(name, type=tarfile.DIRTYPE, mode=0o755)


def symlink(name: str, target: str) -> Member:
    return entry(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def link(name: str, target: str) -> Member:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def python_archive(
    shop: Shop,
    *entries: Member,
    format: int = tarfile.USTAR_FORMAT,
    pax_headers: dict[str, str] | None = None,
) -> None:
    """Members as no archiver would write them, by the standard library. Each is a second later."""
    with tarfile.open(shop.archive, "w", format=format, pax_headers=pax_headers) as tar:
        for number, (member, data) in enumerate(entries):
            member.mtime, member.size = MTIME + number, len(data)
            tar.addfile(member, io.BytesIO(data))


def tiny(source: Source) -> None:
    """Three entries below the root."""
    source.directory(b"d")
    source.file(b"d/one", b"one\n")
    source.file(b"two", b"two\n" * 300)


def text(shop: Shop) -> None:
    """Some 450 kB of what zstd meets: text, zeros, noise, repetition."""
    with shop.source() as source:
        source.directory(b"text")
        for number in range(2):
            source.file(b"text/%d" % number, prose(10 + number, 50_000))
        source.file(b"zeros", bytes(300_000))
        source.file(b"noise", noise(1, 10_000))
        source.file(b"again", prose(10, 40_000))
    shop.gnu_tar("again", "noise", "text", "zeros")


def headers(data: bytes | bytearray) -> Iterator[int]:
    """Offsets of an archive's headers, up to its end mark. Sizes in octal only."""
    at = 0
    while at < len(data) and data[at]:
        yield at
        size = int(data[at + 124 : at + 136].rstrip(b"\0 "), 8)
        at += BLOCK + -(-size // BLOCK) * BLOCK


def seal(data: bytearray, at: int) -> None:
    """Sets a header's checksum."""
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])

"""What can be read here, and what is missing for the rest.

A format or codec may say of itself, beside what its contract asks for (what it does not say is what most are):
- ``needs``: Python packages, by the names they are installed by, without which it reads nothing.
- ``program``: the program of the system (``programs.Program``) that it reads with.
- ``library()``: the version of the system's library that it reads with; raises MissingLibraryError.
- ``uses``: further packages, and what it cannot read without each.
- ``faster``: a package with which it would be faster.
- ``reads``: where one reader is for several formats, what these are called; ``kind(source)`` says which one of them an
  archive is.
- ``random_access``: False where all is decoded from the beginning, once, and then kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from rofuse_formats.errors import MissingLibraryError

if TYPE_CHECKING:
    from rofuse_formats.programs import Program


class Support(NamedTuple):
    """What is known of one format or codec."""

    name: str
    kind: str
    """``archive`` or ``codec``."""
    available: bool
    random_access: bool
    needs: list[str]
    """Packages that it cannot do without."""
    version: str | None
    """Of the library that it reads with: the system's, else the first package; None where that is Python's own."""
    missing: list[str]
    """In words, one for each thing that is not installed: what for."""


def supports() -> Iterator[Support]:
    """Every archive format, then every codec."""
    from rofuse_formats.archives import formats
    from rofuse_formats.codecs import codecs

    for name, archive_format in formats().items():
        found = _support(name, "archive", archive_format)
        for one in getattr(archive_format, "reads", (name,)):
            yield found._replace(name=one)
    for name, codec in codecs().items():
        yield _support(name, "codec", codec)


def _support(name: str, kind: str, reader: object) -> Support:
    needs = list(getattr(reader, "needs", ()))
    versions = {package: _version(package) for package in needs}
    missing = [f"needs the package {package}" for package, version in versions.items() if version is None]
    version = next(iter(versions.values()), None)
    program: Program | None = getattr(reader, "program", None)
    if program is not None:
        needs.append(program.package)
        missing += [] if program.find() is not None else [program.lack]
    library = getattr(reader, "library", None)
    if library is not None and not missing:
        try:
            version = library()
        except MissingLibraryError as error:
            missing.append(str(error))
    is_available = not missing
    uses: dict[str, str] = getattr(reader, "uses", {})
    missing += [
        f"{what} need the package {package}" for package, what in uses.items() if _version(package) is None
    ]
    faster = getattr(reader, "faster", None)
    if faster is not None and _version(faster) is None:
        missing.append(f"faster with the package {faster}")
    is_random = bool(getattr(reader, "random_access", True))
    return Support(name, kind, is_available, is_random, needs, version, missing)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return None

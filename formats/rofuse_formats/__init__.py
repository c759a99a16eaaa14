"""Archives as inode images: a library that knows nothing of FUSE.

    import rofuse_formats
    with rofuse_formats.open("backup.tar.zst") as archive:
        for entry in archive.walk("etc"):
            print(entry.path, entry.type, entry.size)
        with archive.open("etc/hostname") as file:
            print(file.read())
        archive.extract("/tmp/etc", ["etc"])

A directory is opened in the same way: its image is what it is now, and its bytes are read where they lie.

Public: ``open``, ``Archive``, ``Entry``, ``ExtractOptions``, ``Extracted``, ``Settings``, ``ScanOptions``, ``Limits``,
``formats``, ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rofuse_formats import errors
    from rofuse_formats.archive import Archive
    from rofuse_formats.archives import formats
    from rofuse_formats.entry import ScanOptions
    from rofuse_formats.extraction import Extracted
    from rofuse_formats.extraction import Options as ExtractOptions
    from rofuse_formats.limits import Limits
    from rofuse_formats.names import Entry
    from rofuse_formats.opening import open
    from rofuse_formats.settings import Settings

__all__ = [
    "Archive",
    "Entry",
    "ExtractOptions",
    "Extracted",
    "Limits",
    "ScanOptions",
    "Settings",
    "errors",
    "formats",
    "open",
]

# Where they are, and as what. Imported when they are asked for: whoever only lists names needs a few of them, and
# ``formats`` imports every format.
_HOMES = {
    "Archive": ("archive", "Archive"),
    "Entry": ("names", "Entry"),
    "ExtractOptions": ("extraction", "Options"),
    "Extracted": ("extraction", "Extracted"),
    "Limits": ("limits", "Limits"),
    "ScanOptions": ("entry", "ScanOptions"),
    "Settings": ("settings", "Settings"),
    "formats": ("archives", "formats"),
    "open": ("opening", "open"),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module(f"{__name__}.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, real = _HOMES[name]
    globals()[name] = found = getattr(import_module(f"{__name__}.{module}"), real)
    return found

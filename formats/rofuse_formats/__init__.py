"""Archives as inode images: a library that knows nothing of FUSE.

    import rofuse_formats
    archive = rofuse_formats.open("backup.tar.zst")
    for path, node in archive.image.walk():
        print(path, archive.image.size[node - 1])
    node = archive.image.resolve(b"etc/hostname")
    print(b"".join(archive.read(node, 0, 4096)))

Public: ``open``, ``Archive``, ``Settings``, ``ScanOptions``, ``Limits``, ``formats``, ``errors``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rofuse_formats import errors
    from rofuse_formats.archive import Archive, open
    from rofuse_formats.archives import formats
    from rofuse_formats.entry import ScanOptions
    from rofuse_formats.limits import Limits
    from rofuse_formats.settings import Settings

__all__ = ["Archive", "Limits", "ScanOptions", "Settings", "errors", "formats", "open"]

_HOMES = {
    "Archive": "archive",
    "Limits": "limits",
    "ScanOptions": "entry",
    "Settings": "settings",
    "formats": "archives",
    "open": "archive",
}


def __getattr__(name: str) -> object:
    # Only what is asked for: the registry imports every format, which a mount with a ready index starts without, and
    # a helper process that decodes for another one starts without all that opens archives.
    if name == "errors":
        return importlib.import_module(f"{__name__}.errors")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

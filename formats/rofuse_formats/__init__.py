"""Archives as inode images: a library that knows nothing of FUSE.

    import rofuse_formats
    archive = rofuse_formats.open("backup.tar.zst")
    for path, node in archive.image.walk():
        print(path, archive.image.size[node - 1])
    node = archive.image.resolve(b"etc/hostname")
    print(b"".join(archive.read(node, 0, 4096)))

A directory is opened in the same way: its image is what it is now, and its bytes are read where they lie.

Public: ``open``, ``Archive``, ``Settings``, ``ScanOptions``, ``Limits``, ``formats``, ``errors``.
"""

from __future__ import annotations

from rofuse_formats import errors
from rofuse_formats.archive import Archive, open
from rofuse_formats.entry import ScanOptions
from rofuse_formats.limits import Limits
from rofuse_formats.settings import Settings

__all__ = ["Archive", "Limits", "ScanOptions", "Settings", "errors", "formats", "open"]


def __getattr__(name: str) -> object:
    # The registry imports every format: a mount with a ready index starts without it.
    if name == "formats":
        from rofuse_formats.archives import formats

        return formats
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

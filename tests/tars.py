"""Small tar archives of exactly these members, odd ones too."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_tar(path: Path, members: Iterable[tuple[str, dict[str, Any]]], mtime: int = 0) -> Path:
    """Writes a pax archive. Of each member its name, and fields of TarInfo besides ``content``."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, fields in members:
            info, content = tarfile.TarInfo(name), fields.get("content", b"")
            info.size, info.mtime = len(content), mtime
            for key, value in fields.items():
                if key != "content":
                    setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return path

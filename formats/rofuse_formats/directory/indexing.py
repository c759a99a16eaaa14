"""The index of a directory: what it was when it was scanned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rofuse_formats import index as index_file
from rofuse_formats.cache import fingerprint
from rofuse_formats.directory.freezing import FrozenSource
from rofuse_formats.directory.scanning import Scanner
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.image.builder import ImageBuilder
from rofuse_formats.image.reader import Image
from rofuse_formats.settings import Settings

FORMAT = "directory"


def scanning_options(settings: Settings) -> dict[str, Any]:
    """How a directory is scanned, as its index says it."""
    scan = settings.scan
    return {"one_file_system": scan.one_file_system, "exclude": list(scan.exclude)}


def write_directory_index(
    source: DirectorySource | FrozenSource,
    fd: int,
    settings: Settings,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Scans a directory, freezes what is to be frozen, and writes the index to ``fd``. Raises FormatError, OSError."""
    frozen = source if isinstance(source, FrozenSource) else None
    directory = source.directory if isinstance(source, FrozenSource) else source
    status = directory.status
    mtime = divmod(status.st_mtime_ns, 1_000_000_000)
    builder = ImageBuilder(mtime=mtime, uid=status.st_uid, gid=status.st_gid, limits=settings.limits)
    tell = (lambda count: progress(count, 0)) if progress is not None else (lambda count: None)
    scanner = Scanner(directory, builder, settings.scan, tell, frozen)
    table = scanner.run()
    image = b"".join(bytes(piece) for piece in builder.finish())
    if Image(image).mode.tobytes() != scanner.table.modes.tobytes():
        raise AssertionError("the image has other inodes than the directory")
    if frozen is not None:
        frozen.filled()
    meta: dict[str, Any] = {
        "source": fingerprint(source),
        "place": directory.path,
        "options": settings.lasting(),
        "scanned": scanning_options(settings),
        **index_file.undecoded(FORMAT),
        "report": builder.report.to_json(),
    }
    files = table if frozen is None else None
    index_file.write(fd, meta, [image], (), files=files, most=settings.limits.max_index)

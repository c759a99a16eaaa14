"""Archives for whoever opens files through fsspec (pandas, dask, xarray and others), under the protocol ``rofuse``.

    pandas.read_csv("rofuse://harvest/2021.csv::file:///srv/backup.tar.zst")
    fsspec.filesystem("rofuse", fo="/srv/backup.tar.zst").ls("harvest")

Strategy
It is an ``Archive`` with the methods that fsspec wants; the member is named before ``::``, the archive behind. The
package fsspec is an extra: it imports this module by an entry point, and nothing else here does.

Rules
- The archive is a local file. One that is elsewhere is fetched whole by fsspec's own ``simplecache::`` before it.
- A symbolic link is what it leads to, as in fsspec's own local file system; but it is not listed as a directory, so
  that walking ends.
- Whatever would write raises OSError (EROFS).

Source: filesystem_spec.readthedocs.io, "URL chaining" and ``fsspec.spec.AbstractFileSystem``.
"""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from errno import EROFS
from typing import TYPE_CHECKING, Any, NoReturn

import fsspec
from fsspec.spec import AbstractFileSystem

from rofuse_formats.archive import Archive
from rofuse_formats.names import Entry, locate, raw
from rofuse_formats.opening import open as open_archive

if TYPE_CHECKING:
    from rofuse_formats.settings import Settings

_BUFFER = 1 << 17
_LOCAL = (None, "file", "local")
_TYPES = {"file": "file", "dir": "directory", "symlink": "link"}


class SizedReader(io.BufferedReader):
    """A file that says how long it is, as those of fsspec do."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        super().__init__(file.detach(), _BUFFER)


class RofuseFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """``fo``: the path of an archive, or of a directory. ``target_protocol``, ``target_options``: the file system of
    fsspec's that it is on, local or one that makes it local. ``settings``, ``keep``: as ``rofuse_formats.open`` takes
    them. Raises as that does."""

    protocol = "rofuse"
    root_marker = ""
    cachable = False  # the file may be another one the next time

    def __init__(
        self,
        fo: str | os.PathLike[str] = "",
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        settings: Settings | None = None,
        keep: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not os.fspath(fo):
            raise ValueError("an archive must be given: rofuse://MEMBER::file:///ARCHIVE")
        self._path = _local(os.fspath(fo), target_protocol, target_options or {})
        self.archive: Archive = open_archive(self._path, settings, keep=keep)
        """For what fsspec has no words for; closed with it."""

    def close(self) -> None:
        """Closes the archive's descriptors, which else happens when nobody refers to it any more."""
        self.archive.close()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        return [one.strip("/") for one in stripped] if isinstance(stripped, list) else stripped.strip("/")

    # -- names -----------------------------------------------------------------------------------------------

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        entry = self.archive.stat(path)
        if entry.type != "symlink":
            return self._facts(path, entry, None)
        try:
            return self._facts(path, self.archive.stat(path, follow=True), entry)
        except OSError:  # it leads nowhere
            return self._facts(path, entry, entry)

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        image = self.archive.image
        _found, node = locate(self.archive, raw(path))
        if image.is_directory(node):
            prefix = raw(path) + b"/" if path else b""
            below = [
                Entry(self.archive, prefix + image.name(row), image.child[row]) for row in image.dirents(node)
            ]
            found = [self._listed(entry) if detail else entry.path for entry in below]
        else:
            found = [self.info(path) if detail else path]
        return found

    def _listed(self, entry: Entry) -> dict[str, Any]:
        if entry.type != "symlink":
            return self._facts(entry.path, entry, None)
        found = self.info(entry.path)
        return found if found["type"] != "directory" else found | {"type": "link"}

    def _facts(self, path: str, entry: Entry, link: Entry | None) -> dict[str, Any]:
        """Of the entry that a path leads to; ``link``: the symbolic link that is there, if one is."""
        facts = {
            "name": path,
            "size": entry.size,
            "type": _TYPES.get(entry.type, "other"),
            "islink": link is not None,
            "mode": entry.mode,
            "uid": entry.uid,
            "gid": entry.gid,
            "mtime": entry.mtime,
            "ino": entry.ino,
            "nlink": entry.nlink,
        }
        return facts if link is None else facts | {"destination": link.target}

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def ukey(self, path: str) -> str:
        """Changes with the file, as far as can be told."""
        source = self.archive.source
        return f"{self._path} {source.size} {source.status.st_mtime_ns} {self._strip_protocol(path)}"

    # -- bytes -----------------------------------------------------------------------------------------------

    def _open(self, path: str, mode: str = "rb", *arguments: Any, **options: Any) -> SizedReader:
        """Raises FileNotFoundError, IsADirectoryError; OSError where it is to be written."""
        if mode != "rb":
            self._refuse(path)
        return SizedReader(self.archive.open(path))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Bytes [start, end) of a file; as of a slice, negative numbers count from its end."""
        with self._open(self._strip_protocol(path)) as file:
            first, last, _step = slice(start, end).indices(file.size)
            file.seek(first)
            return file.read(max(0, last - first))

    # -- what would write ------------------------------------------------------------------------------------

    def _refuse(self, path: object, *arguments: Any, **options: Any) -> NoReturn:
        raise OSError(EROFS, os.strerror(EROFS), path)

    mkdir = makedirs = rmdir = rm = rm_file = _rm = mv = copy = cp_file = touch = put = put_file = (
        pipe_file
    ) = _refuse


def _local(fo: str, protocol: str | None, options: dict[str, Any]) -> str:
    """The path of a file on this machine. Raises ValueError."""
    if protocol in _LOCAL:
        return str(fsspec.get_filesystem_class("file")._strip_protocol(fo))
    target = fsspec.filesystem(protocol, **options)
    if not getattr(target, "local_file", False):
        raise ValueError(f"the archive must be a local file: rofuse://MEMBER::simplecache::{protocol}://...")
    with target.open(fo) as file:
        return str(file.name)

"""A directory packed while it is scanned.

Strategy
To scan a tree takes one processor a good part of the time that compressing it takes all of them. So the scan goes depth
first, as packs do, describes what it finds to the pack's own builder, and the files of a directory are read as soon as
it is listed. Where compressing is slower than that, the scan goes on by itself meanwhile, and how much there is in all
is known soon.

Rules
- The pack is, byte for byte, that of a snapshot of the directory (``tree``).
- As in ``directory.files``: of each file it is asked, before each read, whether it is still what was found; if not,
  the work ends.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator

from rofuse_formats.directory.in_order import FilesInOrder
from rofuse_formats.directory.paths import Held
from rofuse_formats.directory.scanning import Scanner
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.entry import Extent, ScanOptions, Time
from rofuse_formats.errors import ChangedError, FormatError
from rofuse_formats.image.builder import ROOT_DIRECTORY, ImageBuilder
from rofuse_formats.limits import Limits
from rofuse_formats.packing.contents import PAGE, Zeros
from rofuse_formats.report import Report

_SECTOR = 512  # of st_blocks


class DirectoryOrigin:
    """An Origin. ``report``: what was left out, and why."""

    is_quick = True

    def __init__(
        self,
        source: DirectorySource,
        options: ScanOptions,
        limits: Limits,
        latest: int | None,
        block_size: int,
    ) -> None:
        self.total = 0
        self._builder = _Builder(limits, latest)
        self._scanner = Scanner(source, self._builder, options, found=self._note)
        self._files = _Files(self._builder, self._scanner)
        self._block_size, self._is_zeros = block_size, Zeros(block_size).are
        self._reading, self._again = FilesInOrder(self._files), FilesInOrder(self._files)
        self._bytes = 0

    @property
    def report(self) -> Report:
        return self._builder.report

    def files(self) -> Iterator[tuple[int, int, int]]:
        files, node = self._files, 0
        self._scanner.begin()
        while node < len(files.record) or self.scan_on():
            while node < len(files.record):
                yield node + 1, files.record[node], files.size[node]
                node += 1

    def scan_on(self) -> bool:
        if self._scanner.advance():
            return True
        self.total = self._bytes
        return False

    def chunks(self, node: int) -> Iterator[bytes | None]:
        size, step = self._files.size[node - 1], self._block_size
        if self._files.is_sparse[node - 1]:
            yield from self._sparse_chunks(node, size)
            return
        for offset in range(0, size, step):
            data = self._read(self._reading, node, offset, min(step, size - offset))
            yield None if self._is_zeros(data) else data

    def read(self, node: int, offset: int, size: int) -> bytes:
        return self._read(self._again, node, offset, size)

    def tell(self, record: int, size: int, runs: list[Extent]) -> None:
        whole = len(runs) == 1 and runs[0].length == size
        self._builder.data[record] = runs[0].offset if whole else self._builder.extents(runs)

    def image(self) -> bytes:
        return b"".join(bytes(piece) for piece in self._builder.finish())

    def close(self) -> None:
        self._reading.close()
        self._again.close()

    def _note(self, record: int, folder: int, name: bytes, status: os.stat_result) -> None:
        """A file that the scan has found."""
        self._files.add(record, folder, name, status)
        self._bytes += status.st_size

    def _sparse_chunks(self, node: int, size: int) -> Iterator[bytes | None]:
        """Of a file that may have holes, which are not read."""
        step, stop = self._block_size, 0  # where the last run of data ends
        begin = 0
        self._read(self._reading, node, 0, 1)  # it is what it was
        runs = self._reading.runs(node, size)
        for offset in range(0, size, step):
            length = min(step, size - offset)
            while stop <= offset and begin < size:
                begin, stop = next(runs, (size, size))
            if length >= PAGE and begin >= offset + length:
                yield None
                continue
            data = self._read(self._reading, node, offset, length)
            yield None if self._is_zeros(data) else data

    def _read(self, reading: FilesInOrder, node: int, offset: int, size: int) -> bytes:
        try:
            data = reading.read(node, offset, size)
            if len(data) != size:
                raise ChangedError("it has become shorter")
        except FormatError as error:
            shown = self._files.path(node).decode("utf-8", "backslashreplace")
            raise type(error)(f"{shown} cannot be read: {error}") from error
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._files.path(node)) from error
        return data


class _Files:
    """The files that were found, by the number of each, from 1 on: the Places of ``directory.in_order``."""

    def __init__(self, builder: ImageBuilder, scanner: Scanner) -> None:
        self.size, self.is_sparse = array("Q"), bytearray()
        self.record = array("I")
        self._folder, self._inode = array("I"), array("Q")
        self._mtime, self._ctime = array("q"), array("q")  # nanoseconds
        self._builder, self._folders = builder, scanner.folders

    def add(self, record: int, folder: int, name: bytes, status: os.stat_result) -> None:
        self._folder.append(folder)
        self._inode.append(status.st_ino)
        self._mtime.append(status.st_mtime_ns)
        self._ctime.append(status.st_ctime_ns)
        self.size.append(status.st_size)
        self.is_sparse.append(status.st_blocks * _SECTOR < status.st_size)
        self.record.append(record)

    def place(self, node: int) -> tuple[int, bytes]:
        return self._folder[node - 1], self._builder.record_name(self.record[node - 1])

    def folder(self, node: int) -> Held:
        return self._folders.get(node)

    def check(self, node: int, status: os.stat_result) -> None:
        row = node - 1
        if (
            status.st_ctime_ns != self._ctime[row]
            or status.st_mtime_ns != self._mtime[row]
            or status.st_size != self.size[row]
            or status.st_ino != self._inode[row]
        ):
            raise ChangedError("it has changed since it was found")

    def path(self, node: int) -> bytes:
        """From the directory on that is scanned."""
        builder, record, names = self._builder, self.record[node - 1], list[bytes]()
        while record != builder.directory_record[ROOT_DIRECTORY]:
            names.append(builder.record_name(record))
            record = builder.directory_record[builder.directory[record]]
        return b"/".join(reversed(names))


class _Builder(ImageBuilder):
    """The pack's, as the scan describes things to it: of the times that it tells, packs keep one (``tree``)."""

    def __init__(self, limits: Limits, latest: int | None) -> None:
        super().__init__(limits=limits)
        self._latest = latest

    def add(
        self, path: bytes, mode: int, owner: int, size: int, mtime: int, mtime_ns: int, data: int, /
    ) -> int:
        if self._latest is not None and mtime >= self._latest:
            mtime, mtime_ns = self._latest, 0
        return super().add(path, mode, owner, size, mtime, mtime_ns, data)

    def times(
        self, member: int, /, atime: Time | None = None, ctime: Time | None = None, btime: Time | None = None
    ) -> None:
        return

"""Decodes a group in the helper process without libarchive: one of a 7z archive that the standard library can decode.

Rules
- As with libarchive, a file that does not have its checksum is told to be bad before its last bytes are told.
- Where the data is damaged, what follows in the group cannot be had; other groups can.
"""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats.archives.libarchive import protocol
from rofuse_formats.archives.libarchive.opened import Source
from rofuse_formats.archives.libarchive.protocol import QueuedLine
from rofuse_formats.archives.libarchive.sevenzip.groups import File, Group, Groups
from rofuse_formats.archives.libarchive.telling import Sender, trouble_of
from rofuse_formats.checksum import crc32
from rofuse_formats.errors import DamagedError


def decode(groups: Groups, group: Group, line: QueuedLine, source: Source, *, is_careful: bool) -> None:
    """Tells all bytes of a group. Raises DamagedError, LimitError, OSError."""
    position = group.files[0].start
    line.send(protocol.GROUP, position, group.files[-1].end)
    sender, checks = Sender(line, is_careful=is_careful), _Checks(group.files)
    try:
        for data in groups.decoded(group):
            source.alive()
            for bad in checks.add(data):
                trouble = trouble_of(DamagedError("its data failed its check"))
                line.send_json(protocol.BAD, trouble, bad.start, bad.end)
            sender.add(position, data)
            position += len(data)
            sender.end_of_entry()
    except DamagedError as error:
        line.send_json(protocol.BAD, trouble_of(error), checks.file.start, checks.file.end)
        sender.flush()
        raise
    sender.flush()
    line.send(protocol.DONE, *group.whole)


class _Checks:
    """Of files that lie one behind the other."""

    def __init__(self, files: list[File]) -> None:
        self._files = iter(files)
        self.file = next(self._files)
        """The first one that is not whole yet."""
        self._at, self._checksum = self.file.start, 0

    def add(self, data: bytes) -> Iterator[File]:
        """Takes in the bytes that follow, none of them behind the last file; which of the files that are whole now do
        not have their checksums."""
        view = memoryview(data)
        while (left := self.file.end - self._at) <= len(view):
            checksum = crc32(view[:left], self._checksum)
            if self.file.checksum not in (None, checksum):
                yield self.file
            view = view[left:]
            following = next(self._files, None)
            if following is None:
                return
            self.file, self._at, self._checksum = following, following.start, 0
        self._checksum = crc32(view, self._checksum)
        self._at += len(view)

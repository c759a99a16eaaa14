"""Where in a folder decoding can begin: LZMA2 as 7-Zip writes it with several threads begins anew now and then.

Strategy
LZMA2 is a chain of chunks, each with its lengths before it. Where one forgets all that was before it, decoding can
begin; the chain is followed as far as somebody asks, and of each chunk its first bytes are read. What lies between two
such places is a *run*, if it has ``LEAST`` bytes; else it goes to the run before it.

Rules
- A chain that is cut short, has chunks that are none, or far more of them than it needs, has its last run where that
  is found: it is decoded from there on, and the decoder will tell what is wrong.
"""

from __future__ import annotations

from bisect import bisect_right

from rofuse_formats.archives.libarchive.sevenzip.header import Pread
from rofuse_formats.archives.libarchive.sevenzip.streams import LZMA2, Folder
from rofuse_formats.spool import LEAST

_HEADER = 6  # bytes that a chunk may have before its data
_END, _STORED_ANEW, _STORED, _PACKED, _NEW_STATE, _ANEW = 0, 1, 2, 0x80, 0xC0, 0xE0
_FAR = 1 << 62
_SMALL_CHUNK, _SMALL_CONTENT = 1 << 14, 1 << 18  # what a chunk has at least, on an average, of one of both


class Runs:
    """Of a folder. Offsets are those of decoded bytes in the folder, and of what is compressed in the archive."""

    def __init__(self, pread: Pread, folder: Folder) -> None:
        self._pread = pread
        self._at, size = folder.packed
        self._end, self._content = min(self._at + size, _FAR), sum(folder.sizes)
        self._position = 0  # decoded bytes before the chunk that comes next
        self._chunks = size // _SMALL_CHUNK + self._content // _SMALL_CONTENT + 64
        self._starts, self._places = [0], [self._at]
        self._is_over = folder.coders.method != LZMA2

    def find(self, offset: int) -> tuple[int, int, int]:
        """The run with this byte: where it begins, where the next one does (or the folder's end), and where in the
        archive it begins."""
        while not self._is_over and self._starts[-1] <= offset:
            self._follow()
        number = bisect_right(self._starts, offset) - 1
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self._content
        return self._starts[number], end, self._places[number]

    def _follow(self) -> None:
        """Goes on by one chunk."""
        head = self._pread(_HEADER, self._at) if self._at <= self._end - _HEADER else b""
        self._chunks -= 1
        control = head[0] if head else _END
        if control == _END or _STORED < control < _PACKED or len(head) < _HEADER or not self._chunks:
            self._is_over = True
            return
        is_far = self._position - self._starts[-1] >= LEAST and self._content - self._position >= LEAST
        if is_far and (control >= _ANEW or control == _STORED_ANEW):
            self._starts.append(self._position)
            self._places.append(self._at)
        size = int.from_bytes(head[1:3], "big") + 1
        if control < _PACKED:
            self._at, self._position = self._at + 3 + size, self._position + size
            return
        self._position += size + (control & 0x1F) * 0x10000
        properties = 1 if control >= _NEW_STATE else 0
        self._at += 5 + properties + int.from_bytes(head[3:5], "big") + 1

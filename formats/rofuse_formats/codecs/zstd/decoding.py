"""Decoding a stretch of the source with the library's decoder, given what to put before it.

Strategy
Inside a frame a header of our own and a dictionary are put before it. That gives the same as decoding from the frame's
beginning where the blocks are intact. Of Huffman streams that do not end where they should the library notices but few,
and what it makes of them depends on whether it reads one symbol a step or two. The table of a dictionary is for two.
Where the frame's is for one, a block that sends it once more, with one stream of no literals, makes it so.

Rules
- One ``ZstdDecompressor`` for one stretch: all that come from one share its state.
- ``zstandard`` is imported when the first stretch is decoded, not with this package.
- The library's errors leave here as DamagedError.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, cast

from rofuse_formats.codecs.zstd import frame
from rofuse_formats.codecs.zstd.entropy import description_size
from rofuse_formats.errors import DamagedError
from rofuse_formats.source import Source

if TYPE_CHECKING:
    import zstandard

PIECE = 128 << 10
"""Compressed bytes asked for at once."""


class _Input:
    """Bytes of the source from ``start`` to ``end`` behind a header of our own, as the file that the library reads.

    One more byte follows them. Where a stretch ends between two blocks the library may hold output that it gives out
    only while it has input left. The first byte of a frame's magic comes to nothing: it is too short for a block
    header, and behind the last block it may well be another frame.
    """

    def __init__(self, source: Source, start: int, end: int, header: bytes) -> None:
        self.source = source
        self.position = start
        self.end = end
        self.header = header
        self.trailer = frame.MAGIC.to_bytes(4, "little")[:1]

    def read(self, size: int) -> bytes:
        if self.header:
            header, self.header = self.header, b""
            return header
        data = self.source.pread(min(size, self.end - self.position), self.position)
        self.position += len(data)
        if not data:
            data, self.trailer = self.trailer, b""
        return data


class Stretch:
    """Decodes the source from ``start`` to ``end``, forward only.

    ``header`` is fed before the source's own bytes and ``dictionary`` (formatted) stands for the output before
    them; with it exactly one frame is decoded, without it all frames up to ``end``.
    """

    def __init__(
        self,
        source: Source,
        start: int,
        end: int,
        max_window: int,
        *,
        header: bytes = b"",
        dictionary: zstandard.ZstdCompressionDict | None = None,
    ) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._input = _Input(source, start, end, header)
        try:
            decompressor = zstandard.ZstdDecompressor(
                dict_data=dictionary, max_window_size=min(max(max_window, 1 << 10), frame.LARGEST_WINDOW)
            )
        except zstandard.ZstdError as error:  # a dictionary that is none
            raise self._failure(error) from error
        self._reader = decompressor.stream_reader(
            cast("IO[bytes]", self._input),  # the library only wants its read()
            read_size=PIECE,
            read_across_frames=dictionary is None,
        )

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only where the stretch (or its one frame) ends."""
        try:
            return self._reader.read(size)
        except self._error as error:
            raise self._failure(error) from error

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """As ``read``, into ``buffer``; returns the number of bytes."""
        if not buffer:  # the library would look ahead all the same
            return 0
        try:
            return self._reader.readinto(buffer)
        except self._error as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Exception:
        if "Allocation error" in str(error):  # nothing is wrong with the archive
            return MemoryError("zstd cannot allocate memory")
        reason = str(error).rpartition(": ")[2]
        place = self._input.position
        return DamagedError(f"zstd data is damaged before offset {place}: {reason}", place)


DICTIONARY_MAGIC = 0xEC30A437
DICTIONARY_START = 8
"""Bytes before the Huffman tree description of a dictionary: magic and ID."""
READ_DOUBLY, READ_SINGLY = 1, 2
"""IDs of dictionaries: how many symbols a step the frame's decoder reads with the Huffman table."""


def rest_of_frame(
    source: Source, start: int, end: int, descriptor: int, dictionary: bytes | bytearray
) -> Stretch:
    """Decodes a frame's blocks from ``start`` to ``end`` in a window as ``descriptor`` says. ``dictionary`` (formatted)
    holds what the frame's decoder knows at ``start``. Raises DamagedError."""
    import zstandard

    header = frame.bare_header(descriptor)
    if int.from_bytes(dictionary[4:DICTIONARY_START], "little") == READ_SINGLY:
        header += _table_again(dictionary)
    formatted = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
    window = frame.window_size(descriptor)
    return Stretch(source, start, end, window, header=header, dictionary=formatted)


def _table_again(dictionary: bytes | bytearray) -> bytes:
    """A block that gives nothing and sends the Huffman table of ``dictionary``."""
    size = description_size(dictionary[DICTIONARY_START])
    stream = dictionary[DICTIONARY_START : DICTIONARY_START + size] + _NO_LITERALS
    literals = frame.COMPRESSED | len(stream) << 14  # one stream, no literals
    return frame.block(frame.COMPRESSED, literals.to_bytes(3, "little") + stream + _NO_SEQUENCES)


_NO_LITERALS = b"\1"  # the end mark of a stream, alone
_NO_SEQUENCES = b"\0"

"""One zstd frame, decoded at once, by any number of threads.

Rules
- A frame says how much it holds, and is asked before it is decoded: so no more memory is taken than is due.
- The library's decoders cannot be shared while they work. There are as many as were ever wanted at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zstandard


class Decoder:
    """Of frames that were made with ``dictionary``, where there is one. Raises ValueError where it is none."""

    def __init__(self, dictionary: bytes = b"") -> None:
        import zstandard  # not with the module: a pack may be opened to be looked at

        self._library = zstandard
        self._idle: list[zstandard.ZstdDecompressor] = []
        try:
            self._dictionary = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
        except zstandard.ZstdError as error:
            raise ValueError(error) from error

    def decode(self, data: bytes | memoryview, size: int) -> bytes:
        """The ``size`` bytes that ``data`` holds. Raises ValueError where it does not."""
        library = self._library
        try:
            if library.frame_content_size(data) != size:
                raise ValueError("a frame of another size")
            try:
                decompressor = self._idle.pop()
            except IndexError:
                decompressor = library.ZstdDecompressor(dict_data=self._dictionary)
            found = decompressor.decompress(data, allow_extra_data=False)
        except library.ZstdError as error:
            if "Allocation error" in str(error):  # nothing is wrong with the data
                raise MemoryError("zstd cannot allocate memory") from error
            raise ValueError(str(error).rpartition(": ")[2]) from error
        self._idle.append(decompressor)
        if len(found) != size:
            raise ValueError("a frame of another size")
        return found

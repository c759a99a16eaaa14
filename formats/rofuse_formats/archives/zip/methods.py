"""Decoders of the methods that members are compressed with.

Rules
- A decoder gives no more than it is asked for, and holds a few MiB at most, but for the window that the data asks for;
  that is bounded by ``Limits.max_window``.
- What a library complains of leaves here as DamagedError.
- A library is imported when the first member of its method is read; where it is missing, MissingLibraryError says so.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

from rofuse_formats.archives.zip import records
from rofuse_formats.errors import (
    DamagedError,
    LimitError,
    MissingLibraryError,
    TruncatedError,
    UnsupportedError,
)
from rofuse_formats.limits import MIB, Limits
from rofuse_formats.source import Source

_FIRST_READ, _LARGEST_READ = 16 << 10, 256 << 10
_PIECE = 1 << 18  # output at once
_DEFLATE64_PIECE = 256  # of input: a byte of it becomes up to 29 KiB, and the library cannot be told to stop
_RAW = -15


class Input(Protocol):
    """A member's packed bytes, front to back."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most ``size`` (a negative one: as many as are convenient); none only at the end. Raises
        TruncatedError where the archive ends before, OSError."""
        ...

    def finish(self) -> bool:
        """Reads what is left; whether all the packed bytes are what they should be, as far as they say it themselves.
        To be called once, by who has read all that is in them."""
        ...


class Decoder(Protocol):
    def read(self, size: int, /) -> bytes:
        """Some of the next bytes, at most ``size``; none only at the end. Raises DamagedError, OSError."""
        ...


class Feed:
    """Bytes [start, end) of a source as Input, read in pieces that grow."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source, self._at, self._end = source, start, end
        self._size = _FIRST_READ

    def read(self, size: int = -1, /) -> bytes:
        wanted = min(size if size >= 0 else self._size, self._end - self._at)
        if wanted <= 0:
            return b""
        data = self._source.pread(wanted, self._at)
        if not data:
            raise TruncatedError(f"the archive ends before byte {self._end}, in the member's data", self._at)
        self._at += len(data)
        self._size = min(2 * self._size, _LARGEST_READ)
        return data

    def finish(self) -> bool:
        return True


def decoder(method: int, feed: Input, size: int, limits: Limits) -> Decoder:
    """A decoder at the beginning of a member of ``size`` bytes. Raises UnsupportedError for
    a method that is not known, LimitError, MissingLibraryError, DamagedError."""
    make = _DECODERS.get(method)
    if make is None:
        raise UnsupportedError(f"is compressed by {records.method_name(method)}, which is not supported")
    return make(feed, size, limits)


def cursor_bytes(method: int, feed: Input, packed: int, size: int, limits: Limits) -> int:
    """Memory that a decoder of this method holds, about. ``feed`` is at the beginning of the data, and is used up."""
    window = MIB // 4
    if method == records.BZIP2:
        window = 4 * MIB
    elif method == records.LZMA:
        window = _lzma_dictionary(feed.read(9))
    elif method == records.XZ:
        window = limits.max_window  # each of its blocks may say another one
    elif method in (records.ZSTD, records.OLD_ZSTD):
        window = _zstd_window(feed.read(18))
    elif method == records.PPMD:  # a model is larger than the text that it is of
        return min(_ppmd_model(_exactly(feed, 2)).memory, limits.max_window) + min(packed, _LARGEST_READ)
    return min(window, size, limits.max_window) + min(packed, _LARGEST_READ)


def _lzma_dictionary(head: bytes) -> int:
    return int.from_bytes(head[5:9], "little")


def _zstd_window(head: bytes) -> int:
    import zstandard

    try:
        return int(zstandard.get_frame_parameters(head).window_size)
    except zstandard.ZstdError:
        return MIB  # it will be said when it is decoded


class _Stored:
    def __init__(self, feed: Input, size: int, limits: Limits) -> None:
        self.read = feed.read


class _Decompressor(Protocol):
    """What bz2, lzma and igzip_lib have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Bounded:
    """A decoder by a library that can be told how much to give."""

    def __init__(
        self, feed: Input, decompressor: _Decompressor, error: type[Exception] | tuple[type[Exception], ...]
    ) -> None:
        self._feed, self._decompressor, self._error = feed, decompressor, error

    def read(self, size: int, /) -> bytes:
        decompressor = self._decompressor
        while not decompressor.eof:
            piece = self._feed.read() if decompressor.needs_input else b""
            starved = decompressor.needs_input and not piece
            try:
                data = decompressor.decompress(piece, size)
            except self._error as error:
                raise DamagedError(f"the compressed data is damaged: {error}") from error
            if data:
                return data
            if starved:
                break
        return b""


class _Zlib:
    """zlib's decompressor in the manner of the others: without isal."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_RAW)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


def inflated(data: bytes, size: int) -> bytes:
    """The first ``size`` bytes of what raw deflate data holds; fewer where it is damaged or ends."""
    decompressor, error = inflater()
    try:
        return decompressor.decompress(data, size)
    except error:
        return b""


def inflater() -> tuple[_Decompressor, type[Exception]]:
    """The fastest decompressor of raw deflate there is, and what it raises."""
    try:
        from isal import igzip_lib
    except ImportError:
        return _Zlib(), zlib.error
    error = cast("type[Exception]", igzip_lib.error)  # its stub says that it is one, not a class of them
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE), error


def _deflate(feed: Input, size: int, limits: Limits) -> Decoder:
    return _Bounded(feed, *inflater())


def _bzip2(feed: Input, size: int, limits: Limits) -> Decoder:
    return _Bounded(feed, bz2.BZ2Decompressor(), OSError)


def _lzma(feed: Input, size: int, limits: Limits) -> Decoder:
    """APPNOTE 5.8.8: version of the SDK, length of the properties, properties; then the data."""
    head = _exactly(feed, 4)
    (length,) = struct.unpack("<H", head[2:])
    if length != 5:
        raise DamagedError(f"the compressed data begins with {length} bytes of properties instead of 5")
    properties, dictionary = struct.unpack("<BI", _exactly(feed, 5))
    dictionary = min(dictionary, max(size, 4096))  # nothing refers to before the beginning
    _within(dictionary, limits)
    rest, lc = divmod(properties, 9)
    pb, lp = divmod(rest, 5)
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}]
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    except (lzma.LZMAError, ValueError) as error:
        raise DamagedError(f"the compressed data begins with properties that cannot be: {error}") from error
    return _Bounded(feed, decompressor, lzma.LZMAError)


def _xz(feed: Input, size: int, limits: Limits) -> Decoder:
    return _Bounded(feed, _Xz(limits), lzma.LZMAError)


class _Xz:
    """An xz decompressor whose memory is bounded."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inner = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.max_window + MIB)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return self._inner.decompress(data, max_length)
        except lzma.LZMAError as error:
            if "limit" in str(error):
                raise _too_large(self._limits) from error
            raise


def _deflate64(feed: Input, size: int, limits: Limits) -> Decoder:
    try:
        import inflate64
    except ImportError as error:
        raise MissingLibraryError("deflate64 needs the package inflate64 (pip install inflate64)") from error
    return _Deflate64(feed, inflate64.Inflater())


class _Deflate64:
    """The library cannot be told how much to give: it is fed little."""

    def __init__(self, feed: Input, inflater: Any) -> None:
        self._feed, self._inflater = feed, inflater
        self._packed = memoryview(b"")
        self._ready = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._ready and not self._inflater.eof:
            if not self._packed:
                self._packed = memoryview(self._feed.read())
                if not self._packed:
                    break
            piece, self._packed = self._packed[:_DEFLATE64_PIECE], self._packed[_DEFLATE64_PIECE:]
            try:
                self._ready = memoryview(self._inflater.inflate(bytes(piece)))
            except ValueError as error:
                raise DamagedError(f"the compressed data is damaged: {error}") from error
        data, self._ready = self._ready[:size], self._ready[size:]
        return bytes(data)


def _zstd(feed: Input, size: int, limits: Limits) -> Decoder:
    import zstandard

    window = 1 << max(10, limits.max_window.bit_length() - 1)
    decompressor = zstandard.ZstdDecompressor(max_window_size=window)
    source: Any = feed  # it only reads
    return _Zstd(decompressor.stream_reader(source, read_across_frames=True), zstandard.ZstdError, limits)


class _Zstd:
    def __init__(self, reader: Any, error: type[Exception], limits: Limits) -> None:
        self._reader, self._error, self._limits = reader, error, limits

    def read(self, size: int, /) -> bytes:
        try:
            return bytes(self._reader.read(min(size, _PIECE)))
        except self._error as error:
            if "too much memory" in str(error):
                raise _too_large(self._limits) from error
            raise DamagedError(f"the compressed data is damaged: {error}") from error


class _Model(NamedTuple):
    """The first two bytes of a PPMd member (APPNOTE 5.10): order less one, MiB less one, how it starts anew."""

    order: int
    memory: int
    """Bytes."""
    restoration: int


def _ppmd_model(head: bytes) -> _Model:
    (word,) = struct.unpack("<H", head)
    model = _Model((word & 0xF) + 1, ((word >> 4 & 0xFF) + 1) * MIB, word >> 12)
    if model.order < 2 or model.restoration > 1:  # the library does not look; a third way was never made
        raise DamagedError(f"the compressed data begins with a model that cannot be: {head.hex()}")
    return model


def _ppmd(feed: Input, size: int, limits: Limits) -> Decoder:
    model = _ppmd_model(_exactly(feed, 2))
    _within(model.memory, limits)
    try:
        import pyppmd
    except ImportError as error:
        raise MissingLibraryError("ppmd needs the package pyppmd (pip install pyppmd)") from error
    return _Ppmd(feed, pyppmd.Ppmd8Decoder(*model))


class _Ppmd:
    def __init__(self, feed: Input, decompressor: Any) -> None:
        self._feed, self._decompressor = feed, decompressor

    def read(self, size: int, /) -> bytes:
        decompressor = self._decompressor
        while not decompressor.eof:
            piece = self._feed.read() if decompressor.needs_input else b""
            try:
                data = bytes(decompressor.decode(piece, min(size, _PIECE)))
            except ValueError as error:
                raise DamagedError("the compressed data is damaged") from error
            if data:
                return data
            if not piece:
                break
        return b""


def _exactly(feed: Input, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = feed.read(size - len(data))
        if not more:
            raise DamagedError("the compressed data ends in its header")
        data += more
    return data


def _within(window: int, limits: Limits) -> None:
    if window > limits.max_window:
        raise _too_large(limits)


def _too_large(limits: Limits) -> LimitError:
    return LimitError(
        f"needs a window of more than {limits.max_window / MIB:g} MiB (raise the limit with --max-window)"
    )


_DECODERS: dict[int, Callable[[Input, int, Limits], Decoder]] = {
    records.STORED: _Stored,
    records.DEFLATE: _deflate,
    records.DEFLATE64: _deflate64,
    records.BZIP2: _bzip2,
    records.LZMA: _lzma,
    records.OLD_ZSTD: _zstd,
    records.ZSTD: _zstd,
    records.XZ: _xz,
    records.PPMD: _ppmd,
}

"""The system's liblzo2: the one function of it that decodes LZO1X and believes no length."""

from __future__ import annotations

import ctypes
from functools import cache

from rofuse_formats.errors import MissingLibraryError

_NAME = "liblzo2.so.2"


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_NAME)
        library.lzo1x_decompress_safe.restype = ctypes.c_int
        library.lzo1x_decompress_safe.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.c_void_p,
        ]
        library.lzo_version_string.restype = ctypes.c_char_p
        library.lzo_version_string.argtypes = []
    except (AttributeError, OSError) as error:
        raise MissingLibraryError(
            f"decoding lzop needs the system's library {_NAME} (package liblzo2-2)"
        ) from error
    return library


def version() -> str:
    """Raises MissingLibraryError."""
    text: bytes = _library().lzo_version_string()
    return text.decode("ascii", "replace")


def decompressed(data: bytes, size: int) -> bytes | None:
    """``data``, decoded, if it decodes to ``size`` bytes (more than 0) and to no more. Raises MissingLibraryError."""
    output = ctypes.create_string_buffer(size)
    length = ctypes.c_size_t(size)
    code: int = _library().lzo1x_decompress_safe(data, len(data), output, ctypes.byref(length), None)
    return output.raw if code == 0 and length.value == size else None

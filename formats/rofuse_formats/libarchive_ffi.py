"""The system's libarchive, through the package libarchive-c.

Strategy
libarchive-c finds the library and knows how most of it is called. What it does not declare is declared here, and what
it would turn into an exception or a line of log is taken from the library once more, plain: who decodes what a
stranger wrote must tell a warning from a failure.

Rules
- Nothing of it is loaded with this module: ``load`` does it, and says which package is missing where it cannot.
- Names are bytes. libarchive converts names to the locale's code, so who wants them calls ``use_utf8_names`` first,
  in a process of its own: a locale belongs to all of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from rofuse_formats.errors import MissingLibraryError

EOF, OK, RETRY, WARN, FAILED, FATAL = 1, 0, -10, -20, -25, -30  # archive.h
OLDEST = 3_004_000
"""The first one that reads RAR 5 and whose readers of it, of 7z and of cab can be asked for by name."""


def load(purpose: str) -> Any:
    """libarchive-c's ``ffi``. ``purpose``: what cannot be done without it, as a message begins. Raises
    MissingLibraryError."""
    try:
        from libarchive import ffi
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f"{purpose} needs the Python package libarchive-c (and the system's libarchive13)"
        ) from error
    except (AttributeError, OSError, TypeError) as error:  # the binding is there, the library is not
        raise MissingLibraryError(
            f"{purpose} needs the system's library libarchive (package libarchive13), beside libarchive-c"
        ) from error
    return ffi


def load_recent(purpose: str) -> Any:
    """As ``load``; raises MissingLibraryError for a library that is too old to read archives with, too."""
    ffi = load(purpose)
    number = ffi.version_number()
    if number < OLDEST:
        raise MissingLibraryError(
            f"{purpose} needs libarchive {version(OLDEST)} or later (package libarchive13); "
            f"here is {version(number)}"
        )
    return ffi


def is_at_hand() -> bool:
    """Whether the library can be loaded and is recent, and the package is there; where this tells nothing but that it
    is not known, ``load_recent`` knows."""
    import ctypes
    import os
    from importlib.util import find_spec

    try:
        library = ctypes.CDLL(os.environ.get("LIBARCHIVE") or "libarchive.so.13", mode=os.RTLD_LAZY)
        return find_spec("libarchive") is not None and library.archive_version_number() >= OLDEST
    except (AttributeError, OSError):
        return False


def version(number: int) -> str:
    """``3.6.2`` for what ``archive_version_number`` gives."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def use_utf8_names() -> None:
    """Has libarchive give and take names in UTF-8, in this process."""
    import locale

    for name in ("C.UTF-8", "C.utf8", "en_US.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
            return
        except locale.Error:
            continue


class Functions:
    """Functions of the library as they are declared in archive.h and archive_entry.h: they return codes, and raise
    nothing."""

    def __init__(self, ffi: Any) -> None:
        self._library = ffi.libarchive
        self._archive = ffi.c_archive_p
        import ctypes

        pointer, text, number, big = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64
        count, out = ctypes.c_size_t, ctypes.POINTER
        self.read_next_header = self._declared("read_next_header", number, pointer, out(pointer))
        self.read_data_block = self._declared(
            "read_data_block", number, pointer, out(pointer), out(count), out(big)
        )
        self.read_header_position = self._declared("read_header_position", big, pointer)
        self.read_set_options = self._declared("read_set_options", number, pointer, text)
        self.read_add_passphrase = self._declared("read_add_passphrase", number, pointer, text)
        self.read_set_skip_callback = self._declared(
            "read_set_skip_callback", number, pointer, ctypes.CFUNCTYPE(big, pointer, pointer, big)
        )
        self.filter_bytes = self._declared("filter_bytes", big, pointer, number)
        self.format_name = self._declared("format_name", text, pointer)
        self.error_string = self._declared("error_string", text, pointer)
        self.errno = self._declared("errno", number, pointer)
        self.entry_pathname = self._declared("entry_pathname", text, pointer)
        self.entry_pathname_utf8 = self._declared("entry_pathname_utf8", text, pointer)
        self.entry_pathname_w = self._declared("entry_pathname_w", ctypes.c_wchar_p, pointer)
        self.entry_hardlink = self._declared("entry_hardlink", text, pointer)
        self.entry_symlink = self._declared("entry_symlink", text, pointer)
        self.entry_uname = self._declared("entry_uname", text, pointer)
        self.entry_gname = self._declared("entry_gname", text, pointer)
        self.entry_mode = self._declared("entry_mode", ctypes.c_uint, pointer)
        for name in ("size", "uid", "gid", *TIMES):
            setattr(self, f"entry_{name}", self._declared(f"entry_{name}", big, pointer))
        for name in ("size", *TIMES):
            setattr(self, f"entry_{name}_is_set", self._declared(f"entry_{name}_is_set", number, pointer))
        for name in TIMES:
            setattr(self, f"entry_{name}_nsec", self._declared(f"entry_{name}_nsec", ctypes.c_long, pointer))
        self.times = [
            tuple(getattr(self, f"entry_{name}{suffix}") for suffix in ("_is_set", "", "_nsec"))
            for name in TIMES
        ]
        """Of each of ``TIMES``: whether the archive has it, its seconds, its nanoseconds."""
        self.entry_rdevmajor = self._declared("entry_rdevmajor", big, pointer)
        self.entry_rdevminor = self._declared("entry_rdevminor", big, pointer)
        self.entry_is_encrypted = self._declared("entry_is_encrypted", number, pointer)
        self.entry_xattr_reset = self._declared("entry_xattr_reset", number, pointer)
        self.entry_xattr_next = self._declared(
            "entry_xattr_next", number, pointer, out(text), out(pointer), out(count)
        )

    entry_size: Any
    entry_size_is_set: Any
    entry_uid: Any
    entry_gid: Any

    def _declared(self, name: str, result: Any, *arguments: Any) -> Any:
        function = self._library["archive_" + name]  # one of its own: libarchive-c has a check on each of its
        function.restype, function.argtypes = result, arguments
        return function


TIMES = ("mtime", "atime", "ctime", "birthtime")


@cache
def functions(ffi: Any) -> Functions:
    return Functions(ffi)

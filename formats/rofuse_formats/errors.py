"""What a reader of archives can be told, one class per thing.

Rules: the message is one line, says what failed and what to do, and does not name the file (whoever prints it
knows the file). Nothing here knows of errno or exit codes: the command maps classes to its exit statuses, the
mount maps them to errno.
"""

from __future__ import annotations


class FormatError(Exception):
    """Base of everything this package raises on purpose. ``str(error)`` is a line fit for a user."""


class SourceError(FormatError):
    """The source is missing or cannot be read."""


class UnknownFormatError(FormatError):
    """The bytes are of no format known here."""


class DamagedError(FormatError):
    """The archive contradicts its own format, or ends too early. ``offset`` counts bytes of the stream it was
    found in (the decoded stream for an archive inside a compressed one), None where no place can be named."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class TruncatedError(DamagedError):
    """The source ends too early. What came before its end is not in doubt."""


class UnsupportedError(FormatError):
    """Well-formed, but uses what is not supported here (a dictionary, a method, an encryption)."""


class LimitError(FormatError):
    """A limit that protects memory, disk or time was met. The message names the option that raises it."""


class RatioError(LimitError):
    """More would have to be decoded than so few bytes may become."""


class ChangedError(FormatError):
    """A file on disk is no longer what it was when it was described."""


class PasswordError(FormatError):
    """A password is needed, or the one given is wrong."""


class MissingLibraryError(FormatError):
    """A library or helper is missing; the message names the package."""


class IndexDamagedError(FormatError):
    """A kept index or image contradicts itself; it is thrown away and built again."""

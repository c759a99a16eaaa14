"""A large member as a stream, which is decoded from its beginning, and the checks of all members."""

from __future__ import annotations

from collections.abc import Callable

from rofuse_formats.archives.zip import methods
from rofuse_formats.archives.zip.local import KEPT_ENCRYPTED, KEPT_STRONG, matching
from rofuse_formats.archives.zip.methods import Input
from rofuse_formats.checksum import crc32
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError, UnsupportedError
from rofuse_formats.settings import Settings
from rofuse_formats.source import Source

_SCRATCH = 1 << 20


class Checker:
    """Compares checksums and remembers who failed."""

    def __init__(self, salvage: bool = False) -> None:
        self._salvage = salvage
        self._failed: set[int] = set()
        self.crc = crc32

    def ask(self, row: int) -> None:
        """Raises DamagedError for a member that failed."""
        if row in self._failed:
            raise DamagedError("its data failed its check; --salvage reads it all the same")

    def check(self, row: int, found: int, expected: int | None, feed: Input | None = None) -> None:
        """Raises DamagedError where the CRC-32 of a member's bytes is another than it should be, if there is one, or
        where its packed bytes, of which all were read, say that they are not what they were."""
        if self._salvage:
            return
        if expected is not None and found != expected:
            self._failed.add(row)
            raise DamagedError(f"its data failed its check: CRC-32 {found:08x} instead of {expected:08x}")
        if feed is not None and not feed.finish():
            self._failed.add(row)
            raise DamagedError("its data failed its check: the authentication code of its encryption")


def opened(source: Source, member: PackedMember, password: bytes | None) -> tuple[Input, int, int | None]:
    """A member's packed bytes, the method that they are packed by, and the checksum of what is in them if there is one.
    Raises DamagedError, PasswordError, UnsupportedError, OSError."""
    if member.flags & KEPT_STRONG:
        raise UnsupportedError("is encrypted in a way that is not supported")
    found = matching(source, member)
    if member.flags & KEPT_ENCRYPTED:
        from rofuse_formats.archives.zip.encryption import decrypted

        return decrypted(source, member, found, password)
    return methods.Feed(source, found.data, found.data + member.packed), member.method, member.crc


class MemberStream:
    """The codec contract's SeekableStream."""

    held = 0
    """Bytes that its seek points take."""

    def __init__(
        self, source: Source, member: PackedMember, row: int, size: int, settings: Settings, checker: Checker
    ) -> None:
        self.size = size
        self.points = [0]
        self._source, self._member, self._row = source, member, row
        self._settings, self._checker = settings, checker
        feed, method, _crc = opened(source, member, settings.scan.password)
        self.cursor_bytes = methods.cursor_bytes(method, feed, member.packed, size, settings.limits)

    def cursor(self, point: int) -> MemberCursor:
        feed, method, crc = opened(self._source, self._member, self._settings.scan.password)
        decoder = methods.decoder(method, feed, self.size, self._settings.limits)
        check = Check(self._checker, self._row, crc, feed)
        return MemberCursor(decoder, 0, self.size, check)


class Check:
    """The checks of one member, by who reads all of it from the beginning. ``passed`` is called when they were."""

    def __init__(
        self,
        checker: Checker,
        row: int,
        crc: int | None,
        feed: Input | None = None,
        passed: Callable[[], None] = lambda: None,
    ) -> None:
        self._checker, self._row, self._expected, self._feed = checker, row, crc, feed
        self._passed = passed
        self._crc = 0

    def add(self, data: bytes) -> None:
        if self._expected is not None:
            self._crc = self._checker.crc(data, self._crc)

    def finish(self) -> None:
        """Raises DamagedError."""
        self._checker.check(self._row, self._crc, self._expected, self._feed)
        self._passed()


class MemberCursor:
    """The codec contract's Cursor. Where it starts at a member's beginning, it has a ``check``."""

    def __init__(self, decoder: methods.Decoder, position: int, size: int, check: Check | None) -> None:
        self.position = position
        self._decoder, self._size, self._check = decoder, size, check

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0:
            data = self._some(size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        while size > 0:
            passed = len(self._some(min(size, _SCRATCH)))
            if not passed:
                break
            size -= passed

    def _some(self, size: int) -> bytes:
        data = (
            self._decoder.read(min(size, self._size - self.position)) if self.position < self._size else b""
        )
        self.position += len(data)
        if self._check is not None and data:
            self._check.add(data)
            if self.position == self._size:
                self._check.finish()
        return data

"""Encrypted members: the traditional way (APPNOTE 6.1) and WinZip's AES (AE-1 and AE-2).

Rules
- Each way has a few bytes by which most wrong passwords are noticed: PasswordError. One of 256 passes the traditional
  way's, one of 65,536 AES's; the checksum then fails.
- AES data has an authentication code. Whoever has read all of a member asks ``finish`` whether it was right.
- The traditional way is computed here, byte by byte, and slow: some MB a second.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from rofuse_formats.archives.zip import extra, records
from rofuse_formats.archives.zip.local import Local
from rofuse_formats.archives.zip.methods import Feed, Input
from rofuse_formats.entry import PackedMember
from rofuse_formats.errors import DamagedError, MissingLibraryError, PasswordError, UnsupportedError
from rofuse_formats.source import Source

_HEADER = 12  # bytes before data that is encrypted the traditional way
_BLOCK = 16
_STEP = 1 << 16
_CODE = 10  # bytes of the authentication code
_VERIFIER = 2
_ITERATIONS = 1_000
_KEY_SIZES = {1: 16, 2: 24, 3: 32}
_AE2 = 2

_WRONG = "the password is wrong"


def decrypted(
    source: Source, member: PackedMember, found: Local, password: bytes | None
) -> tuple[Input, int, int | None]:
    """As ``member.opened``."""
    if password is None:
        raise PasswordError("is encrypted; give its password with --password-file or --password")
    end = found.data + member.packed
    if member.method != records.AES:
        check = found.stamp >> 8 & 0xFF if found.flags & records.DESCRIBED else member.crc >> 24
        return _Traditional(Feed(source, found.data, end), password, check), member.method, member.crc
    told = extra.aes(found.extra)
    if told is None or told[1] not in _KEY_SIZES:
        raise UnsupportedError(f"is compressed by {records.method_name(records.AES)}, which is not supported")
    version, strength, method = told
    feed = _Aes(source, found.data, end, password, _KEY_SIZES[strength])
    return feed, method, None if version == _AE2 else member.crc


def _table() -> list[int]:
    """What one byte does to a CRC-32."""
    table = []
    for value in range(256):
        for _bit in range(8):
            value = value >> 1 ^ 0xEDB88320 if value & 1 else value >> 1
        table.append(value)
    return table


_TABLE = _table()


class _Traditional:
    def __init__(self, feed: Feed, password: bytes, check: int) -> None:
        self._feed = feed
        self._keys = 0x12345678, 0x23456789, 0x34567890
        for byte in password:
            self._keys = _updated(self._keys, byte)
        header = b""
        while len(header) < _HEADER:
            data = self.read(_HEADER - len(header))
            if not data:
                raise DamagedError("its data ends in the header of its encryption")
            header += data
        if header[-1] != check:
            raise PasswordError(_WRONG)

    def read(self, size: int = -1, /) -> bytes:
        table, plain = _TABLE, bytearray()
        key0, key1, key2 = self._keys
        for byte in self._feed.read(size):
            mask = key2 | 2
            byte ^= mask * (mask ^ 1) >> 8 & 0xFF
            plain.append(byte)
            key0 = table[(key0 ^ byte) & 0xFF] ^ key0 >> 8
            key1 = ((key1 + (key0 & 0xFF)) * 134_775_813 + 1) & 0xFFFFFFFF
            key2 = table[(key2 ^ key1 >> 24) & 0xFF] ^ key2 >> 8
        self._keys = key0, key1, key2
        return bytes(plain)

    def finish(self) -> bool:
        return True


def _updated(keys: tuple[int, int, int], byte: int) -> tuple[int, int, int]:
    key0, key1, key2 = keys
    key0 = _TABLE[(key0 ^ byte) & 0xFF] ^ key0 >> 8
    key1 = ((key1 + (key0 & 0xFF)) * 134_775_813 + 1) & 0xFFFFFFFF
    return key0, key1, _TABLE[(key2 ^ key1 >> 24) & 0xFF] ^ key2 >> 8


class _Aes:
    """Salt, verifier, data in counter mode (counting from 1, little-endian), authentication code."""

    def __init__(self, source: Source, start: int, end: int, password: bytes, key_size: int) -> None:
        salt_size = key_size // 2
        if end - start < salt_size + _VERIFIER + _CODE:
            raise DamagedError("its data ends in the header of its encryption")
        head = source.pread(salt_size + _VERIFIER, start)
        keys = hashlib.pbkdf2_hmac("sha1", password, head[:salt_size], _ITERATIONS, 2 * key_size + _VERIFIER)
        if head[salt_size:] != keys[2 * key_size :]:
            raise PasswordError(_WRONG)
        self._feed = Feed(source, start + len(head), end - _CODE)
        self._code = source.pread(_CODE, end - _CODE)
        self._hmac = hmac.new(keys[key_size : 2 * key_size], digestmod="sha1")
        self._encrypt = _block_cipher(keys[:key_size])
        self._counter = 1
        self._left = b""  # of the key stream

    def read(self, size: int = -1, /) -> bytes:
        data = self._feed.read(min(size, _STEP) if size >= 0 else size)
        self._hmac.update(data)
        if len(self._left) < len(data):
            self._left += self._key_stream(len(data) - len(self._left))
        mask, self._left = self._left[: len(data)], self._left[len(data) :]
        return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(len(data), "little")

    def _key_stream(self, size: int) -> bytes:
        first = self._counter
        self._counter += -(-size // _BLOCK)
        blocks = b"".join(count.to_bytes(_BLOCK, "little") for count in range(first, self._counter))
        encrypted: bytes = self._encrypt(blocks)
        return encrypted

    def finish(self) -> bool:
        while self.read():
            pass
        return hmac.compare_digest(self._hmac.digest()[:_CODE], self._code)


def _block_cipher(key: bytes) -> Any:
    """A function that encrypts whole blocks, each by itself."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as error:
        raise MissingLibraryError("AES needs the package cryptography (pip install cryptography)") from error
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update

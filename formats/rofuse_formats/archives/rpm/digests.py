"""The digests that a package says: of its header and payload as they lie in it, and of each file.

Rules
- Digests stand in the headers as hexadecimal text, but for the MD5 of old, which is bytes. One that is empty is none.
- Of the file that the header says not to be in the payload (%ghost) nothing is asked.
Source: the RPM package format, "Signature tags" and "Header tags".
"""

from __future__ import annotations

import stat

from rofuse_formats.archives.rpm.files import FILEFLAGS, FILEMODES, GHOST, paths_of
from rofuse_formats.archives.rpm.header import Header
from rofuse_formats.errors import DamagedError
from rofuse_formats.seals import Digest, Sealed, Seals

_SHA1_OF_HEADER, _SHA256_OF_HEADER, _MD5_OF_BOTH = 269, 273, 1004  # tags of the header of signatures
_FILEDIGESTS, _FILEDIGESTALGO = 1035, 5011
_PAYLOADDIGEST, _PAYLOADDIGESTALGO = 5092, 5093
_MD5, _SHA256 = 1, 8
_ALGORITHMS = {_MD5: "md5", 2: "sha1", _SHA256: "sha256", 9: "sha384", 10: "sha512", 11: "sha224",
               12: "sha3_256", 14: "sha3_512"}  # fmt: skip


def seals(signature: Header, header: Header, size: int) -> Seals:
    """Of a package of ``size`` bytes. Raises DamagedError."""
    of_header, payload = header.end - header.start, size - header.end
    stretches = [
        Sealed("the header", header.start, of_header, digest)
        for tag, name in ((_SHA1_OF_HEADER, "sha1"), (_SHA256_OF_HEADER, "sha256"))
        if (digest := _digest(name, signature.text(tag))) is not None
    ]
    if value := signature.binary(_MD5_OF_BOTH):
        both = Sealed("what follows the signatures", header.start, of_header + payload, Digest("md5", value))
        stretches.append(both)
    name = _algorithm(header, _PAYLOADDIGESTALGO, _SHA256)
    if (digest := _digest(name, header.text(_PAYLOADDIGEST))) is not None:
        stretches.append(Sealed("the payload", header.end, payload, digest))
    return Seals(stretches, _files(header), "the header")


def _files(header: Header) -> dict[bytes, Digest]:
    paths, digests = paths_of(header), header.texts(_FILEDIGESTS)
    modes, flags = header.numbers(FILEMODES), header.numbers(FILEFLAGS)
    name = _algorithm(header, _FILEDIGESTALGO, _MD5)
    if not digests:
        return {}
    if not len(paths) == len(digests) == len(modes) or len(flags) not in (0, len(paths)):
        raise DamagedError(f"the header has {len(paths)} files and {len(digests)} digests", header.start)
    found: dict[bytes, Digest] = {}
    for number, (path, text, mode) in enumerate(zip(paths, digests, modes, strict=True)):
        is_held = stat.S_ISREG(mode) and not (flags and flags[number] & GHOST)
        digest = _digest(name, text) if is_held else None
        if digest is not None:
            found[path.removeprefix(b".").lstrip(b"/")] = digest
    return found


def _algorithm(header: Header, tag: int, usual: int) -> str:
    """Its name; nothing for one that is not known here."""
    return _ALGORITHMS.get(next(iter(header.numbers(tag)), usual), "")


def _digest(name: str, text: bytes) -> Digest | None:
    if not text or not name:
        return None
    try:
        return Digest(name, bytes.fromhex(text.decode("ascii")))
    except ValueError:  # UnicodeDecodeError is one
        return Digest(name, b"")  # which nothing has

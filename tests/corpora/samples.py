"""The samples of a corpus: files whose names say that they are archives, or compressed, in directories of sources.

What libarchive keeps as text (uuencode) is decoded first, all of one directory beside each other, so that the parts of
an archive find each other.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COMPRESSED = {
    ".bz2": ["bzip2", "-dc"],
    ".br": ["brotli", "-dc"],
    ".gz": ["gzip", "-dc"],
    ".lz": ["lzip", "-dc"],
    ".lz4": ["lz4", "-dc"],
    ".lzma": ["xz", "-dc", "--format=lzma"],
    ".xz": ["xz", "-dc"],
    ".Z": ["gzip", "-dc"],
    ".zst": ["zstd", "-dcq"],
}
"""How a compressed file ends, and what decompresses it."""

_ENDINGS = re.compile(
    r"\.(tar|tgz|tbz2?|txz|tlz|tzst|zip|zipx|jar|war|apk|whl|xpi|epub|odt|docx|gz|bz2|xz|lzma|lz|zst|lz4|br|Z|7z|rar"
    r"|cab|iso|cpio|ar|a|deb|rpm|xar|lha|lzh|lzs|pma|warc|mtree|arj|exe|dump|zoo|001|z01)$",
    re.IGNORECASE,
)
_LATER_PART = re.compile(
    r"(\.part0*([2-9]|1\d)\.(rar|exe)|\.r\d\d|\.z(0[2-9]|[1-9]\d)|\.0(0[2-9]|[1-9]\d))$", re.IGNORECASE
)
_LARGEST = 64 << 20


class Sample(NamedTuple):
    """``name``: corpus and path in it."""

    name: str
    path: Path


def samples(directories: list[Path], scratch: Path) -> Iterator[Sample]:
    """Those below ``directories``, each of which is a corpus; what is decoded goes to ``scratch``."""
    for corpus in directories:
        for path in sorted(corpus.rglob("*")):
            name = f"{corpus.name}/{path.relative_to(corpus)}"
            if not path.is_file() or path.is_symlink() or not 0 < path.stat().st_size <= _LARGEST:
                continue
            if path.suffix == ".uu":
                decoded = _decoded(path, scratch / corpus.name)
                if decoded is not None and not _LATER_PART.search(decoded.name):
                    yield Sample(name, decoded)
            elif _ENDINGS.search(path.name) and not _LATER_PART.search(path.name):
                yield Sample(name, path)


def _decoded(path: Path, folder: Path) -> Path | None:
    """What a uuencoded file holds; all of its directory are decoded together."""
    folder = folder / re.sub(r"\W", "_", str(path.parent))[-100:]
    if not folder.exists():
        folder.mkdir(parents=True)
        for other in sorted(path.parent.glob("*.uu")):
            data = uudecoded(other.read_bytes())
            if data is not None:
                (folder / other.stem).write_bytes(data)
    found = folder / path.stem
    return found if found.exists() else None


def uudecoded(text: bytes) -> bytes | None:
    """The first file of a uuencoded text (POSIX uuencode(1), historical algorithm); None where there is none."""
    found, begun = bytearray(), False
    for line in text.splitlines():
        if not begun:
            begun = line.startswith(b"begin ")
        elif line.strip() == b"end":
            return bytes(found)
        elif line:
            try:
                found += binascii.a2b_uu(line)
            except binascii.Error:  # trailing garbage, as old encoders leave it
                found += binascii.a2b_uu(line[: ((line[0] - 32 & 63) * 4 + 5) // 3])
    return None

"""Names of members in UTF-8, whatever they were written in.

Strategy
What is ASCII, or says that it is UTF-8, stays as it is. For all other names of an archive there is one code page: what
the user says; else UTF-8, if all of them are that; else what a library finds likely among those that zip files come in;
else the one that the format was made with, 437.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

OEM = "cp437"
# When several are as likely, the first counts: those of DOS before those of Windows, the rarer look-alikes last.
_PAGES = (
    "cp437",
    "cp866",
    "gb18030",
    "cp949",
    "big5",
    "cp932",
    "cp1251",
    "cp850",
    "cp852",
    "cp1252",
    "cp1250",
)
_SAMPLE = 1 << 16


class Names:
    """``samples`` gives the raw names of the archive that do not say what they are; it is asked at most once."""

    def __init__(self, encoding: str | None, samples: Callable[[], Iterable[bytes]]) -> None:
        self.encoding = encoding
        """The code page; None as long as it was not needed and the user did not say it."""
        self.guessed = False
        self._samples = samples

    def decoded(self, raw: bytes) -> str:
        """A name that is neither ASCII nor marked as UTF-8. What the code page has no letter for stays as it was."""
        if self.encoding is None:
            self.encoding, self.guessed = detect(self._samples()), True
        try:
            return raw.decode(self.encoding)
        except UnicodeError:
            return raw.decode("utf-8", "surrogateescape")


def unicode_path(unicode: tuple[int, bytes] | None, raw: bytes) -> bytes | None:
    """The name of a Unicode path field, if it is of this name and not of an earlier one; see ``extra``."""
    if unicode is None or unicode[0] != zlib.crc32(raw):
        return None
    return unicode[1]


def detect(names: Iterable[bytes]) -> str:
    """The code page that names are likely to be in."""
    found, size = dict[bytes, None](), 0
    for name in names:
        if not name.isascii() and name not in found:
            found[name] = None
            size += len(name)
            if size > _SAMPLE:
                break
    sample = b"\n".join(found)
    try:
        sample.decode("utf-8")
        return "utf-8"
    except UnicodeError:
        return _likely(sample)


def _likely(sample: bytes) -> str:
    from charset_normalizer import from_bytes  # only where such names are

    matches = from_bytes(
        sample,
        steps=1,
        chunk_size=len(sample),
        threshold=0.2,
        cp_isolation=list(_PAGES),
        language_threshold=0,
    )
    likely = [
        (match.chaos, _PAGES.index(page))
        for match in matches
        for page in _pages_of(match.could_be_from_charset)
    ]
    return _PAGES[min(likely)[1]] if likely else OEM


def _pages_of(encodings: Iterable[str]) -> list[str]:
    return [page for page in encodings if page in _PAGES]

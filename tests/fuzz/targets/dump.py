"""The parser of dumps: text that is none raises DamagedError or LimitError; what is one makes an image whose dump makes
the same image.
"""

from __future__ import annotations

from collections.abc import Iterator

from rofuse_formats.errors import DamagedError, LimitError
from rofuse_formats.image.checking import check_form
from rofuse_formats.image.dump import dump, load
from rofuse_formats.image.reader import Image
from rofuse_formats.limits import Limits
from tests.fuzz.targets._archives import opened

MAX_LEN = 4096


def seeds() -> Iterator[bytes]:
    for archive in opened(".tar", 1 << 17):
        text = "".join(dump(archive.image)).encode("ascii")
        if len(text) <= MAX_LEN:
            yield text


def fuzz(data: bytes) -> None:
    lines = data.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    try:
        builder = load(lines)
        image = _bytes(builder.finish())
    except (DamagedError, LimitError):
        return
    check_form(Image(image), Limits())
    again = _bytes(load(dump(Image(image))).finish())
    assert again == image


def _bytes(pieces: object) -> bytes:
    assert isinstance(pieces, list)
    return b"".join(bytes(memoryview(piece).cast("B")) for piece in pieces)

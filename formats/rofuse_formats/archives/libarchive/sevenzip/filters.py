"""The coders of 7z that the standard library knows, as it wants to have them."""

from __future__ import annotations

import lzma
from typing import Any

from rofuse_formats.archives.libarchive.sevenzip.streams import LZMA, LZMA2, Coders

_LEAST_DICTIONARY = 1 << 12


def dictionary_of(coders: Coders) -> int | None:
    """Bytes of the dictionary of what is compressed by LZMA or LZMA2 alone; None of anything else."""
    properties = coders.properties
    if coders.method == LZMA and len(properties) == 5 and properties[0] < 225:
        return int.from_bytes(properties[1:], "little")
    if coders.method == LZMA2 and len(properties) == 1 and properties[0] < 40:
        return (2 | properties[0] & 1) << (properties[0] >> 1) + 11
    return None


def lzma_filter(coders: Coders, dictionary: int) -> dict[str, Any]:
    """For ``lzma.LZMADecompressor``, of a coder that has a dictionary."""
    size = {"dict_size": max(dictionary, _LEAST_DICTIONARY)}
    if coders.method == LZMA2:
        return {"id": lzma.FILTER_LZMA2, **size}
    first = coders.properties[0]
    return {"id": lzma.FILTER_LZMA1, "lc": first % 9, "lp": first // 9 % 5, "pb": first // 45, **size}

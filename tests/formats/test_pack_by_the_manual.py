"""rofuse-pack(5) is enough to read a pack: a reader that was written after it, with nothing of ours."""

from __future__ import annotations

import stat
import struct
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import pytest
import xxhash
import zstandard

from tests.formats.pack_support import files, packed, tar_of

COLUMNS = """
size 0 Q, mtime 0 q, data 0 Q, owner 0 I, nlink 0 I, parent 0 I, mtime_ns 0 I, mode 0 H, name_at 1+
I, child 1 I, order 1 I, uid 2 I, gid 2 I, uname 2 I, gname 2 I, string_at 3+ I, pieces_at 4+ I,
logical 5 Q, length 5 Q, offset 5 Q, stream 5 I, member_at 8 Q, packed 8 Q, member_crc 8 I, method 8
H, member_flags 8 H, xattr_node 6 I, xattr_name 6 I, xattr_value 6 I, atime 7 q, ctime 7 q, btime 7
q, atime_ns 7 I, ctime_ns 7 I, btime_ns 7 I, time_node 7 I, time_has 7 H
"""


def sections(data: bytes) -> list[bytes]:
    head = data[:256]
    assert head[:16] == bytes.fromhex("89524f465553452e7061636b0d0a1a0a")
    assert struct.unpack_from("<IIQQI", head, 16)[:3] == (1, 256, 1)
    assert struct.unpack_from("<Q", head, 64)[0] == len(data)
    assert sha256(data[256:]).digest() == head[216:248]
    assert struct.unpack_from("<Q", head, 248)[0] == xxhash.xxh3_64_intdigest(head[:248])
    found = []
    for at in (72, 104, 136, 168):
        offset, stored, holds, checksum = struct.unpack_from("<4Q", head, at)
        piece = data[offset : offset + stored]
        assert xxhash.xxh3_64_intdigest(piece) == checksum
        found.append(piece if stored == holds else zstandard.decompress(piece))
        assert len(found[-1]) == holds
    return found


def stream_of(data: bytes, index: bytes, dictionary: bytes) -> bytes:
    count = struct.unpack_from("<Q", data, 48)[0]
    words = struct.unpack_from(f"<{count}I", index)
    holds = struct.unpack_from(f"<{count}I", index, 4 * count)
    checksums = struct.unpack_from(f"<{count}Q", index, 8 * count)
    found = []
    ends = accumulate((word & 0x3FFFFFFF for word in words), initial=256)
    for word, size, checksum, start in zip(words, holds, checksums, ends, strict=False):
        piece = data[start : start + (word & 0x3FFFFFFF)]
        assert xxhash.xxh3_64_intdigest(piece) == checksum
        if not word >> 31:
            known = zstandard.ZstdCompressionDict(dictionary) if word >> 30 else None
            piece = zstandard.ZstdDecompressor(dict_data=known).decompress(piece)
        assert len(piece) == size
        found.append(piece)
    return b"".join(found)


def tree_of(image: bytes) -> tuple[dict[str, list[int]], bytes]:
    """The columns and the heap of names."""
    assert image[:8] == b"RFIMAGE\2"
    rows = struct.unpack_from("<9Q", image, 8)
    names, texts = struct.unpack_from("<2Q", image, 80)
    position, found = 96, dict[str, list[int]]()
    for line in COLUMNS.replace("\n", " ").split(","):
        name, table, code = line.split()
        count = rows[int(table[0])] + table.endswith("+")
        column = image[position : position + count * struct.calcsize(code)]
        if name in ("name_at", "child", "order"):  # in planes
            column = b"".join(column[row::count] for row in range(count))
        found[name] = list(struct.unpack(f"<{count}{code}", column))
        position += -(-count * struct.calcsize(code) // 8) * 8
    heap = image[position : position + names]
    assert position + -(-names // 8) * 8 + -(-texts // 8) * 8 == len(image)
    return found, heap


def read(path: Path) -> dict[str, bytes]:
    data = path.read_bytes()
    image, index, dictionary, _properties = sections(data)
    stream = stream_of(data, index, dictionary)
    columns, heap = tree_of(image)
    found: dict[str, bytes] = {}

    def content(row: int) -> bytes:
        word, size = columns["data"][row], columns["size"][row]
        if not word >> 62:
            return stream[word : word + size]
        piece, whole = word & (1 << 62) - 1, bytearray(size)
        for run in range(columns["pieces_at"][piece], columns["pieces_at"][piece + 1]):
            start, length, offset = (columns[name][run] for name in ("logical", "length", "offset"))
            whole[start : start + length] = stream[offset : offset + length]
        return bytes(whole)

    def walk(row: int, prefix: str) -> None:
        first = columns["data"][row]
        for dirent in range(first, first + columns["size"][row]):
            name = heap[columns["name_at"][dirent] : columns["name_at"][dirent + 1]].decode()
            child = columns["child"][dirent] - 1
            if stat.S_ISDIR(columns["mode"][child]):
                walk(child, f"{prefix}{name}/")
            else:
                found[prefix + name] = content(child)

    walk(0, "")
    return found


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_reader_by_the_manual_reads_the_same(tmp_path: Path, dictionary: bool) -> None:
    tar = tar_of(files(), tmp_path / "it.tar")
    path, _ = packed(tar, tmp_path / "it.rpack", dictionary=dictionary)
    assert read(path) == files()

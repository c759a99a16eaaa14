"""Archives that are dropped, closed or refused hold no descriptors."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats.errors import FormatError

DATA = Path(__file__).parents[2] / "testdata"


def descriptors() -> int:
    gc.collect()  # scanners are parts that know one another
    return len(os.listdir("/proc/self/fd"))


def test_none_is_left() -> None:
    before = descriptors()
    for _round in range(3):
        for name in ("basic-gnu.tar", "zstd.tar.zst"):
            archive = rofuse_formats.open(DATA / name, keep=False)
            node = next(n for _path, n in archive.image.walk() if archive.image.extents(n))
            assert archive.read(node, 0, 1)
            del archive
            with rofuse_formats.open(DATA / name, keep=False) as archive:
                assert archive.image.inode_count > 1
            del archive
        with pytest.raises(FormatError):
            rofuse_formats.open(DATA / "should-fail-garbage.tar", keep=False)
    assert descriptors() == before

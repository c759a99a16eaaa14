"""What a reader that was killed leaves behind in an archive that others read on."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import patience
from rofuse_formats.settings import Settings

SIZE = 3_000_000


class Fate:
    """Of a reader: how often it is still found alive."""

    left = 0

    def is_in_vain(self) -> bool:
        self.left -= 1
        return self.left == 0


@pytest.fixture
def fate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fate]:
    fate = Fate()
    monkeypatch.setattr(patience, "is_in_vain", fate.is_in_vain)
    yield fate


@pytest.mark.parametrize("packed", [bz2.compress, gzip.compress])
def test_decoders_that_were_interrupted_in_the_midst_are_not_used_again(
    tmp_path: Path, fate: Fate, packed: object
) -> None:
    """Of two compressions the inner one is interrupted while it is given bytes by the outer one."""
    assert callable(packed)
    data, tar = random.Random(3).randbytes(SIZE), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("file")
        info.size = SIZE
        archive.addfile(info, io.BytesIO(data))
    path = tmp_path / "a.tar.x.gz"
    path.write_bytes(gzip.compress(packed(tar.getvalue()), 1))
    with rofuse_formats.open(path, Settings(spool=False), keep=False) as opened:
        node = opened.image.lookup(1, b"file")
        for left in (*range(1, 30), *range(30, 90, 7)):
            fate.left = left
            with pytest.raises(InterruptedError):
                b"".join(opened.read(node, 0, SIZE))
                raise InterruptedError  # it had all before
            fate.left = 0
            assert b"".join(opened.read(node, 0, SIZE)) == data
            opened.cache._blocks.clear()
            opened.cache.bytes = 0

"""Columns in planes, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rofuse_formats
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.image import layout
from rofuse_formats.image.planes import joined, split

TESTDATA = Path(__file__).parents[2] / "testdata"
TARS = [tar for tar in sorted(TESTDATA.glob("*.tar")) if not tar.stem.startswith("should-fail")]


@pytest.mark.parametrize("tar", TARS, ids=lambda tar: str(tar.stem))
def test_an_image_comes_back(tar: Path) -> None:
    with rofuse_formats.open(tar, keep=False) as archive:
        image = bytes(archive.image.buffer)
    assert joined(split(image)) == image and len(split(image)) == len(image)


@given(st.binary(max_size=300))
def test_what_is_no_image_is_refused(data: bytes) -> None:
    for change in joined, split:
        with pytest.raises(IndexDamagedError):
            change(data)
        with pytest.raises(IndexDamagedError):
            change(layout.MAGIC + data)

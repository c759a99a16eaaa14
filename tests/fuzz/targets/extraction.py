"""Extraction by an index that says anything: what is made lies below the destination, and nothing beside it changes.

Inputs are those of ``index``; what they say of names, links, types and modes is believed as far as it can be read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from errno import EFBIG

from rofuse_formats import Archive, Settings
from rofuse_formats.errors import FormatError
from rofuse_formats.index import Index
from tests.fuzz.targets.index import MAX_LEN, _source, repaired, seeds
from tests.trees import Tree, snapshot

__all__ = ["MAX_LEN", "fuzz", "seeds"]


def fuzz(data: bytes) -> None:
    fd = os.memfd_create("index")
    folder = tempfile.mkdtemp(prefix="rofuse-fuzz-")
    try:
        os.write(fd, repaired(data))
        before = _beside(folder)
        try:
            archive = Archive(_source(), Index(fd), Settings(), later=True)
            archive.extract(os.path.join(folder, "dest"))
        except FormatError:
            pass
        except IndexError:
            if os.path.exists(os.path.join(folder, "dest")):
                raise  # the image's own reader may raise it, extraction may not
        except OSError as error:
            assert error.errno == EFBIG, error
        assert _beside(folder) == before, "something outside was changed"
    finally:
        os.close(fd)
        shutil.rmtree(folder, ignore_errors=True)


def _beside(folder: str) -> Tree:
    """What lies beside the destination; made at the first call."""
    outside = os.path.join(folder, "outside")
    if not os.path.exists(outside):
        os.mkdir(outside)
        with open(os.path.join(outside, "victim"), "wb") as file:
            file.write(b"old")
    assert set(os.listdir(folder)) <= {"outside", "dest"}
    return snapshot(outside)

"""What is said of entries, a line each."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import rofuse_formats
from rofuse_formats import names
from rofuse_mount.cli import describing
from tests.tars import write_tar


def test_what_a_file_takes_is_counted_once_for_all_its_names(tmp_path: Path) -> None:
    """It may have a million pieces, and as many names."""
    link: dict[str, Any] = {"type": tarfile.LNKTYPE, "linkname": "a"}
    path = write_tar(tmp_path / "a.tar", [("a", {"content": b"content"}), ("b", link), ("c", link)])
    with (
        rofuse_formats.open(path, keep=False) as archive,
        mock.patch.object(describing, "stored", wraps=names.stored) as stored,
    ):
        lines = describing.Describer(archive).objects(archive.image.walk())
        assert [json.loads(line)["stored"] for line in lines] == [7, 7, 7]
        stored.assert_called_once()

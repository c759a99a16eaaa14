"""What is said of an archive by whoever made it: one line, of which a terminal obeys nothing."""

from __future__ import annotations

import os
from errno import EIO
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_mount.archive_fs import ArchiveFilesystem
from rofuse_mount.cli import outcome
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import ask, connect, read_body
from tests.tars import write_tar

EVIL = "a\x1b[31m\nNov 28 rofuse-mount: all is well\r"
SHOWN = "a\\x1b[31m\\nNov 28 rofuse-mount: all is well\\r"


def test_of_what_cannot_be_read_the_log_has_one_line(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [(EVIL, {"content": bytes(4096)})])
    told: list[str] = []
    os.truncate(path, 1024)
    with rofuse_formats.open(path, keep=False) as archive:
        engine = connect(ArchiveFilesystem(archive, log=told.append))
        assert ask(engine, Opcode.READ, read_body(4096), nodeid=2).errno == EIO
    assert [line.partition(": byte ")[0] for line in told] == [SHOWN]


def test_what_a_command_says_is_one_line_of_letters(capsys: pytest.CaptureFixture[str]) -> None:
    outcome.say(f"{EVIL} \udcff \u2028 \xe9 \ud800")
    told = "rofuse-mount: a\\x1b[31m Nov 28 rofuse-mount: all is well\\r \\udcff \\u2028 \xe9 \\ud800\n"
    assert capsys.readouterr().err == told

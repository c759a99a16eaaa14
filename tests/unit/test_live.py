"""Live mounts of other users, who say of them what they like: root asks all."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rofuse_mount import runtime
from rofuse_mount.cli import live

FACTS: dict[str, Any] = {
    "source": "/s",
    "mountpoint": "/m",
    "fstype": "fuse.rofuse",
    "supervisor_pid": 1,
    "started": 5.5,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(live, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("rofuse_mount.mountinfo.read", list)
    folder = tmp_path / "rofuse-mount"
    folder.mkdir(mode=0o700)
    yield folder


def registered(folder: Path, name: str, text: str) -> int:
    """Somebody's file, with a lock; its descriptor."""
    fd = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, text.encode())
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


NONSENSE = [
    "[" * 30_000,
    "{}",
    "[]",
    "7",
    json.dumps(FACTS | {"supervisor_pid": "../../tmp/x"}),
    json.dumps(FACTS | {"mountpoint": 7}),
    json.dumps(FACTS | {"started": None}),
    json.dumps(FACTS | {"started": 1e400}),
    json.dumps(FACTS | {"started": 10**400}),
]


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_live_mount(text: str, folder: Path) -> None:
    bad, good = registered(folder, "7.json", text), registered(folder, "8.json", json.dumps(FACTS))
    try:
        assert [mount.minor for mount in live.every()] == [8]
    finally:
        os.close(bad)
        os.close(good)


def test_names_that_are_no_numbers_and_files_that_are_none_are_passed_over(folder: Path) -> None:
    (folder / "\N{SUPERSCRIPT TWO}.json").touch()
    os.mkfifo(folder / "7.json")
    assert live.every() == []
    assert runtime.read(7) is None


ANSWERS: list[list[bytes]] = [
    [b"[" * 30_000],
    [b"nonsense"],
    [b"[]"],
    [b'{"worker_pids": ["../x"]}'],
    [b'{"worker_pids": 7, "restarts": "x"}'],
    [b"{}", b"[" * 30_000],
    [b"{}", b'{"counts": {"1": 1e400}}'],
    [b"{}", b'{"counts": {"1": ' + b"9" * 400 + b"}}"],
    [b"{}"] * 10_000,
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_nonsense_that_is_answered_counts_for_nothing(answer: list[bytes], folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "7.socket"))
        listener.listen(1)

        def talk() -> None:
            visitor, _ = listener.accept()
            with visitor:
                try:
                    for message in answer:
                        visitor.send(message)
                    visitor.recv(1)  # and no end
                    visitor.recv(1)
                except OSError:
                    pass  # it has gone

        talker = threading.Thread(target=talk)
        talker.start()
        status = live.LiveMount(7, os.getuid(), FACTS).status()
        talker.join(20)
    assert (status["restarts"], status["worker_pids"], status["mountpoint"]) == (0, [], "/m")
    assert status["requests"] == {}

"""Live mounts, asked: what ``status`` and ``takeover`` have in common.

Rules
- Who asks may be root, and who answers any user: what is no answer counts as none, and so does one without end.
"""

from __future__ import annotations

import json
import os
import socket
from time import monotonic
from typing import Any

from rofuse_mount import figures, mounting, runtime
from rofuse_mount.cli import outcome

_ANSWER_SECONDS = 2.0
_MOST_LINES = 256
_MOST = 1 << 62  # that a number can be
_MESSAGE_MAX = 1 << 18
_DESCRIPTORS_MAX = 253  # of one message: SCM_MAX_FD
_NEW: dict[str, Any] = {"server_pid": None, "worker_pids": [], "restarts": 0, "takeovers": 0}
KEYS = (
    *("source", "mountpoint", "fstype", "supervisor_pid", "server_pid", "worker_pids", "started", "restarts"),
    *("takeovers", "requests", "pushed", "cache", "changed", "rss"),
)


class LiveMount:
    """A mount whose supervisor or servers live: its number, the user whose it is, and what was said of it."""

    def __init__(self, minor: int, uid: int, facts: dict[str, Any]) -> None:
        self.minor, self.uid, self.facts = minor, uid, facts

    def status(self) -> dict[str, Any]:
        """What is under ``KEYS``, and ``spins``. Servers that do not answer in time are left out of the figures."""
        facts, lines = self._ask_status()
        try:
            known = _NEW | self.facts | facts | figures.together(lines)
        except ValueError:
            known = _NEW | self.facts | facts | figures.together(())
        processes = {known["supervisor_pid"], *known["worker_pids"]}
        known["rss"] = sum(map(_resident, processes))
        return known

    def _ask_status(self) -> tuple[dict[str, Any], list[bytes]]:
        """What its supervisor says of it, and a line of figures of each server."""
        lines: list[bytes] = []
        connection = runtime.ask(self.minor, b"status", self.uid)
        if connection is None:
            return {}, []
        end = monotonic() + _ANSWER_SECONDS
        with connection:
            try:
                while len(lines) < _MOST_LINES and (left := end - monotonic()) > 0:
                    connection.settimeout(left)
                    line = connection.recv(_MESSAGE_MAX)
                    if not line:
                        break
                    lines.append(line)
            except OSError:
                pass  # a server that is busy or stopped
        try:
            facts = json.loads(lines[0]) if lines else {}
        except (ValueError, RecursionError):
            return {}, []
        if not isinstance(facts, dict) or not _are_facts(self.facts | facts):
            return {}, []
        return facts, lines[1:]


def _are_facts(told: dict[str, Any]) -> bool:
    """Whether everything is what it should be."""
    known = _NEW | told
    pids = [known.get("supervisor_pid"), *_listed(known["worker_pids"])]
    numbers = [known["restarts"], known["takeovers"], *pids, known["server_pid"] or 0]
    texts = [known.get(key) for key in ("source", "mountpoint", "fstype")]
    started = known.get("started")
    return (
        all(type(number) is int and 0 <= number < _MOST for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and isinstance(started, int | float)
        and 0 <= started < _MOST
    )


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [None]


def every() -> list[LiveMount]:
    """The live mounts of this user; for root, of everybody who has a mount in the table."""
    from rofuse_mount import mountinfo

    users = {os.getuid()}
    if os.getuid() == 0:
        users |= {user_of(entry) for entry in mountinfo.read() if entry.fstype.startswith(b"fuse")}
    found = [LiveMount(minor, uid, facts) for uid in sorted(users) for minor, facts in runtime.live(uid)]
    return [mount for mount in found if _are_facts(mount.facts)]


def at(mountpoint: str) -> LiveMount:
    """The live mount at a path. Raises Failure."""
    path, entry = mounting.find_mount(mountpoint)
    shown = outcome.show(os.fsdecode(path))
    if entry is None:
        raise mounting.MountpointError(f"{shown} is not a mountpoint")
    uid = user_of(entry)
    facts = runtime.read(entry.minor, uid)
    if facts is None or not _are_facts(facts):
        whose = "" if uid in (os.getuid(), 0) else f" of this user, but of user {uid}"
        raise mounting.MountpointError(f"{shown} is not a live mount of rofuse-mount{whose}")
    return LiveMount(entry.minor, uid, facts)


def user_of(entry: Any) -> int:
    """Who has mounted it."""
    return next((int(o[8:]) for o in entry.super_options if o.startswith(b"user_id=")), os.getuid())


def request_spec(mount: LiveMount) -> tuple[dict[str, Any], list[int]]:
    """What the servers of a mount are started from: facts, and the descriptors that ``keep`` numbers. Raises
    Failure."""
    connection = runtime.ask(mount.minor, b"spec", mount.uid)
    if connection is not None:
        with connection:
            connection.settimeout(_ANSWER_SECONDS)
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    connection, _MESSAGE_MAX, _DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
                )
                if message:
                    return json.loads(message), list(descriptors)
            except OSError:
                pass  # said below
    raise outcome.Failure(f"{outcome.show(mount.facts['mountpoint'])}: its supervisor does not answer")


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process has; 0 for none."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0

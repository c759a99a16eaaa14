"""A supervisor in a fresh interpreter: what supervises for months shall not hold what mounting needed for a second.

Strategy
The process that has mounted and whose servers are ready executes Python anew in its own place: pid, children,
descriptors and blocked signals stay, the memory goes. What the supervisor must know goes with it through a memory
file (``supervise``); ``main`` is what the fresh interpreter runs. Servers that it starts later are programs of
their own.

Who mounts mostly reads at once, and an interpreter that starts beside takes a processor and the disk from that. So it
starts half a second later, or as soon as there is anything to do.

Rules
- Signals that end the mount are blocked by who calls ``supervise``, and unblocked when they are handled again.
- Only what is imported here and in this package's small modules is in memory; what the end needs is imported then.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

from rofuse_mount.supervisor import Board, Supervisor, spawning
from rofuse_mount.supervisor.desk import Desk
from rofuse_mount.supervisor.instance import Instance

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PAUSE_SECONDS, _GLANCE_MS = 0.5, 50
_CODE = "import sys; sys.path.insert(0, {root!r}); from rofuse_mount.supervisor.lean import main; main()"


def supervise(supervisor: Supervisor, title: str, state: dict[str, Any]) -> NoReturn:
    """Supervises until the mount ends, then exits. Where no fresh interpreter can be had (it was executed by a user
    who cannot any more, it has been removed), this one goes on, and servers are started as before. ``title``: what a
    list of processes shows. ``state``: ``command``, ``keep`` and ``path`` for servers started later
    (``server_start``), ``facts``, ``listener`` (``Desk``; -1 for none), ``log`` (-1: syslog)."""
    _pause(supervisor, state["listener"])
    try:
        _continue_lean(supervisor, title, state)
    except OSError as error:
        supervisor.log = _log(state["log"])
        supervisor.log(f"the supervisor cannot be started afresh ({error.strerror}) and needs more memory")
    if state["listener"] >= 0:
        Desk(supervisor, state["listener"], state).open()
    supervisor.run_until_signal()
    os._exit(0)


def _pause(supervisor: Supervisor, listener: int) -> None:
    """Until half a second is over, or a server, a visitor or a signal is to be heeded: that is done afterwards."""
    poll = select.poll()
    for instance in supervisor.instances:
        poll.register(instance.pidfd, select.POLLIN)
        poll.register(instance.channel, select.POLLIN)
    if listener >= 0:
        poll.register(listener, select.POLLIN)
    end = time.monotonic() + _PAUSE_SECONDS
    while time.monotonic() < end and not signal.sigpending() and not poll.poll(_GLANCE_MS):
        pass


def _continue_lean(supervisor: Supervisor, title: str, state: dict[str, Any]) -> NoReturn:
    state = state | {
        "devices": supervisor.devices,
        "board": supervisor.board.fd,
        "instances": [instance.to_json() for instance in supervisor.instances],
        "ending": supervisor.ending.to_json(),
        "restarts": supervisor.restarts,
        "ended": supervisor.ended,
    }
    fd = os.memfd_create("rofuse-supervisor")
    os.write(fd, json.dumps(state).encode())
    guard = supervisor.ending.guard[1]
    kept = [
        fd,
        supervisor.board.fd,
        state["listener"],
        state["log"],
        guard,
        *supervisor.devices,
        *state["keep"],
    ]
    kept += [instance.channel.fileno() for instance in supervisor.instances]
    code = _CODE.format(root=_ROOT)
    kept = [descriptor for descriptor in kept if descriptor >= 0]
    for descriptor in kept:
        os.set_inheritable(descriptor, True)
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code, str(fd), "rofuse-mount", title])
    finally:
        for descriptor in kept:
            os.set_inheritable(descriptor, False)


def server_start(state: dict[str, Any]) -> Any:
    """How servers are started: ``command`` with the spec's descriptor, under a PYTHONPATH where it is found."""
    environment = dict(os.environ)
    paths = [*state["path"], *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return spawning([*state["command"], str(state["spec"])], environment, state["keep"])


def main() -> None:
    """``argv``: the descriptor of the state, and what is there to be seen."""
    fd = int(sys.argv[1])
    state = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2:
            try:
                os.set_inheritable(number, False)
            except OSError:
                continue  # the listing's own
    sys.exit(_supervise(state))


def _supervise(state: dict[str, Any]) -> int:
    supervisor = Supervisor(
        state["devices"],
        Board(state["board"]),
        _Ending(state["ending"]),
        server_start(state),
        _log(state["log"]),
    )
    supervisor.restarts, supervisor.ended = state["restarts"], state["ended"]
    for known in state["instances"]:
        supervisor.adopt(Instance.from_json(known))
    if state["listener"] >= 0:
        Desk(supervisor, state["listener"], state).open()
    supervisor.run_until_signal()
    return 0


class _Ending:
    """``mounting.ending.Ending``, imported when it is needed."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known

    def _load(self) -> Any:
        from rofuse_mount.mounting.ending import Ending

        return Ending.from_json(self._known)

    def take_off(self, log: Any) -> float:
        return float(self._load().take_off(log))

    def clean_up(self, log: Any) -> None:
        self._load().clean_up(log)


def _log(fd: int) -> Any:
    """Lines to a file, or to syslog (-1)."""
    if fd < 0:
        import syslog

        syslog.openlog("rofuse-mount", syslog.LOG_PID, syslog.LOG_DAEMON)
        return lambda line: syslog.syslog(syslog.LOG_WARNING, line)

    def write(line: str) -> None:
        from time import strftime

        text = f"{strftime('%Y-%m-%d %H:%M:%S')} rofuse-mount[{os.getpid()}]: {line}\n"
        try:
            os.write(fd, text.encode("utf-8", "backslashreplace"))
        except OSError:
            return  # a log that cannot be written must not cost the mount

    return write

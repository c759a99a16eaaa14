"""Where a server's log lines go: standard error in the foreground, a file if one was named, else syslog."""

from __future__ import annotations

import logging
import os
import sys

_FORMAT = "%(asctime)s rofuse-mount[%(process)d]: %(message)s"


class _Syslog(logging.Handler):
    def __init__(self) -> None:
        import syslog

        super().__init__()
        self._syslog = syslog
        syslog.openlog("rofuse-mount", syslog.LOG_PID, syslog.LOG_DAEMON)

    def emit(self, record: logging.LogRecord) -> None:
        priority = self._syslog.LOG_WARNING if record.levelno < logging.ERROR else self._syslog.LOG_ERR
        for line in self.format(record).split("\n"):
            self._syslog.syslog(priority, line)


def open_log_file(path: str) -> int:
    """A descriptor that appends to ``path``. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def configure(*, background: bool, fd: int | None, debug: bool, verbose: bool) -> None:
    """Directs the package's loggers. ``fd``: of the log file, if there is one."""
    handler: logging.Handler
    if fd is not None:
        handler = logging.StreamHandler(os.fdopen(fd, "a", errors="backslashreplace"))
        handler.setFormatter(logging.Formatter(_FORMAT))
    elif background:
        handler = _Syslog()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s" if debug else "rofuse-mount: %(message)s"))
    logger = logging.getLogger("rofuse_mount")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)

"""What every test may count on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Under nohup a hangup is ignored, and all that we start inherits that: the tests of what a hangup does would wait
    for ever."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

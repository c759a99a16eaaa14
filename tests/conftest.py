"""What every test may count on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Under nohup a hangup is ignored, and in the background of a script an interrupt; all that we start would inherit
    that, and the tests of what these signals do would wait for ever."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

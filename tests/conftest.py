"""What every test may count on."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """Under nohup a hangup is ignored, and in the background of a script an interrupt; all that we start would inherit
    that, and the tests of what these signals do would wait for ever."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_directory() -> Iterator[str]:
    """Nothing is written to the cache of who runs the tests, nor read from it: the run has one of its own. Tests that
    look into theirs set another."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory(prefix="rofuse-cache-", ignore_cleanup_errors=True) as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before

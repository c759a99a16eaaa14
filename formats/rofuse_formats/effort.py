"""What indexing took: whether its result is worth a file."""

from __future__ import annotations

import os
import time

BLINK, BLINK_OF_WORK = 0.25, 0.1
"""Seconds, and of them those of a processor, which a busy machine makes no longer: what is indexed in less is not worth
a file."""


class Effort:
    """What indexing takes, from now on, of time and of the processors; those of processes that are over included."""

    def __init__(self) -> None:
        self._started, self._worked = time.monotonic(), _processor_seconds()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def is_a_blink(self) -> bool:
        return self.seconds <= BLINK and _processor_seconds() - self._worked <= BLINK_OF_WORK


def _processor_seconds() -> float:
    return sum(os.times()[:4])

"""What is fuzzed: one module for each target; the folder is the registry.

A target module has a docstring that says what must hold, ``MAX_LEN``, ``seeds()`` (inputs to begin with) and
``fuzz(data)``, which raises for a find and for nothing else: an exception that is the contract's is caught there.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Protocol, cast


class Target(Protocol):
    __doc__: str | None
    MAX_LEN: int
    """Bytes of the longest input that is tried."""

    def seeds(self) -> Iterator[bytes]: ...

    def fuzz(self, data: bytes) -> None: ...


@cache
def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def target(name: str) -> Target:
    return cast(Target, importlib.import_module(f"{__name__}.{name}"))

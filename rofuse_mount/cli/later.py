"""Modules that are imported when something of them is first asked for.

click imports ``inspect``, which with all that it takes is a third of click's own start, to unindent help texts; and
half of what ``ls`` does is to start. So it finds a stand-in, which fetches the module when it is wanted (``declaring``
sees to it that our help texts do not want it). Whoever imports it from then on has the module itself.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

BY_CLICK = "inspect"


class _Later(ModuleType):
    """Stands for the module of its name."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def put_off(module: str) -> None:
    """To be called before the first import of ``module``; later it does nothing."""
    sys.modules.setdefault(module, _Later(module))


put_off(BY_CLICK)

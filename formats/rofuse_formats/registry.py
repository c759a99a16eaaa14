"""Folders that are registries: each module in them is an entry, and its name is that of what it registers."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from types import ModuleType


def modules(package: str, folders: Iterable[str]) -> Iterator[ModuleType]:
    """The modules and packages in a package's folder, imported, in alphabetical order: those that
    ``pkgutil.iter_modules`` finds, whose own imports take as long as all of them."""
    found = [name for folder in folders for name in os.listdir(folder) if _is_module(folder, name)]
    for name in sorted(name.removesuffix(".py") for name in found):
        yield importlib.import_module(f"{package}.{name}")


def _is_module(folder: str, name: str) -> bool:
    if not name.removesuffix(".py").isidentifier() or name.startswith("_"):
        return False
    return name.endswith(".py") or os.path.isfile(os.path.join(folder, name, "__init__.py"))

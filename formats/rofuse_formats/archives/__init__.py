"""One module (or package) per archive format; the contract is ``rofuse_formats.entry.Format``.

The folder is the registry: a new format is a new module here that defines ``FORMAT``, and no edit elsewhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from rofuse_formats.entry import Format


@cache
def formats() -> dict[str, Format]:
    """All archive formats by name, in the modules' alphabetical order."""
    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(__path__):
        archive_format: Format = importlib.import_module(f"{__name__}.{module.name}").FORMAT
        found[archive_format.name] = archive_format
    return found

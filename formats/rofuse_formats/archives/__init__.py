"""One module (or package) per archive format; the contract is ``rofuse_formats.entry.Format``.

The folder is the registry: a new format is a new module here that defines ``FORMAT``, and no edit elsewhere.
"""

from __future__ import annotations

import importlib
from functools import cache

from rofuse_formats.entry import AnyFormat
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.registry import modules


def named(name: str) -> AnyFormat:
    """The format that an index names; it is called as its module is. Raises IndexDamagedError where there is none."""
    try:
        if not name.isidentifier():
            raise ImportError(name)
        archive_format: AnyFormat = importlib.import_module(f"{__name__}.{name}").FORMAT
    except ImportError as error:
        raise IndexDamagedError(f"the index names a format that is not known here: {name!r}") from error
    return archive_format


@cache
def formats() -> dict[str, AnyFormat]:
    """All archive formats by name, in the order in which they are asked: the modules' alphabetical order, but for those
    that say that they are to be the ``last``."""
    found: dict[str, AnyFormat] = {}
    for module in modules(__name__, __path__):
        archive_format: AnyFormat = module.FORMAT
        found[archive_format.name] = archive_format
    return dict(sorted(found.items(), key=lambda item: getattr(item[1], "last", False)))

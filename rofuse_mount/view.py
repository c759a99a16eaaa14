"""What of an archive a mount shows, and how: the options of the same names."""

from __future__ import annotations

import math


class View:
    """How an archive's attributes are shown. None: as the archive has them.

    ``uid``, ``gid``: everything belongs to them. ``fmask``, ``dmask``: permission bits taken from files and
    directories. ``entry_timeout``, ``attr_timeout``: seconds that the kernel may keep what it was told. ``subdir``: a
    path in the archive that becomes the root. ``file``: the mountpoint is a file, and so is the root: the one at
    ``subdir``, or the only one there is. ``permissions``: the kernel checks them, so access control lists count;
    not beside masks, which they would undo.
    """

    __slots__ = (
        "attr_timeout",
        "dmask",
        "entry_timeout",
        "file",
        "fmask",
        "gid",
        "permissions",
        "subdir",
        "uid",
    )

    def __init__(
        self,
        *,
        uid: int | None = None,
        gid: int | None = None,
        fmask: int = 0,
        dmask: int = 0,
        entry_timeout: float = math.inf,
        attr_timeout: float = math.inf,
        subdir: bytes = b"",
        file: bool = False,
        permissions: bool = False,
    ) -> None:
        self.uid, self.gid, self.fmask, self.dmask = uid, gid, fmask, dmask
        self.entry_timeout, self.attr_timeout, self.subdir = entry_timeout, attr_timeout, subdir
        self.permissions, self.file = permissions, file

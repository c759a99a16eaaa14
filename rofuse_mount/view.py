"""What of an archive a mount shows, and how: the options of the same names."""

from __future__ import annotations

import math
import stat
from itertools import islice

from rofuse_formats.image.reader import Image


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


def root(image: Image, view: View) -> int:
    """The inode that becomes the root. Raises NotADirectoryError where there is none of the mountpoint's kind."""
    node = image.resolve(view.subdir)
    shown = repr(view.subdir.decode(errors="backslashreplace"))
    if not view.file:
        if not node or not image.is_directory(node):
            raise NotADirectoryError(f"the archive has no directory {shown}")
        return node
    if not view.subdir:
        first = [child for _name, child in islice(image.walk(), 2)]
        if len(first) != 1 or not stat.S_ISREG(image.mode[first[0] - 1]):
            raise NotADirectoryError(
                "the mountpoint is a file, and the archive is more than one; "
                "choose a directory, or a file of it with -o subdir=PATH"
            )
        return first[0]
    if not node or not stat.S_ISREG(image.mode[node - 1]):
        raise NotADirectoryError(f"the mountpoint is a file, and {shown} is no file of the archive")
    return node

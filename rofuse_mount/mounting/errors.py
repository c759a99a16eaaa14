"""What can go wrong with a mount, one class per thing a user can be told.

Rules: ``str(error)`` is one line that says what failed, on which path, and what to do; it holds no control
characters. Exit statuses are the command's affair.
"""

from __future__ import annotations

RUN_HINT = "'rofuse-mount run SOURCE -- COMMAND' needs neither root nor fusermount3"
BUSY = "%s is busy: a file of it is open, or it is somebody's working directory"


class MountError(Exception):
    """Base of everything that mounting raises on purpose."""


class MountpointError(MountError):
    """The path cannot be a mountpoint, or is not the mount that was meant."""


class DeadMountError(MountpointError):
    """The path is a mount whose server is gone; unmounting it lazily clears it."""


class BusyError(MountpointError):
    """Somebody has a file of the mount open, or its working directory there."""


class NotPermittedError(MountError):
    """This process may not mount or unmount here, or not use /dev/fuse."""


class MissingHelperError(MountError):
    """fusermount3 is needed and cannot be started; the text names the package."""

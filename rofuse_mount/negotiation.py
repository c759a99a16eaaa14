"""INIT: what kernel and server agree on before anything else.

Strategy
The kernel offers flags, we want some of them, both sides get those that both have. Nothing is concluded from the
protocol's minor number but whether it is recent enough: distributions carry features back to older kernels.

Rules
- Major other than 7: a newer kernel is told ours and asks again; an older one is refused.
- Before 7.26 (Linux 4.9): refused with EPROTO.
- What was agreed is a ``Config``. As bytes (``freeze``) it can be handed to another process, which serves on
  without a second INIT (``thaw``).
"""

from __future__ import annotations

from struct import Struct

from rofuse_mount import wire
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import Config, MountOptions
from rofuse_mount.wire import InitFlag

OLDEST_MINOR = 26
DEFAULT_PAGES = 32  # of a request, where MAX_PAGES was not negotiated
LEAST_MAX_WRITE = 4096

_WANTED = (
    InitFlag.ASYNC_READ
    | InitFlag.DO_READDIRPLUS  # and not READDIRPLUS_AUTO: always
    | InitFlag.NO_OPEN_SUPPORT
    | InitFlag.PARALLEL_DIROPS
    | InitFlag.ABORT_ERROR
    | InitFlag.MAX_PAGES
    | InitFlag.CACHE_SYMLINKS
    | InitFlag.NO_OPENDIR_SUPPORT
    | InitFlag.EXPLICIT_INVAL_DATA  # what is read-only is cached until it is said otherwise
    | InitFlag.INIT_EXT
    | InitFlag.HAS_RESEND
)

_FROZEN = Struct("<4sIIQII")  # mark, then the fields of Config
_MARK = b"rfn1"


class ProtocolError(Exception):
    """A kernel that cannot be served. The message is one line fit for a user."""


def wanted(filesystem: Filesystem) -> int:
    """The flags this filesystem is served best with."""
    flags = _WANTED
    flags |= InitFlag.EXPORT_SUPPORT if filesystem.export else InitFlag.NO_EXPORT_SUPPORT
    if filesystem.posix_acl:
        flags |= InitFlag.POSIX_ACL
    if filesystem.passthrough:
        flags |= InitFlag.PASSTHROUGH
    return flags


def offer(request: bytes) -> tuple[int, int, int, int]:
    """The kernel's INIT: major, minor, max_readahead and flags. Raises ProtocolError where it is too old or short."""
    body = len(request) - wire.IN_HEADER.size
    major, minor = Struct("<II").unpack_from(request, wire.IN_HEADER.size)
    if major > wire.KERNEL_VERSION:
        return major, minor, 0, 0
    if major < wire.KERNEL_VERSION or minor < OLDEST_MINOR:
        raise ProtocolError(
            f"the kernel speaks FUSE protocol {major}.{minor};"
            f" {wire.KERNEL_VERSION}.{OLDEST_MINOR} (Linux 4.9) or later is needed"
        )
    if body < wire.COMPAT_INIT_IN.size:
        raise ProtocolError("the kernel's INIT is too short")
    major, minor, max_readahead, flags = wire.COMPAT_INIT_IN.unpack_from(request, wire.IN_HEADER.size)
    if flags & InitFlag.INIT_EXT and body >= wire.INIT_IN.size:
        flags |= wire.INIT_IN.unpack_from(request, wire.IN_HEADER.size)[4] << 32
    return major, minor, max_readahead, flags


def agree(
    minor: int, max_readahead: int, flags: int, want: int, options: MountOptions, page_size: int
) -> Config:
    """What holds from now on, given the kernel's offer."""
    flags &= want
    if not flags & InitFlag.INIT_EXT:
        flags &= InitFlag.INIT_RESERVED - 1
    pages = max_pages(options, page_size) if flags & InitFlag.MAX_PAGES else DEFAULT_PAGES
    if options.max_readahead is not None:
        max_readahead = min(max_readahead, max(0, options.max_readahead))
    return Config(
        wire.KERNEL_VERSION,
        min(minor, wire.KERNEL_MINOR_VERSION),
        flags,
        max_readahead,
        pages * page_size,
    )


def max_pages(options: MountOptions, page_size: int) -> int:
    """Pages of the largest request that is asked for. The kernel may grant fewer (fs.fuse.max_pages_limit)."""
    return min(0xFFFF, max(1, -(-options.max_request // page_size)))


def reply(config: Config, options: MountOptions, page_size: int) -> bytes:
    """init_out."""
    background = min(0xFFFF, max(1, options.max_background))
    return wire.INIT_OUT.pack(
        config.major,
        config.minor,
        config.max_readahead,
        config.flags & 0xFFFFFFFF,
        background,
        max(1, background * 3 // 4),
        max(LEAST_MAX_WRITE, options.max_write),
        1,  # time_gran: times are kept to the nanosecond
        config.max_request // page_size if config.flags & InitFlag.MAX_PAGES else 0,
        0,
        config.flags >> 32,
        # max_stack_depth: a backing file's filesystem lies below
        1 if config.flags & InitFlag.PASSTHROUGH else 0,
        0,
    )


def ask_again() -> bytes:
    """init_out for a kernel of a newer major: ours, and nothing else."""
    return wire.INIT_OUT.pack(wire.KERNEL_VERSION, wire.KERNEL_MINOR_VERSION, *(0,) * 11)


def freeze(config: Config) -> bytes:
    """What was agreed, as bytes for another process."""
    return _FROZEN.pack(
        _MARK, config.major, config.minor, config.flags, config.max_readahead, config.max_request
    )


def thaw(negotiated: bytes) -> Config:
    """What ``freeze`` kept. Raises ValueError for anything else."""
    if len(negotiated) != _FROZEN.size or negotiated[: len(_MARK)] != _MARK:
        raise ValueError("not the outcome of a negotiation")
    _, *fields = _FROZEN.unpack(negotiated)
    config = Config(*fields)
    if config.major != wire.KERNEL_VERSION or config.minor < OLDEST_MINOR:
        raise ValueError(f"an agreement on FUSE protocol {config.major}.{config.minor}")
    return config

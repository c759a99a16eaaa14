# ruff: noqa: RUF023 - the order of __slots__ is that of the arguments, and of what is printed
"""The records that pass between a filesystem and the engine.

Rules
- Each can be made by position, in the order of its ``__slots__``, or by keyword, but MountOptions by keyword only. What
  is not said is 0.
- Units: times are integers of nanoseconds since 1970, timeouts float seconds (``math.inf``: for ever), sizes bytes,
  ``blocks`` 512 bytes. Ranges are those of the kernel header's fields; what does not fit is refused when it is sent.
- They are plain classes, not dataclasses: importing ``dataclasses`` alone would double the time to mount.
"""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
FileHandle: TypeAlias = int
"""What ``open`` and ``opendir`` called an open file: any unsigned 64-bit number, 0 where there is none."""

ROOT_INODE = 1


class Record:
    """Base of the records: equal and printed by their fields, in the order of ``__slots__``."""

    __slots__: tuple[str, ...] = ()
    __hash__ = None  # type: ignore[assignment]  # None is how Python says not hashable: these are mutable

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{self.__class__.__name__}({fields})"


class Attr(Record):
    """An inode's attributes (struct fuse_attr). ``mode``: the type bits (stat.S_IFREG, ...) and the permission bits.
    ``size``: bytes; ``blocks``: of 512 bytes, None: as many as the size needs. ``rdev``: of a device node, as
    os.makedev numbers it, 32 bits. ``atime_ns``, ``mtime_ns``, ``ctime_ns``: integers of nanoseconds. ``blksize``:
    bytes, for who reads in blocks. ``flags``: wire.AttrFlag. ``ino``, ``nlink``, ``uid``, ``gid`` as in stat(2).
    """

    __slots__ = (
        "ino",
        "mode",
        "nlink",
        "size",
        "blocks",
        "uid",
        "gid",
        "rdev",
        "atime_ns",
        "mtime_ns",
        "ctime_ns",
        "blksize",
        "flags",
    )

    def __init__(
        self,
        ino: int = 0,
        mode: int = 0,
        nlink: int = 1,
        size: int = 0,
        blocks: int | None = None,
        uid: int = 0,
        gid: int = 0,
        rdev: int = 0,
        atime_ns: int = 0,
        mtime_ns: int = 0,
        ctime_ns: int = 0,
        blksize: int = 4096,
        flags: int = 0,
    ) -> None:
        self.ino = ino
        self.mode = mode
        self.nlink = nlink
        self.size = size
        self.blocks = blocks
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns
        self.ctime_ns = ctime_ns
        self.blksize = blksize
        self.flags = flags


class Entry(Record):
    """A name's inode (struct fuse_entry_out). With ``ino`` 0 it says that there is no such name, and the kernel
    remembers that for ``entry_timeout`` (raising FileNotFoundError is not remembered).

    ``generation`` tells apart two inodes that had the same number; the pair must never be given twice.
    """

    __slots__ = ("ino", "attr", "generation", "entry_timeout", "attr_timeout")

    def __init__(
        self,
        ino: int = 0,
        attr: Attr | None = None,
        generation: int = 0,
        entry_timeout: float = 1.0,
        attr_timeout: float = 1.0,
    ) -> None:
        self.ino = ino
        self.attr = attr  # None only where ino is 0
        self.generation = generation
        self.entry_timeout = entry_timeout
        self.attr_timeout = attr_timeout


class DirEntry(Record):
    """One name of a directory (struct fuse_dirent). ``offset`` is the cookie that continues *after* this entry:
    not 0, not used twice in a directory, below 2**63. ``type`` is the d_type, ``mode >> 12``."""

    __slots__ = ("ino", "offset", "type", "name")

    def __init__(self, ino: int = 0, offset: int = 0, type: int = 0, name: bytes = b"") -> None:
        self.ino = ino  # 0: not known; it is shown as a number that is not 0, else C libraries skip the name
        self.offset = offset
        self.type = type
        self.name = name


class DirEntryPlus(Record):
    """One name of a directory with its inode (struct fuse_direntplus): a listing and a lookup in one. ``offset`` as
    in DirEntry. Each that reaches the kernel counts as a lookup, but those of ``.`` and ``..``."""

    __slots__ = ("entry", "offset", "name")

    def __init__(self, entry: Entry | Buffer, offset: int = 0, name: bytes = b"") -> None:
        self.entry = entry
        self.offset = offset
        self.name = name


class OpenResponse(Record):
    """How a file or directory is open (struct fuse_open_out).

    ``keep_cache``: what the kernel has cached of it stays valid. ``direct_io``: nothing of it is cached, each read is
    asked. ``cache_dir``: the listing may be cached. ``backing_fd``: a descriptor of a file on disk that the kernel
    reads in place of this one, whole and from offset 0, where ``Filesystem.passthrough`` was granted; without effect
    elsewhere, so ``read`` must work all the same. It is not needed any more when the reply is made: a subclass may hold
    it so long. Of several openings of an inode at once, the first one's counts for all.
    """

    __slots__ = ("fh", "keep_cache", "direct_io", "nonseekable", "cache_dir", "backing_fd")

    def __init__(
        self,
        fh: FileHandle = 0,
        keep_cache: bool = False,
        direct_io: bool = False,
        nonseekable: bool = False,
        cache_dir: bool = False,
        backing_fd: int | None = None,
    ) -> None:
        self.fh = fh
        self.keep_cache = keep_cache
        self.direct_io = direct_io
        self.nonseekable = nonseekable
        self.cache_dir = cache_dir
        self.backing_fd = backing_fd


class StatFS(Record):
    """The filesystem's size (struct fuse_kstatfs). ``blocks``, ``bfree``, ``bavail`` count blocks of ``frsize``."""

    __slots__ = ("blocks", "bfree", "bavail", "files", "ffree", "bsize", "namelen", "frsize")

    def __init__(
        self,
        blocks: int = 0,
        bfree: int = 0,
        bavail: int = 0,
        files: int = 0,
        ffree: int = 0,
        bsize: int = 4096,
        namelen: int = 255,
        frsize: int = 4096,
    ) -> None:
        self.blocks = blocks
        self.bfree = bfree
        self.bavail = bavail
        self.files = files
        self.ffree = ffree
        self.bsize = bsize
        self.namelen = namelen
        self.frsize = frsize


class Statx(Record):
    """Attributes with what struct stat has no room for (struct fuse_statx). ``btime_ns`` is the time of birth, None
    where it is not known. ``attributes`` are STATX_ATTR_* bits, ``attributes_mask`` those that are kept."""

    __slots__ = ("attr", "btime_ns", "attributes", "attributes_mask", "attr_timeout")

    def __init__(
        self,
        attr: Attr,
        btime_ns: int | None = None,
        attributes: int = 0,
        attributes_mask: int = 0,
        attr_timeout: float = 1.0,
    ) -> None:
        self.attr = attr
        self.btime_ns = btime_ns
        self.attributes = attributes
        self.attributes_mask = attributes_mask
        self.attr_timeout = attr_timeout


class ForgetEntry(Record):
    """``nlookup`` of the lookups of inode ``ino`` are over."""

    __slots__ = ("ino", "nlookup")

    def __init__(self, ino: int = 0, nlookup: int = 0) -> None:
        self.ino = ino
        self.nlookup = nlookup


class Config(Record):
    """What was agreed with the kernel. ``major`` and ``minor``: the protocol spoken. ``flags``: wire.InitFlag bits
    that both sides have. ``max_readahead`` and ``max_request``: bytes, of a read the kernel makes ahead, and of any."""

    __slots__ = ("major", "minor", "flags", "max_readahead", "max_request")

    def __init__(
        self, major: int = 0, minor: int = 0, flags: int = 0, max_readahead: int = 0, max_request: int = 0
    ) -> None:
        self.major = major
        self.minor = minor
        self.flags = flags
        self.max_readahead = max_readahead
        self.max_request = max_request


class Context(Record):
    """Who asks: ``unique`` is the request's number, ``uid``, ``gid`` and ``pid`` are the caller's (pid 0: the kernel
    itself, or a process that cannot be named in the mount's namespace)."""

    __slots__ = ("unique", "uid", "gid", "pid")

    def __init__(self, unique: int = 0, uid: int = 0, gid: int = 0, pid: int = 0) -> None:
        self.unique = unique
        self.uid = uid
        self.gid = gid
        self.pid = pid


class MountOptions(Record):
    """How a filesystem is mounted and served.

    ``debug``: each request and its reply goes to the logger rofuse_mount.wire, at level DEBUG, in one line; "json": as
    one JSON object. ``threads``: how many serve; None: as many as suit the machine.

    ``direct_mount``: mount(2) and nothing else, which needs CAP_SYS_ADMIN. ``allow_other``: other users than the one
    who mounts may enter. ``default_permissions``: the kernel checks permissions, by mode, uid and gid. ``noexec``:
    nothing in it can be executed. ``fsname``: the source that the mount table shows; the type is fuse. and
    ``subtype``. None: rofuse.

    ``max_readahead``: bytes that the kernel reads ahead; None: as many as it offers. ``max_read``: bytes of the largest
    read; None: ``max_request``, which is that of any request; over 1 MiB only where fs.fuse.max_pages_limit was raised.
    ``max_write``: bytes, at least 4096; bounds writes, which are refused, not reads. ``max_background``: requests of
    the kernel's own (readahead) in flight, 1 to 65535.
    """

    __slots__ = (
        "debug",
        "max_readahead",
        "max_write",
        "max_background",
        "direct_mount",
        "allow_other",
        "default_permissions",
        "fsname",
        "subtype",
        "threads",
        "max_read",
        "max_request",
        "noexec",
    )

    def __init__(
        self,
        *,
        debug: bool | str = False,
        max_readahead: int | None = None,
        max_write: int = 4096,
        max_background: int = 12,
        direct_mount: bool = False,
        allow_other: bool = False,
        default_permissions: bool = False,
        fsname: str | None = None,
        subtype: str | None = None,
        threads: int | None = None,
        max_read: int | None = None,
        max_request: int = 1 << 20,
        noexec: bool = False,
    ) -> None:
        self.debug = debug
        self.max_readahead = max_readahead
        self.max_write = max_write
        self.max_background = max_background
        self.direct_mount = direct_mount
        self.allow_other = allow_other
        self.default_permissions = default_permissions
        self.fsname = fsname
        self.subtype = subtype
        self.threads = threads
        self.max_read = max_read
        self.max_request = max_request
        self.noexec = noexec

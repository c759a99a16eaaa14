"""The kernel's FUSE header, transcribed once, completely and in its order.

Strategy
Everything that crosses /dev/fuse is named here and nowhere else: numbers as plain integers grouped by the field
they belong to (``Opcode``, ``InitFlag``, ...), structures as ``Layout`` objects around a compiled ``struct.Struct``.
The source is ``include/uapi/linux/fuse.h`` at protocol 7.45. A structure that grew over the versions is given as it
is at 7.45, with its older size beside it where a kernel that is supported still sends that.

Rules
- Names are the header's, without ``FUSE_`` and ``struct fuse_``; pad bytes have no name and no value.
- The protocol speaks the machine's own byte order; all machines served here are little-endian.
- A layout's size is checked when it is made: a slip of the pen cannot be imported.
- Nothing here acts. What is done with a request is the engine's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

KERNEL_VERSION = 7
KERNEL_MINOR_VERSION = 45
ROOT_ID = 1


class Layout:
    """A structure of the header: the methods of its ``Struct``, its size in bytes and its fields' names."""

    __slots__ = (
        "fields",
        "format",
        "iter_unpack",
        "name",
        "pack",
        "pack_into",
        "size",
        "unpack",
        "unpack_from",
    )

    pack: Callable[..., bytes]
    pack_into: Callable[..., None]
    unpack: Callable[..., tuple[Any, ...]]
    unpack_from: Callable[..., tuple[Any, ...]]
    iter_unpack: Callable[..., Iterator[tuple[Any, ...]]]

    def __init__(self, name: str, size: int, layout: str, fields: str) -> None:
        compiled = Struct(layout)
        self.name = name
        self.size = compiled.size
        self.format = layout
        self.fields = tuple(fields.split())
        self.pack = compiled.pack
        self.pack_into = compiled.pack_into
        self.unpack = compiled.unpack
        self.unpack_from = compiled.unpack_from
        self.iter_unpack = compiled.iter_unpack
        if size != compiled.size:
            raise AssertionError(f"{name} is {compiled.size} bytes, not {size}")

    def __repr__(self) -> str:
        return f"Layout({self.name}, {self.size} bytes, {self.format!r})"


def names(group: type) -> dict[int, str]:
    """The names of a group of numbers by value: ``names(Opcode)[1] == "LOOKUP"``."""
    return {value: name for name, value in vars(group).items() if not name.startswith("_")}


# --- attributes -------------------------------------------------------------------------

_ATTR = "6Q10I"
_ATTR_FIELDS = (
    "ino size blocks atime mtime ctime atimensec mtimensec ctimensec mode nlink uid gid rdev blksize flags"
)
ATTR = Layout("attr", 88, "<" + _ATTR, _ATTR_FIELDS)

SX_TIME = Layout("sx_time", 16, "<qIi", "tv_sec tv_nsec reserved")

_STATX = "IIQIIIHxxQQQQqIiqIiqIiqIiIIII112x"
_STATX_FIELDS = (
    "mask blksize attributes nlink uid gid mode ino size blocks attributes_mask"
    " atime atimensec atime_reserved btime btimensec btime_reserved"
    " ctime ctimensec ctime_reserved mtime mtimensec mtime_reserved"
    " rdev_major rdev_minor dev_major dev_minor"
)
STATX = Layout("statx", 256, "<" + _STATX, _STATX_FIELDS)

_KSTATFS = "5Q4I24x"
_KSTATFS_FIELDS = "blocks bfree bavail files ffree bsize namelen frsize padding"
KSTATFS = Layout("kstatfs", 80, "<" + _KSTATFS, _KSTATFS_FIELDS)

FILE_LOCK = Layout("file_lock", 24, "<QQII", "start end type pid")


class SetattrValid:
    """Which fields of setattr_in are meant (FATTR_*)."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


class OpenFlag:
    """What a reply to OPEN, OPENDIR or CREATE says of the open file (FOPEN_*)."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    NONSEEKABLE = 1 << 2
    CACHE_DIR = 1 << 3
    STREAM = 1 << 4
    NOFLUSH = 1 << 5
    PARALLEL_DIRECT_WRITES = 1 << 6
    PASSTHROUGH = 1 << 7


class InitFlag:
    """What kernel and server agree on at INIT. Bits from 32 up travel in flags2, shifted down."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    INIT_RESERVED = 1 << 31
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42


class CuseInitFlag:
    UNRESTRICTED_IOCTL = 1 << 0


class ReleaseFlag:
    FLUSH = 1 << 0
    FLOCK_UNLOCK = 1 << 1


class GetattrFlag:
    FH = 1 << 0


class LockFlag:
    FLOCK = 1 << 0


class WriteFlag:
    CACHE = 1 << 0
    LOCKOWNER = 1 << 1
    KILL_SUIDGID = 1 << 2


class ReadFlag:
    LOCKOWNER = 1 << 1


class IoctlFlag:
    COMPAT = 1 << 0
    UNRESTRICTED = 1 << 1
    RETRY = 1 << 2
    CALLER_32BIT = 1 << 3
    DIR = 1 << 4
    COMPAT_X32 = 1 << 5


IOCTL_MAX_IOV = 256


class PollFlag:
    SCHEDULE_NOTIFY = 1 << 0


class FsyncFlag:
    FDATASYNC = 1 << 0


class AttrFlag:
    SUBMOUNT = 1 << 0
    DAX = 1 << 1


class OpenInFlag:
    """open_flags of open_in and create_in."""

    KILL_SUIDGID = 1 << 0


class SetxattrFlag:
    ACL_KILL_SGID = 1 << 0


class InvalEntryFlag:
    EXPIRE_ONLY = 1 << 0


class ExtType:
    """Types of the extensions behind a request; 0 to 31 count security contexts."""

    MAX_NR_SECCTX = 31
    GROUPS = 32


# --- requests ---------------------------------------------------------------------------


class Opcode:
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53
    CUSE_INIT = 4096
    CUSE_INIT_BSWAP_RESERVED = CUSE_INIT << 8
    INIT_BSWAP_RESERVED = INIT << 24


class NotifyCode:
    """What a server says unasked: an out_header with unique 0, and this code in the place of the error."""

    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7
    INC_EPOCH = 8
    PRUNE = 9


MIN_READ_BUFFER = 8192

COMPAT_ENTRY_OUT_SIZE = 120
_ENTRY_OUT = "4QII" + _ATTR
_ENTRY_OUT_FIELDS = (
    "nodeid generation entry_valid attr_valid entry_valid_nsec attr_valid_nsec " + _ATTR_FIELDS
)
ENTRY_OUT = Layout("entry_out", 128, "<" + _ENTRY_OUT, _ENTRY_OUT_FIELDS)

FORGET_IN = Layout("forget_in", 8, "<Q", "nlookup")
FORGET_ONE = Layout("forget_one", 16, "<QQ", "nodeid nlookup")
BATCH_FORGET_IN = Layout("batch_forget_in", 8, "<II", "count dummy")

GETATTR_IN = Layout("getattr_in", 16, "<IIQ", "getattr_flags dummy fh")
COMPAT_ATTR_OUT_SIZE = 96
ATTR_OUT = Layout("attr_out", 104, "<QII" + _ATTR, "attr_valid attr_valid_nsec dummy " + _ATTR_FIELDS)

STATX_IN = Layout("statx_in", 24, "<IIQII", "getattr_flags reserved fh sx_flags sx_mask")
STATX_OUT = Layout("statx_out", 288, "<QII16x" + _STATX, "attr_valid attr_valid_nsec flags " + _STATX_FIELDS)

COMPAT_MKNOD_IN_SIZE = 8
MKNOD_IN = Layout("mknod_in", 16, "<IIII", "mode rdev umask padding")
MKDIR_IN = Layout("mkdir_in", 8, "<II", "mode umask")
RENAME_IN = Layout("rename_in", 8, "<Q", "newdir")
RENAME2_IN = Layout("rename2_in", 16, "<QII", "newdir flags padding")
LINK_IN = Layout("link_in", 8, "<Q", "oldnodeid")

SETATTR_IN = Layout(
    "setattr_in",
    88,
    "<II6Q8I",
    "valid padding fh size lock_owner atime mtime ctime"
    " atimensec mtimensec ctimensec mode unused4 uid gid unused5",
)

OPEN_IN = Layout("open_in", 8, "<II", "flags open_flags")
CREATE_IN = Layout("create_in", 16, "<IIII", "flags mode umask open_flags")
OPEN_OUT = Layout("open_out", 16, "<QIi", "fh open_flags backing_id")
RELEASE_IN = Layout("release_in", 24, "<QIIQ", "fh flags release_flags lock_owner")
FLUSH_IN = Layout("flush_in", 24, "<QIIQ", "fh unused padding lock_owner")

READ_IN = Layout("read_in", 40, "<QQIIQII", "fh offset size read_flags lock_owner flags padding")
COMPAT_WRITE_IN_SIZE = 24
WRITE_IN = Layout("write_in", 40, "<QQIIQII", "fh offset size write_flags lock_owner flags padding")
WRITE_OUT = Layout("write_out", 8, "<II", "size padding")

COMPAT_STATFS_SIZE = 48
STATFS_OUT = Layout("statfs_out", 80, "<" + _KSTATFS, _KSTATFS_FIELDS)

FSYNC_IN = Layout("fsync_in", 16, "<QII", "fh fsync_flags padding")

COMPAT_SETXATTR_IN_SIZE = 8
SETXATTR_IN = Layout("setxattr_in", 16, "<4I", "size flags setxattr_flags padding")
GETXATTR_IN = Layout("getxattr_in", 8, "<II", "size padding")
GETXATTR_OUT = Layout("getxattr_out", 8, "<II", "size padding")

LK_IN = Layout("lk_in", 48, "<QQQQIIII", "fh owner start end type pid lk_flags padding")
LK_OUT = Layout("lk_out", 24, "<QQII", "start end type pid")

ACCESS_IN = Layout("access_in", 8, "<II", "mask padding")

COMPAT_INIT_IN_SIZE = 16  # before 7.36 INIT ends after flags
INIT_IN = Layout("init_in", 64, "<5I44x", "major minor max_readahead flags flags2")
COMPAT_INIT_IN = Layout("init_in", COMPAT_INIT_IN_SIZE, "<4I", "major minor max_readahead flags")
COMPAT_INIT_OUT_SIZE = 8
COMPAT_22_INIT_OUT_SIZE = 24
INIT_OUT = Layout(
    "init_out",
    64,
    "<4IHHIIHHIIH22x",
    "major minor max_readahead flags max_background congestion_threshold max_write time_gran max_pages"
    " map_alignment flags2 max_stack_depth request_timeout",
)

CUSE_INIT_INFO_MAX = 4096
CUSE_INIT_IN = Layout("cuse_init_in", 16, "<4I", "major minor unused flags")
CUSE_INIT_OUT = Layout(
    "cuse_init_out", 72, "<8I40x", "major minor unused flags max_read max_write dev_major dev_minor"
)

INTERRUPT_IN = Layout("interrupt_in", 8, "<Q", "unique")

BMAP_IN = Layout("bmap_in", 16, "<QII", "block blocksize padding")
BMAP_OUT = Layout("bmap_out", 8, "<Q", "block")

IOCTL_IN = Layout("ioctl_in", 32, "<QIIQII", "fh flags cmd arg in_size out_size")
IOCTL_IOVEC = Layout("ioctl_iovec", 16, "<QQ", "base len")
IOCTL_OUT = Layout("ioctl_out", 16, "<iIII", "result flags in_iovs out_iovs")

POLL_IN = Layout("poll_in", 24, "<QQII", "fh kh flags events")
POLL_OUT = Layout("poll_out", 8, "<II", "revents padding")
NOTIFY_POLL_WAKEUP_OUT = Layout("notify_poll_wakeup_out", 8, "<Q", "kh")

FALLOCATE_IN = Layout("fallocate_in", 32, "<QQQII", "fh offset length mode padding")

UNIQUE_RESEND = 1 << 63  # set in the unique of a request that is delivered again
INVALID_UIDGID = 0xFFFFFFFF  # a caller that the mount's owner cannot name

IN_HEADER = Layout("in_header", 40, "<IIQQIIIHH", "len opcode unique nodeid uid gid pid total_extlen padding")
OUT_HEADER = Layout("out_header", 16, "<IiQ", "len error unique")

DIRENT = Layout("dirent", 24, "<QQII", "ino off namelen type")
DIRENTPLUS = Layout(
    "direntplus", 152, "<" + _ENTRY_OUT + "QQII", _ENTRY_OUT_FIELDS + " d_ino off namelen type"
)


def rec_align(size: int) -> int:
    """``size`` rounded up to 8, as records of variable length are."""
    return (size + 7) & ~7


# --- notifications ----------------------------------------------------------------------

NOTIFY_INVAL_INODE_OUT = Layout("notify_inval_inode_out", 24, "<Qqq", "ino off len")
NOTIFY_INVAL_ENTRY_OUT = Layout("notify_inval_entry_out", 16, "<QII", "parent namelen flags")
NOTIFY_DELETE_OUT = Layout("notify_delete_out", 24, "<QQII", "parent child namelen padding")
NOTIFY_STORE_OUT = Layout("notify_store_out", 24, "<QQII", "nodeid offset size padding")
NOTIFY_RETRIEVE_OUT = Layout("notify_retrieve_out", 32, "<QQQII", "notify_unique nodeid offset size padding")
NOTIFY_RETRIEVE_IN = Layout("notify_retrieve_in", 40, "<QQIIQQ", "dummy1 offset size dummy2 dummy3 dummy4")
NOTIFY_PRUNE_OUT = Layout("notify_prune_out", 16, "<IIQ", "count padding spare")

# --- ioctls of /dev/fuse ----------------------------------------------------------------

BACKING_MAP = Layout("backing_map", 16, "<iIQ", "fd flags padding")

DEV_IOC_MAGIC = 229
DEV_IOC_CLONE = 0x8004E500  # _IOR(magic, 0, uint32_t): the descriptor to be cloned
DEV_IOC_BACKING_OPEN = 0x4010E501  # _IOW(magic, 1, struct backing_map): returns the backing id
DEV_IOC_BACKING_CLOSE = 0x4004E502  # _IOW(magic, 2, uint32_t): the backing id
DEV_IOC_SYNC_INIT = 0xE503  # _IO(magic, 3)

# --- later requests ---------------------------------------------------------------------

LSEEK_IN = Layout("lseek_in", 24, "<QQII", "fh offset whence padding")
LSEEK_OUT = Layout("lseek_out", 8, "<Q", "offset")

COPY_FILE_RANGE_IN = Layout(
    "copy_file_range_in", 56, "<7Q", "fh_in off_in nodeid_out fh_out off_out len flags"
)
COPY_FILE_RANGE_OUT = Layout("copy_file_range_out", 8, "<Q", "bytes_copied")


class SetupmappingFlag:
    WRITE = 1 << 0
    READ = 1 << 1


SETUPMAPPING_IN = Layout("setupmapping_in", 40, "<5Q", "fh foffset len flags moffset")
REMOVEMAPPING_IN = Layout("removemapping_in", 4, "<I", "count")
REMOVEMAPPING_ONE = Layout("removemapping_one", 16, "<QQ", "moffset len")

SYNCFS_IN = Layout("syncfs_in", 8, "<Q", "padding")

# Extensions, total_extlen 8-byte units of them behind the body of a request that makes a file.
SECCTX = Layout("secctx", 8, "<II", "size padding")
SECCTX_HEADER = Layout("secctx_header", 8, "<II", "size nr_secctx")
EXT_HEADER = Layout("ext_header", 8, "<II", "size type")
SUPP_GROUPS = Layout("supp_groups", 4, "<I", "nr_groups")

# --- FUSE over io_uring -----------------------------------------------------------------

URING_IN_OUT_HEADER_SZ = 128
URING_OP_IN_OUT_SZ = 128
URING_ENT_IN_OUT = Layout("uring_ent_in_out", 32, "<QQIIQ", "flags commit_id payload_sz padding reserved")
URING_REQ_HEADER = Layout(
    "uring_req_header", 288, "<128s128sQQIIQ", "in_out op_in flags commit_id payload_sz padding reserved"
)


class UringCmd:
    INVALID = 0
    REGISTER = 1
    COMMIT_AND_FETCH = 2


URING_CMD_REQ = Layout("uring_cmd_req", 24, "<QQH6x", "flags commit_id qid")

"""Where indexes and spools live and how they go stale.

Rules
- An index lies beside its archive (``SOURCE.rofuse``) if a file of that name is there or the user asks for it; else
  under ``$XDG_CACHE_HOME/rofuse-mount/`` (``~/.cache`` without it), named for the archive and its absolute path.
- It is fresh while the archive's size, modification time and a sample of its bytes are what they were, and the options
  that change what is indexed are the same. Whatever is not fresh, or damaged, is as good as absent.
- That of a directory does not go stale: it says what the directory was. It is used when that is asked for.
- An index that another user could have written is not used. One that lies beside its archive may have come with it:
  it is used when all that it says can be (``image.checking``). If it is the archive's owner's and not ours, it is
  copied first: what was found good stays as it was.
- It is written to a temporary name and renamed. A cache that cannot be written is no error: the index stays in memory.
- A spool lies in the cache directory always, under the index's name there, and is of no use without its index. Whoever
  reads one holds a shared lock on it; what is locked is not dropped.
- Seek points that were made while members were read (``points_file``) lie in the cache directory always, too, and so do
  members that were decoded (``growing_spool``). They go with an index wherever that is kept, also in memory: the same
  archive gives the same index.
- What is used has its times set, so that the directory knows what was used last.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from rofuse_formats.checksum import sha256
from rofuse_formats.directory.source import DirectorySource
from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.index import Index
from rofuse_formats.source import StoredSource

if TYPE_CHECKING:
    from rofuse_formats.spool import Spool

BESIDE_SUFFIX = ".rofuse"
SPOOL_SUFFIX = ".spool"
POINTS_SUFFIX = ".points"
GROWING_SUFFIX = ".members"
_KINDS = {BESIDE_SUFFIX: "index", SPOOL_SUFFIX: "spool", POINTS_SUFFIX: "index", GROWING_SUFFIX: "spool"}
_TEMPORARY = r"\.(\d+)\.([0-9a-f]+\.)?tmp$"  # the writer's number, and what tells its files apart
_DEAD = 24 * 3600  # seconds after which nobody writes any more: another process may have that number by then
_EDGE, _SAMPLE, _SAMPLES = 1 << 16, 4096, 14


def fingerprint(source: StoredSource) -> dict[str, Any]:
    """What tells one state of an archive from another: size, mtime, and a digest over its head, tail and samples; of
    one in parts, the size and mtime of each. A directory is told from others, and not from what it was."""
    if isinstance(source, DirectorySource):
        return source.fingerprint()
    size, digest = source.size, sha256()
    digest.update(source.pread(_EDGE, 0))
    if size > _EDGE:
        digest.update(source.pread(_EDGE, max(_EDGE, size - _EDGE)))
    if size > 2 * _EDGE:
        for number in range(1, _SAMPLES + 1):
            digest.update(source.pread(_SAMPLE, size * number // (_SAMPLES + 1)))
    found = {"size": size, "mtime_ns": source.status.st_mtime_ns, "sample": digest.hexdigest()}
    if len(source.files) > 1:
        found["parts"] = [[file.size, file.status.st_mtime_ns] for file in source.files]
    return found


def directory() -> str:
    """The cache directory; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "rofuse-mount")


def beside(source: str) -> str:
    return source + BESIDE_SUFFIX


def place(source: str, here: bool = False) -> str:
    """Where the index of the archive at ``source`` belongs."""
    if here or os.path.exists(beside(source)):
        return beside(source)
    return _place(source, BESIDE_SUFFIX)


def spool_place(source: str) -> str:
    """Where the spool of the archive at ``source`` belongs."""
    return _place(source, SPOOL_SUFFIX)


def points_place(source: str) -> str:
    """Where seek points of the members of the archive at ``source`` belong."""
    return _place(source, POINTS_SUFFIX)


def growing_place(source: str) -> str:
    """Where members of the archive at ``source`` are kept that were decoded when they were read (``growing_spool``)."""
    return _place(source, GROWING_SUFFIX)


def _place(source: str, suffix: str) -> str:
    path = os.fsencode(os.path.realpath(source))
    name = os.path.basename(os.fsdecode(path))[:100]
    return os.path.join(directory(), f"{name}-{sha256(path).hexdigest()[:24]}{suffix}")


def load(
    path: str, source: StoredSource, options: dict[str, Any], most: int
) -> tuple[Index, int, bool] | str:
    """The index at ``path``, a descriptor of it, and whether it is doubtful, for somebody else may have made it; or in
    a few words why it cannot be used. ``most``: bytes that a doubtful one may have."""
    fd = _open(path, source)
    if isinstance(fd, str):
        return fd
    try:
        status = os.fstat(fd)
        is_doubtful = path == beside(os.fsdecode(source.path)) or status.st_uid != os.geteuid()
        if is_doubtful and status.st_size > most:
            raise IndexDamagedError("it is larger than --max-index allows")
        if status.st_uid not in (0, os.geteuid()):
            fd = _copied(fd, status.st_size)
        index = Index(fd)
        reason = staleness(index, source, options)
        if not reason:
            _used(fd)
            return index, fd, is_doubtful
    except (IndexDamagedError, OSError) as error:
        reason = str(error)
    except BaseException:  # there is not the memory for it, say
        os.close(fd)
        raise
    os.close(fd)
    return reason


def _copied(fd: int, size: int) -> int:
    """A descriptor of a copy in memory, instead of this one. Raises OSError; then this one is as it was."""
    copy = os.memfd_create("rofuse-index", os.MFD_CLOEXEC)
    try:
        at = 0
        while at < size and (count := os.sendfile(copy, fd, at, size - at)):
            at += count
    except OSError:
        os.close(copy)
        raise
    os.close(fd)
    return copy


def load_spool(index: Index, source: StoredSource) -> Spool | str | None:
    """The spool that goes with an index, locked; None where it needs none, or in a few words why it cannot be used."""
    known = index.meta.get("spool")
    if not known:
        return None
    from rofuse_formats.spool import Spool  # hardly any archive has one

    fd = _open(spool_place(os.fsdecode(source.path)), source)
    if isinstance(fd, str):
        return f"its spool cannot be used: {fd}"
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        spool = Spool(fd, known)
    except (IndexDamagedError, OSError) as error:
        os.close(fd)
        return f"its spool cannot be used: {error}"
    _used(fd)
    return spool


def open_trusted(path: str, source: StoredSource) -> int | str:
    """As ``_open``; the file is now one that was used last."""
    fd = _open(path, source)
    if isinstance(fd, int):
        _used(fd)
    return fd


def open_to_append(path: str, source: StoredSource) -> int | str:
    """A descriptor to read and write a file of the cache, made where there is none; locked, so that it is not dropped.
    Or why it cannot be had."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    except OSError as error:
        return f"it cannot be made ({error.strerror})"
    fd = _open(path, source, os.O_RDWR | os.O_CREAT)
    if isinstance(fd, int):
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            return f"it cannot be locked ({error.strerror})"
        _used(fd)
    return fd


def _open(path: str, source: StoredSource, access: int = os.O_RDONLY) -> int | str:
    """A descriptor of a file that nobody else could have written, or why there is none."""
    try:
        fd = os.open(path, access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except FileNotFoundError:
        return "there is none"
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    reason = _distrust(fd, source)
    if not reason:
        return fd
    os.close(fd)
    return reason


def _used(fd: int) -> None:
    try:
        os.utime(fd)
    except OSError:
        pass  # another user's file, or a file system that is read-only: it will look older than it is


def _distrust(fd: int, source: StoredSource) -> str:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid not in (0, os.geteuid(), source.status.st_uid) or status.st_mode & 0o022:
        return "another user could have written it"
    return ""


def staleness(index: Index, source: StoredSource, options: dict[str, Any]) -> str:
    known = index.meta.get("source", {})
    if isinstance(source, DirectorySource):  # it is kept for when the directory has changed
        return "" if known == fingerprint(source) else "it is another directory's"
    if not isinstance(known, dict):
        return "it does not say of which archive it is"
    if known.get("size") != source.size or known.get("mtime_ns") != source.status.st_mtime_ns:
        return "the archive has changed"
    if index.meta.get("options") != options:
        return "it was made with other options"
    if known != fingerprint(source):
        return "the archive has changed"
    return ""


def anonymous_file() -> int:
    """A new file on disk that has no name, in the cache directory where that is possible. Raises OSError."""
    folder = directory()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # where the file system has no O_TMPFILE, or the cache cannot be written
        from tempfile import TemporaryFile

        with TemporaryFile(dir=folder if os.access(folder, os.W_OK) else "/var/tmp") as file:
            return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)


def store(fd: int, path: str) -> str:
    """Gives the finished file in ``fd`` the name ``path``, copied where it must be; returns why that failed, or
    nothing."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        if not _linked(fd, temporary):
            _copy(fd, temporary)
    except OSError as error:
        return f"{path}: {error.strerror}"
    try:
        os.rename(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        return f"{path}: {error.strerror}"
    return ""


def _linked(fd: int, path: str) -> bool:
    """Whether a file without a name could be given one: not where it lies in memory or on another file system."""
    # with a directory Python calls linkat, which follows the link
    anywhere = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=anywhere, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(anywhere)
    return True


def _copy(fd: int, path: str) -> None:
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        position, size = 0, os.fstat(fd).st_size
        while position < size:
            position += os.sendfile(out, fd, position, size - position)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(out)


class Kept(NamedTuple):
    """A file of the cache directory."""

    path: str
    kind: str
    """``index``, ``spool`` or ``points``."""
    source: str | None
    """The archive it was made of; None where nothing says so."""
    size: int
    """Bytes on disk."""
    last_used: int
    """Nanoseconds since 1970."""


def kept() -> list[Kept]:
    """What lies in the cache directory, the least recently used first."""
    found = []
    try:
        files = sorted(os.scandir(directory()), key=lambda file: file.name)
    except OSError:
        return []
    for file in files:
        stem, suffix = os.path.splitext(file.name)
        if suffix in _KINDS and file.is_file(follow_symlinks=False):
            status = file.stat(follow_symlinks=False)
            source = _source_of(os.path.join(directory(), stem + BESIDE_SUFFIX), _place_of_index)
            if source is None and suffix in _SAY_PLACE:
                source = _source_of(file.path, _SAY_PLACE[suffix])
            found.append(Kept(file.path, _KINDS[suffix], source, status.st_blocks * 512, status.st_mtime_ns))
    return sorted(found, key=lambda file: file.last_used)


def _source_of(path: str, place: Callable[[int], str | None]) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return place(fd)
    except (IndexDamagedError, OSError):
        return None
    finally:
        os.close(fd)


def _place_of_index(fd: int) -> str | None:
    place = Index(fd, check=False).meta.get("place")
    return place if isinstance(place, str) else None


def _place_of_points(fd: int) -> str:
    from rofuse_formats.points_file import source_of

    return os.fsdecode(source_of(fd))


def _place_of_members(fd: int) -> str:
    from rofuse_formats.growing_spool import source_of

    return os.fsdecode(source_of(fd))


_SAY_PLACE = {POINTS_SUFFIX: _place_of_points, GROWING_SUFFIX: _place_of_members}


def drop(path: str) -> bool:
    """Removes a file of the cache; False where a mount uses it, or it is gone already. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def sweep() -> None:
    """Removes what writers that were killed have left."""
    try:
        files = list(os.scandir(directory()))
    except OSError:
        return
    for file in files:
        process = re.search(_TEMPORARY, file.name)
        try:
            if process and not (os.path.exists(f"/proc/{process[1]}") and _is_young(file)):
                os.unlink(file.path)
        except OSError:
            pass  # another sweep was faster, or it is not ours


def _is_young(file: os.DirEntry[str]) -> bool:
    return time.time() - file.stat(follow_symlinks=False).st_mtime < _DEAD

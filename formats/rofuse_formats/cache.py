"""Where indexes live and how they go stale.

Rules
- An index lies beside its archive (``SOURCE.rofuse``) if a file of that name is there or the user asks for it; else
  under ``$XDG_CACHE_HOME/rofuse-mount/`` (``~/.cache`` without it), named for the archive and its absolute path.
- It is fresh while the archive's size, modification time and a sample of its bytes are what they were, and the options
  that change what is indexed are the same. Whatever is not fresh, or damaged, is as good as absent.
- An index that another user could have written is not used.
- It is written to a temporary name and renamed. A cache that cannot be written is no error: the index stays in memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

from rofuse_formats.errors import IndexDamagedError
from rofuse_formats.index import Index
from rofuse_formats.source import FileSource

BESIDE_SUFFIX = ".rofuse"
_EDGE, _SAMPLE, _SAMPLES = 1 << 16, 4096, 14


def fingerprint(source: FileSource) -> dict[str, Any]:
    """What tells one state of an archive from another: size, mtime, and a digest over its head, tail and samples."""
    size, digest = source.size, hashlib.sha256()
    digest.update(source.pread(_EDGE, 0))
    if size > _EDGE:
        digest.update(source.pread(_EDGE, max(_EDGE, size - _EDGE)))
    if size > 2 * _EDGE:
        for number in range(1, _SAMPLES + 1):
            digest.update(source.pread(_SAMPLE, size * number // (_SAMPLES + 1)))
    return {"size": size, "mtime_ns": source.status.st_mtime_ns, "sample": digest.hexdigest()}


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
    path = os.fsencode(os.path.realpath(source))
    name = os.path.basename(os.fsdecode(path))[:100]
    return os.path.join(directory(), f"{name}-{hashlib.sha256(path).hexdigest()[:24]}{BESIDE_SUFFIX}")


def load(path: str, source: FileSource, options: dict[str, Any]) -> tuple[Index, int] | str:
    """The index at ``path`` and a descriptor of it, or in a few words why it cannot be used."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return "there is none"
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    try:
        reason = _distrust(fd, source)
        if not reason:
            index = Index(fd)
            reason = staleness(index, source, options)
        if not reason:
            return index, fd
    except (IndexDamagedError, OSError) as error:
        reason = str(error)
    os.close(fd)
    return reason


def _distrust(fd: int, source: FileSource) -> str:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid not in (0, os.geteuid(), source.status.st_uid) or status.st_mode & 0o022:
        return "another user could have written it"
    return ""


def staleness(index: Index, source: FileSource, options: dict[str, Any]) -> str:
    known = index.meta.get("source", {})
    if known.get("size") != source.size or known.get("mtime_ns") != source.status.st_mtime_ns:
        return "the archive has changed"
    if index.meta.get("options") != options:
        return "it was made with other options"
    if known != fingerprint(source):
        return "the archive has changed"
    return ""


def store(fd: int, path: str) -> str:
    """Copies the finished index in ``fd`` to ``path``; returns why that failed, or nothing."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        return f"{path}: {error.strerror}"
    try:
        try:
            position, size = 0, os.fstat(fd).st_size
            while position < size:
                position += os.sendfile(out, fd, position, size - position)
        finally:
            os.close(out)
        os.rename(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        return f"{path}: {error.strerror}"
    return ""

"""Files that a reader will want next, put into the kernel's page cache before it asks.

Strategy
Who reads one small file after the other (``grep -r``, ``cp -r``, ``tar``) pays for each with a request, which costs
more than the bytes. Archive order is the order of directory listings, so where a file was read and then the one that
follows it, those that follow are stored into the page cache (NOTIFY_STORE) while the reader still waits for its own.
The first file after these is left out: when its READ comes, the pushed ones were wanted, and the next push may be
larger; when it never comes, they count as unread. A push is an eighth of what its reader was seen to use, or a little,
so what is pushed in vain stays below a tenth or so.

Rules
- Only whole files are pushed, with exact sizes, as they would be read: decoded and checked. At one that cannot be read
  the push ends: its error is its reader's.
- Only what is at hand (``Archive.is_at_hand``): no push makes its reader wait for a decoder.
- A store can wait for a page whose READ somebody else must answer. So one thread pushes at a time, never the only one,
  without the turn and without any lock that answering takes.
- An inode that the kernel does not know ends a push: those behind it are of a directory that was not listed yet.
"""

from __future__ import annotations

import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from rofuse_formats import Archive
from rofuse_formats.errors import FormatError

Store = Callable[[int, list[memoryview]], bool]
"""Puts a file's bytes, given its inode number as the kernel knows it, into the page cache; whether it knows it."""

SMALL = 128 << 10
"""Bytes of the largest file that is pushed, and whose reading leads to a push: the kernel asks for it at once."""
_READERS = 64  # that are followed at once
_LOOK = 1024  # entries of the archive that are looked at for one push
_LEAST_BYTES, _MOST_BYTES = 64 << 10, 1 << 20
_FIRST_FILES, _MOST_FILES = 8, 512
_LONGEST_PAUSE = 63  # files; whoever opens files by their names alone has listed nothing
_DOUBTFUL = 10  # where more than every tenth file was pushed in vain ...
_CONVINCING = 4  # ... so many files must be read in order before a push, not two
_IN_ORDER = 2  # files, which are a reader who will read the next one
_EARLY = 200  # files; too few to judge by


class _Reader:
    """Somebody who reads file after file."""

    __slots__ = ("_left", "_pause", "is_served", "most", "pushed", "pushed_bytes", "seen", "used")

    def __init__(self, size: int) -> None:
        self.seen = 1  # READs in order
        self.used = size  # bytes that it asked for, or was given and came back behind
        self.most = _FIRST_FILES  # that the next push may have
        self.pushed = self.pushed_bytes = 0  # by the last push
        self.is_served = False  # with a push, when it reads what it is about to read
        self._pause = self._left = (
            0  # files it reads without one, after one that came to nothing; still to come
        )

    def came(self, size: int) -> None:
        """It reads what follows the last push, ``size`` bytes."""
        self.seen += 1
        self.used += size + self.pushed_bytes
        if self.pushed:
            self.most = min(2 * self.most, _MOST_FILES)
        self.pushed = self.pushed_bytes = 0

    def note(self) -> None:
        """A push has been tried."""
        self._left = self._pause = 0 if self.pushed else min(2 * self._pause + 1, _LONGEST_PAUSE)

    def passes_over(self) -> bool:
        """Whether no push is to be tried this time: the kernel did not know what follows, and may not now."""
        if not self._left:
            return False
        self._left -= 1
        return True


class Pusher:
    """Pushes what follows in ``archive``. ``nodeid`` gives an inode's number as the kernel knows it."""

    def __init__(self, archive: Archive, nodeid: Callable[[int], int], store: Store) -> None:
        self.files = self.bytes = self.unread = 0
        self._archive, self._image = archive, archive.image
        self._nodeid, self._store = nodeid, store
        self._pushing = threading.Lock()  # held by the one who pushes
        self._lock = threading.Lock()  # of all that follows; never held while something is stored
        self._awaited: OrderedDict[int, _Reader] = OrderedDict()  # by the file that is to be read next
        self._claimed: dict[int, tuple[int, _Reader]] = {}  # by thread: the file it answers, and for whom

    def claims(self, node: int) -> bool:
        """Whether the calling thread is to push when it reads this file: it must give up the turn before. The file is
        to be read by this thread next."""
        if node not in self._awaited:
            return False
        with self._lock:
            reader = self._awaited.pop(node, None)
            if reader is None:
                return False
            self._claimed[threading.get_ident()] = node, reader
            reader.came(self._image.size[node - 1])
            reader.is_served = reader.seen >= self._convincing() and not reader.passes_over()
            return reader.is_served

    def after(self, node: int) -> int:
        """A file that is ``is_small`` is read whole by somebody who still waits for the answer. Returns the file that
        it will ask for next, 0 where that is not known."""
        claimed, reader = self._claimed.pop(threading.get_ident(), (0, None))
        if reader is None or claimed != node:
            reader = _Reader(self._image.size[node - 1])
        following = 0
        if reader.is_served and self._pushing.acquire(blocking=False):
            try:
                following = self._push(node, reader)
            finally:
                self._pushing.release()
        following = following or next(self._following(node), 0)
        self._await(following, reader)
        return following if reader.seen >= _IN_ORDER and not reader.pushed else 0

    def is_small(self, node: int) -> bool:
        """Whether it is a file that is read with one request."""
        return 0 < self._image.size[node - 1] <= SMALL and stat.S_ISREG(self._image.mode[node - 1])

    def figures(self) -> dict[str, int]:
        return {"files": self.files, "bytes": self.bytes, "unread": self.unread}

    def _await(self, node: int, reader: _Reader) -> None:
        if not node:
            return
        with self._lock:
            lost = [self._awaited.pop(node, None)]
            if len(self._awaited) >= _READERS:
                lost.append(self._awaited.popitem(last=False)[1])
            self.unread += sum(other.pushed for other in lost if other is not None)
            self._awaited[node] = reader

    def _convincing(self) -> int:
        """How many files are to be read in order before a push."""
        doubtful = self.files > _EARLY and self.unread * _DOUBTFUL > self.files
        return _CONVINCING if doubtful else 2

    def _push(self, node: int, reader: _Reader) -> int:
        """Pushes what follows; returns the first file that was not, 0 where there is none near."""
        room = min(max(_LEAST_BYTES, reader.used >> 3), _MOST_BYTES)
        following = 0
        for following in self._following(node):
            size = self._image.size[following - 1]
            if size > room or reader.pushed == reader.most or not self._stored(following, size):
                break
            room -= size
            reader.pushed += 1
            reader.pushed_bytes += size
        else:
            following = 0
        reader.note()
        self.files += reader.pushed
        self.bytes += reader.pushed_bytes
        return following

    def _following(self, node: int) -> Iterator[int]:
        """The small files that follow in the archive."""
        last = min(node + _LOOK, self._image.inode_count)
        return filter(self.is_small, range(node + 1, last + 1))

    def _stored(self, node: int, size: int) -> bool:
        """Whether a file has been pushed."""
        try:
            if not self._archive.is_at_hand(node, 0, size):
                return False
            return self._store(self._nodeid(node), self._archive.read(node, 0, size))
        except (FormatError, OSError):
            return False

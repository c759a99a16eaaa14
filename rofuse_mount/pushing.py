"""Files that a reader will want next, put into the kernel's page cache before it asks.

Strategy
Who reads one small file after the other (``grep -r``, ``cp -r``, ``tar``) pays for each with a request, which costs
more than the bytes. Archive order is the order of directory listings, so where a file was read and then the one that
follows it, those that follow are stored into the page cache (NOTIFY_STORE): a *batch* at a time, behind a *tripwire*, a
file that is left out. When the tripwire's READ comes, its reader is done with the batch before, so that was wanted, and
the next may be larger; and while the reader goes through the batch behind the tripwire, the one after that is stored.
So there is always a batch ahead, and nobody waits for a push. Batches whose reader never comes count as unread. Each is
a sixteenth of what the reader was seen to use, or a little, so what is pushed in vain stays below a tenth or so.

Rules
- Only whole files are pushed, with exact sizes, as they would be read: decoded and checked. At one that cannot be read
  the push ends: its error is its reader's.
- Only what is at hand, or is decoded in order behind what was read before (``Archive.follows``): no decoder is sent
  away from who reads.
- A file is planned once, and is then either stored or, where its reader was faster, read.
- A store can wait for a page whose READ somebody else must answer. So one thread pushes at a time, never the only one,
  without the turn and without any lock that answering takes, and when it has answered what it gave up the turn for.
- An inode that the kernel does not know ends a push: those behind it are of a directory that was not listed yet.
"""

from __future__ import annotations

import stat
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from rofuse_formats import Archive

Store = Callable[[int, list[memoryview]], bool]
"""Puts a file's bytes, given its inode number as the kernel knows it, into the page cache; whether it knows it."""

SMALL = 128 << 10
"""Bytes of the largest file that is pushed, and whose reading leads to a push: the kernel asks for it at once."""
_READERS = 64  # that are followed at once
_LOOK = 1024  # entries of the archive that are looked at for one batch
_LEAST_BYTES, _MOST_BYTES = 64 << 10, 1 << 20
_FIRST_FILES, _MOST_FILES = 4, 512
_LONGEST_PAUSE = 63  # files; whoever opens files by their names alone has listed nothing
_DOUBTFUL = 10  # where more than every tenth file was pushed in vain ...
_CONVINCING = 4  # ... so many files must be read in order before a push, not two
_IN_ORDER = 2  # files, which are a reader who will read the next one
_EARLY = 200  # files; too few to judge by


class _Batch:
    """Files that are stored together."""

    __slots__ = ("behind", "bytes", "files", "is_over", "nodes")

    def __init__(self, behind: int, nodes: list[int]) -> None:
        self.behind, self.nodes = behind, nodes
        self.files = self.bytes = 0  # that were stored
        self.is_over = False  # whether all of it was gone through


class _Reader:
    """Somebody who reads file after file."""

    __slots__ = ("_left", "_pause", "batches", "is_served", "last", "most", "seen", "tripwire", "used")

    def __init__(self, size: int) -> None:
        self.seen = 1  # READs in order
        self.used = size  # bytes that it asked for, or was given and came back behind
        self.most = _FIRST_FILES  # that the next batch may have
        self.batches: list[_Batch] = []  # that it was not seen to use yet; the last lies behind the tripwire
        self.last = 0  # the last file of the last batch
        self.tripwire = 0  # what it is to read next
        self.is_served = False  # with a batch, when it reads what it is about to read
        # Files it reads without a batch, after one that came to nothing; those that are still to come.
        self._pause = self._left = 0

    def came(self, size: int) -> list[_Batch]:
        """It reads the tripwire, ``size`` bytes: it is done with all batches but the last. Those."""
        done, self.batches = self.batches[:-1], self.batches[-1:]
        self.seen += 1
        self.used += size + sum(batch.bytes for batch in done)
        if any(batch.files for batch in done):
            self.most = min(2 * self.most, _MOST_FILES)
        return done

    def note(self, has_pushed: bool) -> None:
        """A batch has been tried."""
        self._left = self._pause = 0 if has_pushed else min(2 * self._pause + 1, _LONGEST_PAUSE)

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
        self._awaited: OrderedDict[int, _Reader] = OrderedDict()  # by tripwire
        # By thread: the file it answers, and for whom (nobody: it is planned for one who was faster).
        self._claimed: dict[int, tuple[int, _Reader | None]] = {}
        self._planned: dict[int, _Batch] = {}  # by file: to be stored
        self._batches: deque[tuple[_Reader, _Batch]] = deque()  # likewise
        self._storing = 0  # the file that is being stored

    def claims(self, node: int) -> bool:
        """Whether the calling thread is to push when it has answered the READ of this file, which it does next: it must
        give up the turn before."""
        if self._planned.pop(node, None) is not None or node == self._storing:  # its reader is faster
            self._claimed[threading.get_ident()] = node, None
            return False
        if node not in self._awaited:
            return False
        with self._lock:
            reader = self._awaited.pop(node, None)
            if reader is None:
                return False
            self._claimed[threading.get_ident()] = node, reader
            for batch in reader.came(self._image.size[node - 1]):
                self._drop(batch)
            reader.is_served = reader.seen >= self._convincing() and not reader.passes_over()
            return reader.is_served

    def after(self, node: int) -> int:
        """A file that is ``is_small`` is read whole by somebody who still waits for the answer. Returns the file that
        it will ask for next, 0 where that is not known or will be stored."""
        claimed, reader = self._claimed.pop(threading.get_ident(), (0, None))
        if claimed == node and reader is None:
            return 0
        if reader is None or claimed != node:
            reader = _Reader(self._image.size[node - 1])
        with self._lock:
            following = self._following(max(node, reader.last))
            tripwire = next(following, 0)
            if tripwire:
                self._await(tripwire, reader)
            if reader.is_served:
                self._plan(following, reader)
        return tripwire if reader.seen >= _IN_ORDER and not reader.batches else 0

    def push(self) -> None:
        """Stores what is planned. By a thread that ``claims`` told to, when its READ is answered. Raises nothing."""
        while self._batches and self._pushing.acquire(blocking=False):
            try:
                if self._batches:  # another thread may have been faster
                    self._push(*self._batches.popleft())
            finally:
                self._pushing.release()

    def is_small(self, node: int) -> bool:
        """Whether it is a file that is read with one request."""
        return 0 < self._image.size[node - 1] <= SMALL and stat.S_ISREG(self._image.mode[node - 1])

    def figures(self) -> dict[str, int]:
        return {"files": self.files, "bytes": self.bytes, "unread": self.unread}

    def _following(self, node: int) -> Iterator[int]:
        """The small files that follow in the archive."""
        last = min(node + _LOOK, self._image.inode_count)
        return filter(self.is_small, range(node + 1, last + 1))

    # -- with the lock

    def _await(self, node: int, reader: _Reader) -> None:
        lost = [self._awaited.pop(node, None)]
        if len(self._awaited) >= _READERS:
            lost.append(self._awaited.popitem(last=False)[1])
        for other in lost:
            if other is not None:
                self.unread += sum(batch.files for batch in other.batches)
                for batch in other.batches:
                    self._drop(batch)
        self._awaited[node] = reader
        reader.tripwire = node

    def _convincing(self) -> int:
        """How many files are to be read in order before a push."""
        doubtful = self.files > _EARLY and self.unread * _DOUBTFUL > self.files
        return _CONVINCING if doubtful else 2

    def _plan(self, following: Iterator[int], reader: _Reader) -> None:
        """A batch for ``reader`` of the files that follow its tripwire."""
        room = min(max(_LEAST_BYTES, reader.used >> 4), _MOST_BYTES)
        nodes: list[int] = []
        for node in following:
            room -= self._image.size[node - 1]
            if room < 0 or len(nodes) == reader.most:
                break
            nodes.append(node)
        batch = _Batch(reader.tripwire, nodes)
        if nodes:
            reader.last = nodes[-1]
            self._planned.update(dict.fromkeys(nodes, batch))
            self._batches.append((reader, batch))
        reader.batches.append(batch)

    def _drop(self, batch: _Batch) -> None:
        """What of it was not stored yet, shall not be."""
        if not batch.is_over:
            for node in batch.nodes:
                if self._planned.get(node) is batch:
                    del self._planned[node]

    # -- without

    def _push(self, reader: _Reader, batch: _Batch) -> None:
        previous = batch.behind
        for node in batch.nodes:
            self._storing = node
            if self._planned.pop(node, None) is None:
                pass  # read meanwhile, or no longer to be stored
            elif self._stored(node, previous):
                batch.files += 1
                batch.bytes += self._image.size[node - 1]
            else:
                with self._lock:
                    self._break_off(reader, batch, node)
                break
            previous = node
        self._storing = 0
        batch.is_over = True
        self.files += batch.files
        self.bytes += batch.bytes
        reader.note(batch.files > 0)

    def _break_off(self, reader: _Reader, broken: _Batch, node: int) -> None:
        """A file could not be stored: its reader goes on from there."""
        for batch in (broken, *reader.batches):
            self._drop(batch)
        reader.last = node - 1
        if reader.tripwire > node and self._awaited.get(reader.tripwire) is reader:
            del self._awaited[reader.tripwire]
            self._await(node, reader)

    def _stored(self, node: int, previous: int) -> bool:
        """Whether a file has been pushed. Whatever prevents it, who reads the file is told."""
        size = self._image.size[node - 1]
        try:
            if not self._archive.is_at_hand(node, 0, size) and not self._archive.follows(node, previous):
                return False
            return self._store(self._nodeid(node), self._archive.read(node, 0, size))
        except Exception:
            return False

"""Files that a reader will want next, put into the kernel's page cache before it asks.

Strategy
Who reads one small file after the other (``grep -r``, ``cp -r``, ``tar``) pays for each with a request, which costs
more than the bytes. Archive order is the order of directory listings, so where a file was read and then the one that
follows it, those that follow are stored into the page cache (NOTIFY_STORE), a *batch* at a time. A first, short batch
is stored while its reader waits for its answer: of what must be decoded, what that gives in a moment. Then comes a
file that is left out, the *tripwire*, and behind it a batch that is stored while the reader goes through the first.
When the tripwire's READ comes, its reader is done with what was before it, so that was wanted, and batches may be
larger; and another is stored behind the next tripwire. So there is a batch ahead, and nobody waits for it. Where
there is none any more, because the reader was faster, or goes on in another directory, it begins anew with a short
one. Who has come to the files of a directory that it had not listed (``grep -r``) is given the first of them with the
end of the listing, which the kernel asks for when it knows what was in the rest. Batches whose reader never comes count
as unread. Each is a sixteenth of what the reader was seen to use, or a little, so what is pushed in vain stays below a
tenth or so.

Rules
- Only whole files are pushed, with exact sizes, as they would be read: decoded and checked. At one that cannot be read
  the push ends: its error is its reader's.
- Only what is at hand or as good as that, and what is decoded in order behind what its reader reads, closely
  (``Archive.follows``): no decoder is sent away from who reads.
- A store can wait for a page whose READ somebody else must answer. So one thread pushes at a time, never the only one,
  without the turn and without any lock that answering takes; who answers waits for it for a moment at most, and once.
- An inode that the kernel does not know ends a push: those behind it are of a directory that was not listed yet.
"""

from __future__ import annotations

import stat
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic

from rofuse_formats import Archive

Store = Callable[[int, list[memoryview]], bool]
"""Puts a file's bytes, given its inode number as the kernel knows it, into the page cache; whether it knows it."""

SMALL = 128 << 10
"""Bytes of the largest file that is pushed, and whose reading leads to a push: the kernel asks for it at once."""
_READERS = 64  # that are followed at once
_LOOK = 1024  # entries of the archive that are looked at for one batch
_NEAR = 64  # entries of a directory, for its first file
_LEAST_BYTES, _MOST_BYTES = 64 << 10, 1 << 20
_FIRST_FILES, _MOST_FILES = 4, 512
_FEW_FILES, _FEW_BYTES = 64, 256 << 10  # that are stored while their reader waits
_MOMENT = 0.002  # seconds that it waits until another push ends, or for what is decoded
_LONGEST_PAUSE = 63  # files; whoever opens files by their names alone has listed nothing
_DOUBTFUL = 10  # where more than every tenth file was pushed in vain ...
_CONVINCING = 4  # ... so many files must be read in order before a push, not two
_IN_ORDER = 2  # files, which are a reader who will read the next one
_EARLY = 200  # files; too few to judge by


class _Batch:
    """Files that are stored together."""

    __slots__ = ("behind", "bytes", "files", "nodes", "reader")

    def __init__(self, reader: _Reader, behind: int, nodes: list[int]) -> None:
        self.reader, self.behind, self.nodes = reader, behind, nodes
        self.files = self.bytes = 0  # that were stored


class _Reader:
    """Somebody who reads file after file."""

    __slots__ = (
        "_left",
        "_pause",
        "batches",
        "is_served",
        "last",
        "most",
        "seen",
        "stop",
        "tripwire",
        "used",
    )

    def __init__(self, size: int) -> None:
        self.seen = 1  # READs in order
        self.used = size  # bytes that it asked for, or was given and came back behind
        self.most = _FIRST_FILES  # that the next batch may have
        self.batches: list[_Batch] = []  # that it was not seen to use yet
        self.last = 0  # up to where files were planned for it
        self.tripwire = 0  # what it is to read next
        self.stop = 0  # a file that could not be stored: none behind it is, before it was read
        self.is_served = False  # with a batch, when it reads what it is about to read
        # Files it reads without a batch, after one that came to nothing; those that are still to come.
        self._pause = self._left = 0

    def came(self, node: int, size: int) -> list[_Batch]:
        """It reads a file of ``size`` bytes: it is done with all batches but that behind this file. Those."""
        done = [batch for batch in self.batches if batch.behind != node]
        self.batches = [batch for batch in self.batches if batch.behind == node]
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
        # By thread: the file it answers, and for whom (nobody: it is just being stored).
        self._claimed: dict[int, tuple[int, _Reader | None]] = {}
        self._planned: dict[int, _Batch] = {}  # by file: to be stored
        self._batches: deque[_Batch] = deque()  # likewise, while their readers do something else
        self._storing = 0  # the file that is being stored
        self._is_held_up = False  # whether somebody has waited for a push that is not over yet

    def claims(self, node: int) -> bool:
        """Whether the calling thread is to push when it reads this file, which it does next: it must give up the turn
        before."""
        if node == self._storing:
            self._claimed[threading.get_ident()] = node, None
            with self._lock:
                self._caught_up(node)
            return False
        if node not in self._awaited and node not in self._planned:
            return False
        with self._lock:
            reader = self._awaited.pop(node, None) or self._overtaking(node)
            if reader is None:
                return False
            self._claimed[threading.get_ident()] = node, reader
            for batch in reader.came(node, self._image.size[node - 1]):
                self._drop(batch)
            reader.is_served = reader.seen >= self._convincing() and not reader.passes_over()
            return reader.is_served

    def claims_listed(self, directory: int) -> bool:
        """The same where it lists what follows in a directory: the kernel knows by then what it was told before."""
        if not self._awaited:  # nobody reads: most often, for who only lists
            return False
        first = self._first(directory)
        with self._lock:
            reader = self._awaited.get(first)
            if reader is None or reader.seen < self._convincing() or not self._allowance(first, reader)[0]:
                return False
            del self._awaited[first]
            reader.is_served = True
            self._claimed[threading.get_ident()] = directory, reader
        return True

    def listed(self, directory: int) -> None:
        """Who read everything up to this directory, and lists it, will read its files."""
        claimed, reader = self._claimed.pop(threading.get_ident(), (0, None))
        if claimed == directory and reader is not None:
            first = reader.tripwire
            behind = next(filter(self.is_small, range(first - 1, max(0, first - _LOOK), -1)), 0)
            if behind:
                self._push_at_once(behind, reader, *self._allowance(first, reader))
            self._go_on(first - 1, reader)

    def disclaim(self) -> None:
        """The READ that the calling thread has claimed is over, whatever came of it: for its next one it may not have
        given up the turn. What nothing came ``after``, its reader may not go on from."""
        _node, reader = self._claimed.pop(threading.get_ident(), (0, None))
        if reader is not None:
            with self._lock:
                self._lose(reader)

    def after(self, node: int) -> int:
        """A file that is ``is_small`` is read whole by somebody who still waits for the answer. Returns the file that
        it will ask for next, 0 where that is not known or will be stored."""
        claimed, reader = self._claimed.pop(threading.get_ident(), (0, None))
        if claimed == node and reader is None:
            return 0
        if reader is None or claimed != node:
            reader = _Reader(self._image.size[node - 1])
        if reader.is_served and reader.last <= node:
            self._push_at_once(node, reader, _FEW_FILES, _FEW_BYTES)
        tripwire = self._go_on(node, reader)
        return tripwire if reader.seen >= _IN_ORDER and not reader.batches else 0

    def push(self) -> None:
        """Stores what is planned. By a thread that was told to, when what it claimed is answered. Raises nothing."""
        while self._batches and self._pushing.acquire(blocking=False):
            try:
                if self._batches:  # another thread may have been faster
                    self._push(self._batches.popleft())
            finally:
                self._pushing.release()

    def is_small(self, node: int) -> bool:
        """Whether it is a file that is read with one request."""
        return 0 < self._image.size[node - 1] <= SMALL and stat.S_ISREG(self._image.mode[node - 1])

    def figures(self) -> dict[str, int]:
        return {"files": self.files, "bytes": self.bytes, "unread": self.unread}

    def _first(self, directory: int) -> int:
        """The first small file of a directory, 0 where none is near its beginning."""
        try:
            if not self._image.is_directory(directory):
                return 0
            rows = self._image.dirents(directory)[:_NEAR]
            return next(filter(self.is_small, self._image.child[rows.start : rows.stop]), 0)
        except Exception:  # of a damaged image: who lists it meets it too, and is answered
            return 0

    def _following(self, node: int) -> Iterator[int]:
        """The small files that follow in the archive."""
        last = min(node + _LOOK, self._image.inode_count)
        return filter(self.is_small, range(node + 1, last + 1))

    # -- with the lock

    def _allowance(self, first: int, reader: _Reader) -> tuple[int, int]:
        """Files and bytes, from ``first`` on, that may be stored for a reader that was not seen to use what it was
        given before: as if all were one batch."""
        if reader.last >= first:
            return 0, 0
        files = reader.most - sum(batch.files for batch in reader.batches)
        room = max(_LEAST_BYTES, reader.used >> 4) - sum(batch.bytes for batch in reader.batches)
        return (min(files, _FEW_FILES), min(room, _FEW_BYTES)) if files > 0 and room > 0 else (0, 0)

    def _overtaking(self, node: int) -> _Reader | None:
        """Who reads a file itself that is planned to be stored for it: it is to begin anew."""
        batch = self._planned.get(node)
        if batch is None:
            return None
        reader = batch.reader
        reader.last = 0
        if self._awaited.get(reader.tripwire) is reader:
            del self._awaited[reader.tripwire]
        return reader

    def _caught_up(self, node: int) -> None:
        """Somebody reads what is being stored for it: from the next file on it is to begin anew, or it would go on to
        ask for all that is just being stored."""
        following = next(self._following(node), 0)
        reader = self._overtaking(following)
        if reader is not None:
            for batch in reader.batches:
                self._drop(batch)
            self._await(following, reader)

    def _await(self, node: int, reader: _Reader) -> None:
        lost = [self._awaited.pop(node, None)]
        if len(self._awaited) >= _READERS:
            lost.append(self._awaited.popitem(last=False)[1])
        for other in lost:
            if other is not None:
                self._lose(other)
        self._awaited[node] = reader
        reader.tripwire = node

    def _lose(self, reader: _Reader) -> None:
        """Nobody knows any more what it is to read next."""
        self.unread += sum(batch.files for batch in reader.batches)
        for batch in reader.batches:
            self._drop(batch)

    def _convincing(self) -> int:
        """How many files are to be read in order before a push."""
        doubtful = self.files > _EARLY and self.unread * _DOUBTFUL > self.files
        return _CONVINCING if doubtful else 2

    def _plan(
        self, behind: int, following: Iterator[int], reader: _Reader, most_files: int, most_bytes: int
    ) -> _Batch:
        """A batch for ``reader`` of the files that follow one that it reads, or will read."""
        files, room = min(reader.most, most_files), min(max(_LEAST_BYTES, reader.used >> 4), most_bytes)
        nodes: list[int] = []
        for node in following:
            room -= self._image.size[node - 1]
            if room < 0 or len(nodes) == files:
                break
            nodes.append(node)
        batch = _Batch(reader, behind, nodes)
        self._planned.update(dict.fromkeys(nodes, batch))
        reader.batches.append(batch)
        reader.last = nodes[-1] if nodes else behind
        return batch

    def _drop(self, batch: _Batch) -> None:
        """What of it was not stored yet, shall not be."""
        for node in batch.nodes:
            if self._planned.get(node) is batch:
                self._planned.pop(node, None)  # who stores may have been faster
        batch.nodes = []

    # -- without

    def _go_on(self, node: int, reader: _Reader) -> int:
        """Has a reader awaited at what it will ask for behind ``node`` and what it was given, and plans what to store
        behind that. Returns that file, 0 where there is none."""
        with self._lock:
            if self._awaited.get(reader.tripwire) is reader:  # it was seen elsewhere meanwhile
                return 0
            following = self._following(max(node, reader.last))
            tripwire = next(following, 0)
            if tripwire:
                self._await(tripwire, reader)
                if reader.is_served and tripwire != reader.stop and len(self._batches) < _READERS:
                    batch = self._plan(tripwire, following, reader, _MOST_FILES, _MOST_BYTES)
                    if batch.nodes:
                        self._batches.append(batch)
        return tripwire

    def _push_at_once(self, node: int, reader: _Reader, most_files: int, most_bytes: int) -> None:
        """Stores the batch right behind a file whose reader waits for an answer."""
        if not self._pushing.acquire(timeout=0 if self._is_held_up else _MOMENT):
            self._is_held_up = True
            return
        try:
            with self._lock:
                batch = self._plan(node, self._following(node), reader, most_files, most_bytes)
            self._push(batch, monotonic() + _MOMENT)
        finally:
            self._pushing.release()

    def _push(self, batch: _Batch, until: float = inf) -> None:
        """``until``: when it is too late to decode what is not as good as at hand. Its reader does that then, and more
        is pushed beside it."""
        for node in batch.nodes:
            is_late = monotonic() > until and not self._is_soon(node)
            self._storing = node
            if not is_late and self._planned.pop(node, None) is None:  # it shall not be any more
                break
            if is_late or not self._stored(node, batch.behind):
                with self._lock:
                    self._break_off(batch, node, 0 if is_late else node)
                batch.reader.note(is_late or batch.files > 0)
                break
            batch.files += 1
            batch.bytes += self._image.size[node - 1]
        else:
            batch.reader.note(True)
        self._storing = 0
        self._is_held_up = False
        self.files += batch.files
        self.bytes += batch.bytes

    def _break_off(self, broken: _Batch, node: int, stop: int) -> None:
        """A file could not be stored: its reader goes on from there."""
        reader = broken.reader
        for batch in (broken, *reader.batches):
            self._drop(batch)
        reader.last, reader.stop = node - 1, stop
        if reader.tripwire > node and self._awaited.get(reader.tripwire) is reader:
            del self._awaited[reader.tripwire]
            self._await(node, reader)

    def _stored(self, node: int, behind: int) -> bool:
        """Whether a file has been pushed. Whatever prevents it, who reads the file is told. ``behind``: a file that
        others are decoded behind."""
        archive = self._archive
        try:
            if not self._is_soon(node) and not archive.follows(node, behind):
                return False
            return self._store(self._nodeid(node), archive.read(node, 0, self._image.size[node - 1]))
        except Exception:
            return False

    def _is_soon(self, node: int) -> bool:
        """Whether a file is at hand, or as good as that."""
        archive = self._archive
        try:
            return archive.is_at_hand(node, 0, self._image.size[node - 1]) or archive.is_decoded_soon(node)
        except Exception:  # whatever it is, who reads the file is told
            return False

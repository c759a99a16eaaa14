"""Bytes of the linear stream, decoded by helper processes when somebody wants them, and kept.

Strategy
Who wants bytes that are not kept has their group decoded: a *pass*, from the group's beginning to its end. He decodes
himself until he has what he wants; then a thread goes on with the pass to its end, and with what the helper says is
best decoded next; all that comes is kept. Who comes meanwhile waits until the pass is where he reads. Who wants another
group has another pass beside it. Without a spool a pass stops where nobody wants more, remembers the last of what it
decoded, and goes on from there.

Rules
- ``_changed``, a condition, guards all bookkeeping. It is never held while anything is decoded or compressed.
- A pass is moved on by one thread at a time. What it says is good to its ``position``.
- A helper that dies is started again, and what it gives once more is dropped. Dies it ``TRIES`` times at one place,
  what follows there in the group cannot be had. One that was killed is to blame for nothing, and is started more often.
- Bytes that failed a check are given to nobody, unless ``salvage`` is set; those that were not decoded at all, never.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EBADF, EIO
from threading import Condition, Thread

from rofuse_formats import patience
from rofuse_formats.archives.libarchive import protocol
from rofuse_formats.archives.libarchive.groups import END
from rofuse_formats.archives.libarchive.keeping import Held, Keeper, joined
from rofuse_formats.archives.libarchive.passes import Pass, make_room
from rofuse_formats.archives.libarchive.process import DiedError, Helper, error_of
from rofuse_formats.archives.libarchive.resting import Resting
from rofuse_formats.archives.libarchive.writing import BATCH, Run, SpoolWriter
from rofuse_formats.errors import DamagedError, FormatError
from rofuse_formats.growing_spool import GrowingSpool, Piece
from rofuse_formats.limits import MIB
from rofuse_formats.spool import LEAST
from rofuse_formats.streams import BlockCache

TRIES, TRIES_KILLED = 3, 20
MOST_PASSES = 3
"""Helper processes at a time."""
MOST_AHEAD = 2
"""Of those, how many decode what nobody has asked for."""
REMEMBERED = 8 * MIB
"""Bytes that a pass without a spool remembers."""
_MOST_FAILURES = 1000


class Decoding:
    """``start``: starts a helper process. ``spooled``: makes the Keeper, when something is read first."""

    def __init__(
        self, start: Callable[[], Helper], spooled: Callable[[], Keeper], cache: BlockCache, salvage: bool
    ) -> None:
        self._start, self._spooled, self._cache, self._salvage = start, spooled, cache, salvage
        self._changed = Condition()
        self._writer = SpoolWriter(self._changed, self._written)
        self._keeper: Keeper | None = None
        self._held = Held()
        self._passes: list[Pass] = []  # least recently used first
        self._resting = Resting(MOST_PASSES)
        self._is_closed = False
        self._bad: list[tuple[int, int, FormatError]] = []

    def read(self, start: int, end: int, need: int, check: tuple[int, int]) -> memoryview:
        """Bytes [start, end), when all up to ``need`` was decoded and nothing of ``check`` is known to be bad. Raises
        DamagedError, LimitError, UnsupportedError, PasswordError, OSError."""
        while True:
            patience.check()
            with self._changed:
                if self._is_closed:
                    raise OSError(EBADF, "the archive is closed")
                self._refuse_bad(start, end, check)
                found = self._find(start, end, need)
                current = self._claim(start) if found is None else None
                if found is None and current is None:
                    self._changed.wait(patience.PERIOD)
            if found is not None:
                return joined(self._cache, *found, start, end)
            if current is not None:
                self._run(current, need)

    def close(self) -> None:
        """Ends all helpers, and closes the spools."""
        with self._changed:
            self._is_closed = True
            working = [one.helper for one in self._passes if one.helper is not None and one.is_busy]
            idle = [one.helper for one in self._passes if one.helper is not None and not one.is_busy]
            self._changed.notify_all()
        for helper in working:
            helper.end()  # whoever waits for it buries it
        for helper in idle:
            helper.close()
        self._resting.close()
        self._writer.wait()
        with self._changed:
            for spool in self._keeper.spools if self._keeper is not None else ():
                spool.close()

    def is_spooling(self) -> bool:
        with self._changed:
            return self._keeping().is_enabled

    # -- what is there; all under the lock

    def _keeping(self) -> Keeper:
        if self._keeper is None:
            self._keeper = self._spooled()
            for spool in self._keeper.spools:
                self._bad += [(start, end, DamagedError(reason)) for start, end, reason in spool.bad]
        return self._keeper

    def _refuse_bad(self, start: int, end: int, check: tuple[int, int]) -> None:
        self._keeping()
        for bad_start, bad_end, error in self._bad:
            if (bad_start < end and start < bad_end) or (bad_start < check[1] and check[0] < bad_end):
                raise type(error)(str(error))

    def _find(
        self, start: int, end: int, need: int
    ) -> tuple[list[tuple[GrowingSpool, Piece]], memoryview] | None:
        """The pieces of spools that have the bytes, and those bytes behind them that are in memory. None: not all is
        there."""
        held = self._held.get(start, end)
        if held is not None:
            return [], held
        keeper = self._keeping()
        for current in self._passes:
            if not current.covers(start) or current.position < need:
                continue
            first = max(start, min(current.first, end))
            if keeper.is_known(start, first):
                return keeper.pieces(start, first), current.bytes(first, end)
        return (keeper.pieces(start, end), memoryview(b"")) if keeper.is_known(start, need) else None

    # -- passes

    def _claim(self, at: int) -> Pass | None:
        """The pass that is to be moved on for byte ``at``, now the caller's; None where another thread does that."""
        known = self._keeping().is_known
        for current in reversed(self._passes):
            if current.is_over or not current.covers(at):
                continue
            if at < current.first and not known(at, current.first):
                continue  # it has forgotten that
            if current.is_busy:
                return None
            current.is_busy = True
            self._passes.remove(current)
            self._passes.append(current)
            return current
        if any(current.is_busy and not current.is_begun for current in self._passes):
            return None  # it may become the one
        if len(self._passes) >= MOST_PASSES:
            idle = next((current for current in self._passes if not current.is_busy), None)
            if idle is None:
                make_room(self._passes)
                return None
            self._passes.remove(idle)
            if idle.helper is not None:
                idle.helper.close()
        current = Pass(at)
        self._passes.append(current)
        return current

    def _run(self, current: Pass, need: int) -> None:
        """Moves a pass on to ``need``, and lets it go on by itself where what comes then is kept."""
        try:
            self._advance(current, need)
        except BaseException:
            self._finish(current)
            raise
        if not current.is_over and not self.is_spooling():
            with self._changed:
                current.is_busy = False
                self._changed.notify_all()
            return
        following: Pass | None = current
        if current.is_over:
            self._finish(current)
            following = self._following(current, beside=True)
        else:
            current.is_by_itself = True
            if current.helper is not None:
                current.helper.step_back(True)
        if following is not None:
            Thread(target=self._go_on, args=(following,), name="members", daemon=True).start()

    def _go_on(self, current: Pass | None) -> None:
        while current is not None:
            try:
                self._advance(current, END)
            except (FormatError, OSError):
                pass  # whoever reads there will meet it again
            finally:
                self._finish(current)
            current = self._following(current, beside=True)

    def _go_on_after(self, current: Pass) -> None:
        self._go_on(self._following(current, beside=False))

    def _following(self, current: Pass, *, beside: bool) -> Pass | None:
        """What is decoded when that pass has ended and nobody wants anything else. ``beside``: whether further threads
        may begin with what comes then."""
        with self._changed:
            while any(one.is_busy and not one.is_begun for one in self._passes):
                self._changed.wait()  # it may become the one
            ahead = sum(one.is_by_itself and one.is_busy for one in self._passes)
            is_welcome = ahead < MOST_AHEAD and len(self._passes) < MOST_PASSES and self._keeping().is_enabled
            if self._is_closed or not (current.is_over and not current.is_to_stop and is_welcome):
                return None
            following = current.following(self._end_of)
            if following is not None:
                self._passes.append(following)
                beside &= ahead + 1 < MOST_AHEAD
        if following is not None and beside:
            Thread(target=self._go_on_after, args=(current,), name="members", daemon=True).start()
        return following

    def _end_of(self, start: int) -> int:
        """Up to where bytes are kept from ``start`` on, or are being decoded."""
        known = [self._keeping().end_of, self._held.end_of, *(one.end_of for one in self._passes)]
        while (further := max(end_of(start) for end_of in known)) > start:
            start = further
        return start

    def _finish(self, current: Pass) -> None:
        """The pass is over, or cannot go on. What it remembers and nobody else has, it still has."""
        self._write(current, whole=True)
        if not current.is_over:
            self._writer.wait()  # what it has is had from the spool, then
        with self._changed:
            helper, current.helper, current.is_busy = current.helper, None, False
            if not (current.is_over and current.parts):
                self._passes.remove(current)
            is_over = current.is_over
            self._changed.notify_all()
        if helper is not None and is_over and not self._is_closed:
            self._resting.put(helper)
        elif helper is not None:
            helper.close()

    def _advance(self, current: Pass, need: int) -> None:
        """Takes in what the helper tells until ``need`` is reached, or the group's end, or nobody waits for it."""
        while not current.is_over and not current.has_to_stop and current.position < need:
            if patience.is_in_vain():
                break
            try:
                self._step(current)
            except DiedError as error:
                self._buried(current, error)
            except FormatError as error:
                self._fail(current, error)

    def _step(self, current: Pass) -> None:
        if current.helper is None:
            current.helper = self._next_helper()
            current.helper.step_back(current.is_by_itself)
            current.helper.ask(protocol.DATA, current.wanted, 1 if current.deaths else 0)
        message = current.helper.receive()
        if message.kind == protocol.BYTES and current.is_begun:
            self._take(current, message.a, message.body)
        elif message.kind == protocol.GROUP:
            self._begin(current, message.a, message.b)
        elif message.kind == protocol.BAD and current.start <= message.a < message.b <= current.end:
            current.trouble = error_of(message.json())
            if not self._salvage:
                self._add_bad(current, message.a, message.b, current.trouble)
        elif message.kind == protocol.DONE and current.is_begun:
            self._pass_gap(current, current.end if current.end < END else current.position)
            if 0 <= message.a < message.b <= END:
                current.go_further(message.a, message.b)
            current.is_over = True
        else:
            raise DiedError("spoke nonsense")

    def _next_helper(self) -> Helper:
        with self._changed:
            if self._is_closed:
                raise OSError(EBADF, "the archive is closed")
        return self._resting.take() or self._start()

    def _begin(self, current: Pass, start: int, end: int) -> None:
        if not 0 <= start <= current.wanted < end <= END:
            raise DiedError("spoke nonsense")
        with self._changed:
            if not current.is_begun:
                current.begin(start, end)
            elif (start, end) != (current.start, current.end):
                raise DiedError("spoke nonsense")
            self._changed.notify_all()

    def _take(self, current: Pass, at: int, data: bytes) -> None:
        if at + len(data) <= current.position:
            return  # once more
        if at < current.position:
            at, data = current.position, data[current.position - at :]
        if at + len(data) > current.end:
            raise DiedError("spoke nonsense")
        self._pass_gap(current, at)
        with self._changed:
            current.add(data)
            current.deaths = 0
            self._changed.notify_all()
        # The end is handed on at once: the mount may be over before the helper says that this was it.
        self._write(current, whole=current.position >= current.end)

    def _pass_gap(self, current: Pass, at: int) -> None:
        """Nothing came up to ``at``, and that it would not was said."""
        if at == current.position:
            return
        if current.trouble is None:
            raise DiedError("left something out")
        self._write(current, whole=True)
        self._writer.wait()
        if self._salvage:
            self._add_bad(current, current.position, at, current.trouble)
        with self._changed:
            current.pass_over(at)

    def _add_bad(self, current: Pass, start: int, end: int, error: FormatError) -> None:
        with self._changed:
            if len(self._bad) >= _MOST_FAILURES:
                start, end = current.position, current.end  # too many to tell one from the other
            self._bad.append((start, end, error))
            self._changed.notify_all()
            keeper = self._keeping()
            spool = keeper.spool() if type(error) is DamagedError else None
            if spool is not None and not any(known[:2] == (start, end) for known in spool.bad):
                try:
                    spool.append_bad(start, end, str(error))
                except OSError as trouble:
                    keeper.give_up(str(trouble))

    def _buried(self, current: Pass, error: DiedError) -> None:
        """The helper is dead."""
        if current.helper is not None:
            current.helper.close()
            current.helper = None
        current.deaths += 1
        if error.was_killed:
            if current.deaths >= TRIES_KILLED:
                raise OSError(EIO, f"libarchive {error}, again and again")  # tomorrow it may be left in peace
        elif current.deaths >= TRIES:
            self._fail(current, DamagedError(f"libarchive {error} when it decoded this, {TRIES} times"))

    def _fail(self, current: Pass, error: FormatError) -> None:
        """What follows in the group cannot be had."""
        with self._changed:
            if not current.is_begun:
                current.end = current.wanted + 1
            start = max(current.position, current.wanted if not current.is_begun else 0)
            if start < current.end:
                self._bad.append((start, current.end, error))
            current.is_over = True
            self._changed.notify_all()
        if current.helper is not None:  # it has said its last word
            current.helper.close()
            current.helper = None

    # -- keeping

    def _write(self, current: Pass, *, whole: bool) -> None:
        """Hands on what was decoded to be kept, where there is enough of it or it is the whole group."""
        first = max(current.written, current.first)  # what is not remembered is kept, by whomever
        size = current.position - first
        is_long = current.position - current.start >= LEAST
        if not size or (not whole and (size < BATCH or not is_long)):
            return
        with self._changed:
            if self._is_closed:
                return
            start, end = first, current.position if whole else current.position - size % BATCH
            if whole and not is_long:
                runs = self._held.put(start, bytes(current.bytes(start, end)))
                current.pass_over(end)
                spool = self._keeping().spool() if runs else None
            else:
                spool = self._keeping().spool()
                current.written = end
                if spool is None:
                    current.forget(current.position - REMEMBERED)
                else:
                    runs = [(start, bytes(current.bytes(start, end)))]
        if spool is not None:
            for start, data in runs:
                for at in range(0, len(data), BATCH):
                    self._writer.put(Run(spool, start + at, data[at : at + BATCH]))

    def _written(self, run: Run, trouble: OSError | None) -> None:
        """A run is in its spool, or cannot be; the lock is held."""
        if trouble is not None:
            if not self._is_closed:
                self._keeping().give_up(trouble.strerror or str(trouble))
            return
        for current in [*self._passes]:
            if current.first <= run.start < current.position:
                current.forget(run.spool.end_of(current.first))
                if current.is_over and not current.is_busy and not current.parts:
                    self._passes.remove(current)
        self._changed.notify_all()

"""What the engine makes of a filesystem's answers, right ones and wrong ones."""

from __future__ import annotations

import threading
from errno import (
    EACCES,
    EINVAL,
    EIO,
    ENOENT,
    ENOMEM,
    ENOSYS,
    ENOTDIR,
    ENOTTY,
    ESTALE,
    ETIMEDOUT,
)

import pytest

from rofuse_mount.engine import Engine
from rofuse_mount.filesystem import Filesystem
from rofuse_mount.records import (
    Attr,
    Context,
    DirEntry,
    DirEntryPlus,
    Entry,
    ForgetEntry,
    OpenResponse,
)
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import BODIES, OFFERS, answering, ask, check, connect, read_body, request

# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "errno"),
    [
        (OSError(ESTALE, "stale"), ESTALE),
        (FileNotFoundError(), ENOENT),
        (FileNotFoundError, ENOENT),
        (PermissionError(), EACCES),
        (TimeoutError(), ETIMEDOUT),
        (NotADirectoryError(), ENOTDIR),
        (type("Missing", (FileNotFoundError,), {})(), ENOENT),
        (OSError(511, "largest"), 511),
    ],
)
def test_an_oserror_means_its_errno(error: object, errno: int) -> None:
    assert ask(connect(answering("getattr", error)), Opcode.GETATTR).errno == errno


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        OSError("no number"),
        OSError(0, "nothing"),
        OSError(-2, "negative"),
        OSError(512, "the kernel's own"),
        OSError(10**30, "absurd"),
        OSError("two", "words"),
        KeyError(5),
        RecursionError(),
        MemoryError(),
        StopIteration(),
        type("Strange", (Exception,), {})(),
    ],
)
def test_anything_else_is_eio_and_logged_with_its_traceback(error: Exception) -> None:
    log: list[str] = []
    assert ask(connect(answering("getattr", error), log=log), Opcode.GETATTR, nodeid=9).errno == EIO
    assert len(log) == 1
    assert log[0].startswith("GETATTR of inode 9 failed:\nTraceback")
    assert type(error).__name__ in log[0]


@pytest.mark.parametrize(
    ("error", "is_of_memory"),
    [
        (MemoryError(), True),
        (OSError(ENOMEM, "no room"), True),
        (ImportError("_x.so: failed to map segment from shared object"), True),
        (ImportError("_x.so: cannot allocate memory in static TLS block"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("no module named x"), False),
        (KeyError(1), False),
    ],
)
def test_memory_that_has_run_out_is_told(error: Exception, is_of_memory: bool) -> None:
    """Also where it does so in the midst of an import, as a soak found."""
    engine, told = connect(answering("getattr", error), log=[]), list[bool]()
    engine.exhausted = lambda: told.append(True)
    assert ask(engine, Opcode.GETATTR).errno == (ENOMEM if isinstance(error, OSError) else EIO)
    assert bool(told) == is_of_memory


def test_a_log_that_cannot_be_written_costs_no_answer() -> None:
    class Log(list[str]):
        def append(self, message: str) -> None:
            raise BrokenPipeError

    assert ask(connect(answering("getattr", KeyError(1)), log=Log()), Opcode.GETATTR).errno == EIO


def test_an_error_of_forget_is_logged_and_not_answered() -> None:
    log: list[str] = []
    engine = connect(answering("forget", KeyError(1)), log=log)
    assert engine.handle(request(Opcode.FORGET, BODIES[Opcode.FORGET])) is None
    assert engine.handle(request(Opcode.BATCH_FORGET, BODIES[Opcode.BATCH_FORGET])) is None
    assert [line.split()[0] for line in log] == ["FORGET", "BATCH_FORGET"]


@pytest.mark.parametrize(
    "answer", [None, 5, "text", b"short", bytes(127), bytes(129), [], {}, ("a", 1), Attr(1), object()]
)
@pytest.mark.parametrize(
    ("method", "opcode"),
    [
        ("lookup", Opcode.LOOKUP),
        ("getattr", Opcode.GETATTR),
        ("statx", Opcode.STATX),
        ("open", Opcode.OPEN),
        ("opendir", Opcode.OPENDIR),
        ("statfs", Opcode.STATFS),
        ("readdir", Opcode.READDIR),
        ("readdirplus", Opcode.READDIRPLUS),
        ("readdir", Opcode.READDIRPLUS),
        ("readdirplus", Opcode.READDIR),
        ("read", Opcode.READ),
        ("readlink", Opcode.READLINK),
        ("getxattr", Opcode.GETXATTR),
        ("listxattr", Opcode.LISTXATTR),
        ("lseek", Opcode.LSEEK),
        ("ioctl", Opcode.IOCTL),
        ("poll", Opcode.POLL),
        ("bmap", Opcode.BMAP),
    ],
)
def test_whatever_a_method_returns_there_is_one_reply(method: str, opcode: int, answer: object) -> None:
    check(connect(answering(method, answer), log=[]).handle(request(opcode, BODIES.get(opcode, b""))))


@pytest.mark.parametrize(
    ("method", "opcode", "answer"),
    [
        ("lookup", Opcode.LOOKUP, Entry(5)),
        ("lookup", Opcode.LOOKUP, Entry(-1, Attr())),
        ("lookup", Opcode.LOOKUP, Entry(5, Attr(5, size=-1))),
        ("lookup", Opcode.LOOKUP, Entry(5, Attr(5, uid=1 << 32))),
        ("lookup", Opcode.LOOKUP, bytes(104)),
        ("lookup", Opcode.LOOKUP, None),
        ("getattr", Opcode.GETATTR, bytes(128)),
        ("statfs", Opcode.STATFS, bytes(64)),
        ("read", Opcode.READ, None),
        ("read", Opcode.READ, "text"),
        ("read", Opcode.READ, [b"a", None]),
        ("read", Opcode.READ, 3),
        ("readlink", Opcode.READLINK, b""),
        ("readlink", Opcode.READLINK, 7),
        ("getxattr", Opcode.GETXATTR, 7),
        ("getxattr", Opcode.GETXATTR, [117]),
        ("ioctl", Opcode.IOCTL, (0, [1, 2])),
        ("readlink", Opcode.READLINK, b"a\0b"),
        ("open", Opcode.OPEN, None),
        ("open", Opcode.OPEN, OpenResponse(fh=-1)),
        ("listxattr", Opcode.LISTXATTR, [b""]),
        ("listxattr", Opcode.LISTXATTR, [b"user.a\0b"]),
        ("lseek", Opcode.LSEEK, -1),
        ("ioctl", Opcode.IOCTL, (0, bytes(9))),
        ("ioctl", Opcode.IOCTL, 1 << 31),
        ("bmap", Opcode.BMAP, -1),
    ],
)
def test_what_cannot_be_sent_is_eio_and_logged(method: str, opcode: int, answer: object) -> None:
    log: list[str] = []
    assert ask(connect(answering(method, answer), log=log), opcode).errno == EIO
    assert len(log) == 1


# --- the library's promises -------------------------------------------------------------


def test_records_are_made_by_position_or_keyword_and_equal_by_value() -> None:
    assert Attr(1, 2, 3, 4) == Attr(ino=1, mode=2, nlink=3, size=4)
    assert Attr(1) != Attr(2) and Attr(1) != Entry(1)
    assert Entry(3, Attr(3), 1, 2.0, 3.0) == Entry(
        ino=3, attr=Attr(3), generation=1, entry_timeout=2.0, attr_timeout=3.0
    )
    assert DirEntry(1, 2, 4, b"n") == DirEntry(ino=1, offset=2, type=4, name=b"n")
    assert DirEntryPlus(Entry(1), 2, b"n") == DirEntryPlus(entry=Entry(1), offset=2, name=b"n")
    assert repr(ForgetEntry(1, 2)) == "ForgetEntry(ino=1, nlookup=2)"
    assert not hasattr(Attr(), "__dict__")
    with pytest.raises(TypeError):
        hash(Attr())


@pytest.mark.parametrize(
    ("method", "arguments", "errno"),
    [
        ("lookup", (1, b"name"), ENOENT),
        ("getattr", (1, None), ENOENT),
        ("readlink", (1,), EINVAL),
        ("open", (1, 0), ENOSYS),
        ("read", (1, 0, 0, 4096), EIO),
        ("opendir", (1, 0), ENOSYS),
        ("readdir", (1, 0, 0, 4096), ENOTDIR),
        ("readdirplus", (1, 0, 0, 4096), ENOTDIR),
        ("access", (1, 4), ENOSYS),
        ("getxattr", (1, b"user.a"), ENOSYS),
        ("listxattr", (1,), ENOSYS),
        ("lseek", (1, 0, 0, 3), ENOSYS),
        ("statx", (1, None, 0, 0), ENOSYS),
        ("ioctl", (1, 0, 0, 1, 0, b"", 0), ENOTTY),
        ("poll", (1, 0, 1, None), ENOSYS),
        ("bmap", (1, 0, 512), ENOSYS),
    ],
)
def test_a_default_that_is_called_says_its_errno(
    method: str, arguments: tuple[object, ...], errno: int
) -> None:
    """As a subclass does with ``super()``, and a test without a mount."""
    with pytest.raises(OSError) as caught:
        getattr(Filesystem(), method)(Context(), *arguments)
    assert caught.value.errno == errno


def test_methods_may_be_put_on_an_instance() -> None:
    """As tests with mocks do."""
    filesystem, forgotten = Filesystem(), list[tuple[int, int]]()
    filesystem.forget = lambda ctx, ino, nlookup: forgotten.append((ino, nlookup))  # type: ignore[method-assign]
    filesystem.readdir = lambda *_: [DirEntry(2, 1, 8, b"file")]  # type: ignore[method-assign]
    engine = connect(filesystem)
    engine.handle(request(Opcode.BATCH_FORGET, BODIES[Opcode.BATCH_FORGET]))
    assert forgotten == [(2, 1), (3, 4)]
    assert b"file" in ask(engine, Opcode.READDIRPLUS).payload


@pytest.mark.parametrize("given", [Filesystem, object(), None])
def test_what_is_no_filesystem_is_said_at_once(given: object) -> None:
    with pytest.raises(TypeError, match="Filesystem"):
        Engine(given)  # type: ignore[arg-type]


def test_the_caller_is_told() -> None:
    callers: list[Context] = []

    class Curious(Filesystem):
        def getattr(self, ctx: Context, ino: int, fh: int | None) -> Attr:
            callers.append(ctx)
            return Attr(1)

    ask(connect(Curious()), Opcode.GETATTR)
    assert callers == [Context(unique=0x1234, uid=1000, gid=100, pid=42)]


def test_threads_are_answered_each_its_own() -> None:
    class Echo(Filesystem):
        def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
            return offset.to_bytes(8, "little")

    engine = connect(Echo(), flags=OFFERS[45])
    wrong: list[int] = []

    def serve(first: int) -> None:
        for unique in range(first, first + 500):
            reply = engine.handle(request(Opcode.READ, read_body(8, unique), unique=unique))
            answer = check(reply, unique)
            if answer is None or answer.payload != unique.to_bytes(8, "little"):
                wrong.append(unique)

    threads = [threading.Thread(target=serve, args=(base,)) for base in range(1000, 5000, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

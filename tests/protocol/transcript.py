"""Golden transcripts: the recipe of a session, and its bytes as text.

A transcript is lines of ``> hex`` (from the kernel) each followed by ``< hex`` (the reply) or ``<`` (none), with what
they mean behind a ``#``. ``python -m tests.protocol.transcript`` writes them anew; the difference is to be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rofuse_mount import wire
from rofuse_mount.engine import Engine
from rofuse_mount.wire import Opcode
from tests.protocol.kernel import BODIES, OFFERS, Example, init_body, read_body, request

GOLDEN = Path(__file__).parent / "golden"
MINORS = (26, 31, 45)


def session(minor: int) -> Iterator[bytes]:
    """What a kernel of that minor sends for ``ls -la``, ``cat hello``, ``readlink``, ``getfattr`` and the unmount."""
    sent = [
        (Opcode.INIT, 0, init_body(minor, OFFERS[minor])),
        (Opcode.GETATTR, 1, wire.GETATTR_IN.pack(0, 0, 0)),
        (Opcode.OPENDIR, 1, wire.OPEN_IN.pack(0o200000, 0)),
        (Opcode.READDIRPLUS, 1, read_body(4096, 0, 78)),
        (Opcode.READDIRPLUS, 1, read_body(4096, 5, 78)),
        (Opcode.RELEASEDIR, 1, wire.RELEASE_IN.pack(78, 0o200000, 0, 0)),
        (Opcode.LOOKUP, 1, b"hello\0"),
        (Opcode.LOOKUP, 1, b"absent\0"),
        (Opcode.GETXATTR, 2, wire.GETXATTR_IN.pack(0, 0) + b"security.capability\0"),
        (Opcode.OPEN, 2, wire.OPEN_IN.pack(0o100000, 0)),
        (Opcode.READ, 2, read_body(4096, 0, 77)),
        (Opcode.FLUSH, 2, wire.FLUSH_IN.pack(77, 0, 0, 99)),
        (Opcode.RELEASE, 2, wire.RELEASE_IN.pack(77, 0o100000, 0, 0)),
        (Opcode.OPEN, 2, wire.OPEN_IN.pack(0o100001, 0)),
        (Opcode.READLINK, 3, b""),
        (Opcode.LISTXATTR, 2, wire.GETXATTR_IN.pack(0, 0)),
        (Opcode.LISTXATTR, 2, wire.GETXATTR_IN.pack(18, 0)),
        (Opcode.GETXATTR, 2, wire.GETXATTR_IN.pack(5, 0) + b"user.a\0"),
        (Opcode.STATFS, 1, b""),
        (Opcode.LSEEK, 2, wire.LSEEK_IN.pack(77, 0, 4, 0)),
        (Opcode.UNLINK, 1, b"hello\0"),
        (Opcode.BATCH_FORGET, 0, BODIES[Opcode.BATCH_FORGET]),
    ]
    if minor >= 39:
        sent += [
            (Opcode.STATX, 2, wire.STATX_IN.pack(0, 0, 0, 0, 0xFFF)),
            (Opcode.READ, 2, read_body(4096, 2, 77)),
        ]
    for number, (opcode, nodeid, body) in enumerate(sent, 1):
        yield request(opcode, body, unique=2 * number, nodeid=nodeid)
    last = 2 * len(sent) + 2
    if minor >= 40:
        yield request(Opcode.LOOKUP, b"link\0", unique=last | wire.UNIQUE_RESEND)
    yield request(Opcode.DESTROY, unique=last + 2, nodeid=0)


def write(minor: int) -> str:
    """The session with today's replies."""
    engine = Engine(Example())
    lines = [f"# FUSE protocol 7.{minor}"]
    for sent in session(minor):
        reply = engine.handle(sent)
        got = b"" if reply is None else b"".join(reply)
        lines += [f"# {engine.describe(sent, reply)}", f"> {sent.hex()}", f"< {got.hex()}".rstrip()]
    return "\n".join(lines) + "\n"


def read(text: str) -> list[tuple[bytes, bytes]]:
    """The requests and replies of a transcript; b"" where there is no reply."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return [
        (bytes.fromhex(sent.removeprefix(">")), bytes.fromhex(got.removeprefix("<"))) for sent, got in pairs
    ]


if __name__ == "__main__":
    for minor in MINORS:
        (GOLDEN / f"7.{minor}.txt").write_text(write(minor))

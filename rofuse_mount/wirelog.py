"""The wire log: one request and its reply in one line, in the protocol's own terms.

    LOOKUP unique=12 nodeid=1 name=b"etc" -> nodeid=5 entry_valid=60 attr_valid=60 size=0 mode=040755 nlink=3

Strategy
Requests and replies are decoded by the layouts of ``rofuse_mount.wire`` into a dict of fields; the line and the JSON
object are two ways to print it. The line leaves out what is 0 and, of attributes, what rarely matters; the JSON
object has everything.

Rules
- Nothing here raises, whatever the bytes: what cannot be decoded is shown by its length.
- What a READ returned is never looked at: it may be a mapping whose file was truncated.
- A line has printable ASCII only. In JSON, names that are no UTF-8 have surrogate escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from errno import errorcode
from typing import TypeAlias

from rofuse_mount import wire
from rofuse_mount.records import Buffer
from rofuse_mount.wire import InitFlag, Layout, Opcode, OpenFlag

Fields: TypeAlias = dict[str, object]

_OPCODES = wire.names(Opcode)

_REQUESTS: dict[int, Layout] = {
    Opcode.FORGET: wire.FORGET_IN,
    Opcode.GETATTR: wire.GETATTR_IN,
    Opcode.SETATTR: wire.SETATTR_IN,
    Opcode.MKNOD: wire.MKNOD_IN,
    Opcode.MKDIR: wire.MKDIR_IN,
    Opcode.RENAME: wire.RENAME_IN,
    Opcode.LINK: wire.LINK_IN,
    Opcode.OPEN: wire.OPEN_IN,
    Opcode.READ: wire.READ_IN,
    Opcode.WRITE: wire.WRITE_IN,
    Opcode.RELEASE: wire.RELEASE_IN,
    Opcode.FSYNC: wire.FSYNC_IN,
    Opcode.GETXATTR: wire.GETXATTR_IN,
    Opcode.LISTXATTR: wire.GETXATTR_IN,
    Opcode.FLUSH: wire.FLUSH_IN,
    Opcode.OPENDIR: wire.OPEN_IN,
    Opcode.READDIR: wire.READ_IN,
    Opcode.RELEASEDIR: wire.RELEASE_IN,
    Opcode.FSYNCDIR: wire.FSYNC_IN,
    Opcode.GETLK: wire.LK_IN,
    Opcode.SETLK: wire.LK_IN,
    Opcode.SETLKW: wire.LK_IN,
    Opcode.ACCESS: wire.ACCESS_IN,
    Opcode.CREATE: wire.CREATE_IN,
    Opcode.BMAP: wire.BMAP_IN,
    Opcode.IOCTL: wire.IOCTL_IN,
    Opcode.POLL: wire.POLL_IN,
    Opcode.BATCH_FORGET: wire.BATCH_FORGET_IN,
    Opcode.FALLOCATE: wire.FALLOCATE_IN,
    Opcode.READDIRPLUS: wire.READ_IN,
    Opcode.RENAME2: wire.RENAME2_IN,
    Opcode.LSEEK: wire.LSEEK_IN,
    Opcode.COPY_FILE_RANGE: wire.COPY_FILE_RANGE_IN,
    Opcode.COPY_FILE_RANGE_64: wire.COPY_FILE_RANGE_IN,
    Opcode.SYNCFS: wire.SYNCFS_IN,
    Opcode.TMPFILE: wire.CREATE_IN,
    Opcode.STATX: wire.STATX_IN,
}

# Names that lie behind the structure, each with its NUL.
_NAMES: dict[int, tuple[str, ...]] = {
    Opcode.LOOKUP: ("name",),
    Opcode.SYMLINK: ("name", "target"),
    Opcode.MKNOD: ("name",),
    Opcode.MKDIR: ("name",),
    Opcode.UNLINK: ("name",),
    Opcode.RMDIR: ("name",),
    Opcode.RENAME: ("name", "newname"),
    Opcode.RENAME2: ("name", "newname"),
    Opcode.LINK: ("name",),
    Opcode.GETXATTR: ("name",),
    Opcode.REMOVEXATTR: ("name",),
    Opcode.CREATE: ("name",),
}

_REPLIES: dict[int, Layout] = {
    Opcode.LOOKUP: wire.ENTRY_OUT,
    Opcode.GETATTR: wire.ATTR_OUT,
    Opcode.OPEN: wire.OPEN_OUT,
    Opcode.STATFS: wire.STATFS_OUT,
    Opcode.INIT: wire.INIT_OUT,
    Opcode.OPENDIR: wire.OPEN_OUT,
    Opcode.BMAP: wire.BMAP_OUT,
    Opcode.IOCTL: wire.IOCTL_OUT,
    Opcode.POLL: wire.POLL_OUT,
    Opcode.LSEEK: wire.LSEEK_OUT,
    Opcode.STATX: wire.STATX_OUT,
}

_PADDING = frozenset(("padding", "dummy", "reserved", "unused", "unused4", "unused5"))
_BRIEF = frozenset(("nodeid", "mode", "nlink", "size", "rdev", "entry_valid", "attr_valid"))
_CALLER = frozenset(("uid", "gid", "pid"))
_ALWAYS = frozenset(("nodeid", "offset", "size", "bytes"))  # shown in a line even where they are 0
_OCTAL = frozenset(("mode", "umask"))


def line(request: bytes, reply: Sequence[Buffer] | None) -> str:
    """One request and its reply as one line of printable ASCII."""
    opcode, head, body, answer = _decode(request, reply)
    words = [_opcode_name(opcode)]
    words += [_word(name, value) for name, value in head.items() if name not in _CALLER]
    words += [_word(name, value) for name, value in body.items() if value or name in _ALWAYS]
    words.append("->")
    if reply is None:
        words.append("no reply")
    elif "error" in answer:
        words.append(str(answer["error"]))
    else:
        words += [_word(name, value) for name, value in answer.items() if _shown(opcode, name, value)] or [
            "ok"
        ]
    return " ".join(words)


def json_line(request: bytes, reply: Sequence[Buffer] | None) -> str:
    """One request and its reply as one JSON object in one line: ``op``, the header's fields, ``request`` with those
    of the request, ``error`` (a name, or null) and ``reply`` with those of the reply, null where there was none."""
    import json

    opcode, head, body, answer = _decode(request, reply)
    error = answer.pop("error", None)
    record = {
        "op": _opcode_name(opcode),
        **head,
        "request": body,
        "error": error,
        "reply": None if reply is None or error else answer,
    }
    return json.dumps(record, default=lambda name: name.decode("utf-8", "surrogateescape"))


def _decode(request: bytes, reply: Sequence[Buffer] | None) -> tuple[int, Fields, Fields, Fields]:
    """The opcode, and the fields of the request's header, of its body and of the reply."""
    if len(request) < wire.IN_HEADER.size:
        return 0, {"len": len(request)}, {}, {}
    _, opcode, unique, nodeid, uid, gid, pid, _, _ = wire.IN_HEADER.unpack_from(request)
    head: Fields = {"unique": unique & ~wire.UNIQUE_RESEND}
    if unique & wire.UNIQUE_RESEND:
        head["resend"] = True
    head |= {"nodeid": nodeid, "uid": uid, "gid": gid, "pid": pid}
    body = _request(opcode, request[wire.IN_HEADER.size :])
    return opcode, head, body, {} if reply is None else _reply(opcode, body, reply)


def _request(opcode: int, body: bytes) -> Fields:
    layout = _REQUESTS.get(opcode)
    if opcode == Opcode.INIT:
        layout = wire.INIT_IN if len(body) >= wire.INIT_IN.size else wire.COMPAT_INIT_IN
    elif opcode == Opcode.INTERRUPT:
        if len(body) < wire.INTERRUPT_IN.size:
            return {"len": len(body)}
        return {"interrupts": wire.INTERRUPT_IN.unpack_from(body)[0]}
    if layout is None:
        return _names(opcode, body)
    if len(body) < layout.size:
        return {"len": len(body)}
    fields = _fields(layout, body)
    if opcode == Opcode.INIT:
        _name_init_flags(fields)
    return fields | _names(opcode, body[layout.size :])


def _names(opcode: int, tail: bytes) -> Fields:
    wanted = _NAMES.get(opcode, ())
    return dict(zip(wanted, tail.split(b"\0"), strict=False)) if tail else {}


def _reply(opcode: int, body: Mapping[str, object], reply: Sequence[Buffer]) -> Fields:
    length, error, _ = wire.OUT_HEADER.unpack_from(reply[0])
    if error:
        return {"error": errorcode.get(-error, str(-error))}
    size = length - wire.OUT_HEADER.size
    if opcode == Opcode.READ or size == 0:
        return {"bytes": size} if size or opcode == Opcode.READ else {}
    payload = b"".join(reply[1:])
    layout = _REPLIES.get(opcode)
    if opcode in (Opcode.GETXATTR, Opcode.LISTXATTR) and body.get("size") == 0:
        layout = wire.GETXATTR_OUT
    if layout is not None and len(payload) >= layout.size:
        fields = _fields(layout, payload)
        if opcode == Opcode.INIT:
            _name_init_flags(fields)
        elif layout is wire.OPEN_OUT:
            fields["open_flags"] = _flag_names(OpenFlag, payload[8] | payload[9] << 8)
        return fields
    if opcode == Opcode.READLINK:
        return {"target": payload}
    if opcode in (Opcode.READDIR, Opcode.READDIRPLUS):
        return {"entries": _count(payload, opcode == Opcode.READDIRPLUS), "bytes": size}
    return {"bytes": size}


def _fields(layout: Layout, data: bytes) -> Fields:
    values = zip(layout.fields, layout.unpack_from(data), strict=True)
    return {name: value for name, value in values if name not in _PADDING}


def _name_init_flags(fields: Fields) -> None:
    low, high = fields["flags"], fields.pop("flags2", 0)
    if isinstance(low, int) and isinstance(high, int):
        fields["flags"] = _flag_names(InitFlag, low | high << 32)


def _flag_names(group: type, flags: int) -> str:
    """``ASYNC_READ|MAX_PAGES|0x80000000000``."""
    found = [name for bit, name in wire.names(group).items() if flags & bit]
    rest = flags & ~sum(bit for bit in wire.names(group))
    return "|".join([*found, hex(rest)] if rest else found)


def _count(listing: bytes, plus: bool) -> int:
    ahead = wire.ENTRY_OUT.size if plus else 0
    count = position = 0
    while position + ahead + wire.DIRENT.size <= len(listing):
        length = wire.DIRENT.unpack_from(listing, position + ahead)[2]
        position += ahead + wire.DIRENT.size + wire.rec_align(length)
        count += 1
    return count


def _shown(opcode: int, name: str, value: object) -> bool:
    if not value and name not in _ALWAYS:
        return False
    return name in _BRIEF or _REPLIES.get(opcode) not in (wire.ENTRY_OUT, wire.ATTR_OUT, wire.STATX_OUT)


def _word(name: str, value: object) -> str:
    if isinstance(value, bytes):
        text = "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in value)
        return f'{name}=b"{text}"'
    if value is True:
        return name
    if name in _OCTAL and isinstance(value, int):
        return f"{name}={value:06o}"
    return f"{name}={value}"


def _opcode_name(opcode: int) -> str:
    return _OPCODES.get(opcode, f"OPCODE_{opcode}")

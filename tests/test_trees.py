"""The measuring instrument measured: snapshots of trees made here, text there and back, differences found."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trees import (
    KINDS,
    ROOT,
    Record,
    Tree,
    difference,
    escape,
    read_expected,
    snapshot,
    unescape,
    with_directory_links,
    write_expected,
)

NUMBER = st.none() | st.integers(0, 2**64)
RECORDS = st.builds(
    Record,
    kind=st.sampled_from(sorted(KINDS.values())),
    mode=st.none() | st.integers(0, 0o7777),
    uid=NUMBER,
    gid=NUMBER,
    size=NUMBER,
    mtime_ns=st.none() | st.integers(-(2**70), 2**70),
    nlink=NUMBER,
    first=st.binary(min_size=1),
    rdev=st.none() | st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)),
    target=st.none() | st.binary(),
    digest=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    xattrs=st.none()
    | st.lists(st.tuples(st.binary(min_size=1), st.binary())).map(lambda x: tuple(sorted(x))),
)
TREES = st.dictionaries(st.binary(min_size=1), RECORDS)


@given(TREES)
def test_text_there_and_back(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    path = tmp_path_factory.getbasetemp() / "there-and-back.expected"
    write_expected(path, tree, ["a comment", "another"])
    assert read_expected(path) == tree
    assert path.read_text("ascii").startswith("# a comment\n# another\n")


@given(st.binary())
def test_escape_is_one_word_and_undone(data: bytes) -> None:
    text = escape(data)
    assert text.isascii()
    assert text.split() == ([text] if text else [])
    assert unescape(text) == data


@pytest.mark.parametrize(
    "line",
    [
        "a file 0644 0 0 0 0",
        "a thing 0644 0 0 0 0 1",
        "a file 0944 0 0 0 0 1",
        "a file 0644 0 0 0 1.5 1",
        "a file 0644 0 0 0 0 1 colour=red",
        "a file 0644 0 0 0 0 1 extra",
        "\\xZZ file 0644 0 0 0 0 1",
        "a\nb",
    ],
)
def test_bad_text_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.expected"
    path.write_text(f"# comment\n{line}\n")
    with pytest.raises(ValueError, match=r"bad\.expected:2: "):
        read_expected(path)


def test_an_entry_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.expected"
    path.write_text("a fifo 0644 0 0 - 0 1\n" * 2)
    with pytest.raises(ValueError, match="a second time"):
        read_expected(path)


def test_snapshot_of_everything_an_ordinary_user_can_make(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "f").write_bytes(b"hello")
    os.chmod(tmp_path / "d" / "f", 0o4640)
    os.utime(tmp_path / "d" / "f", ns=(0, -1_500_000_000))
    os.link(tmp_path / "d" / "f", tmp_path / "b")
    os.symlink(b"no\xffwhere", root + b"/s")
    os.mkfifo(tmp_path / "p", 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(bytes(root + b"/u"))
    (tmp_path / os.fsdecode(b"\xff\n")).write_bytes(b"")

    tree = snapshot(tmp_path)

    assert list(tree) == sorted([ROOT, b"b", b"d", b"d/e", b"d/f", b"p", b"s", b"u", b"\xff\n"])
    kinds = {path: record.kind for path, record in tree.items()}
    assert (kinds[b"p"], kinds[b"s"], kinds[b"u"], kinds[b"d/e"]) == ("fifo", "symlink", "socket", "dir")
    file = tree[b"d/f"]
    assert (file.mode, file.size, file.mtime_ns, file.nlink, file.first) == (
        0o4640,
        5,
        -1_500_000_000,
        2,
        b"b",
    )
    assert file.digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (file.uid, file.gid) == (os.getuid(), os.stat(tmp_path / "b").st_gid)
    assert (tree[b"s"].target, tree[b"s"].size) == (b"no\xffwhere", 8)
    assert tree[b"d"].size is None
    assert tree[b"d"].first == b"d"
    assert with_directory_links(tree)[b"d"].nlink == 3
    assert snapshot(tmp_path, content=False)[b"b"].digest is None
    assert snapshot(tmp_path, xattrs=False)[b"b"].xattrs is None


def test_snapshot_reaches_below_path_max(tmp_path: Path) -> None:
    name = "n" * 250
    directory = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=directory)
        below = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    assert max(map(len, snapshot(tmp_path))) == 20 * 251 - 1


def test_snapshot_of_extended_attributes(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"")
    try:
        os.setxattr(file, "user.z", b"\0=\n")
        os.setxattr(file, "user.a=b", b"")
    except OSError as error:
        pytest.skip(f"this file system keeps no extended attributes: {error.strerror}")
    attributes = snapshot(tmp_path)[b"f"].xattrs
    assert attributes is not None
    assert [pair for pair in attributes if pair[0].startswith(b"user.")] == [
        (b"user.a=b", b""),
        (b"user.z", b"\0=\n"),
    ]


PLAIN = Record("file", 0o644, 0, 0, 1, 5, 1, b"a", None, None, "00" * 32, ())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "fifo"},
        {"mode": 0o600},
        {"uid": 1},
        {"gid": 1},
        {"size": 2},
        {"mtime_ns": 6},
        {"nlink": 2},
        {"first": b"b"},
        {"digest": "11" * 32},
        {"xattrs": ((b"user.a", b"1"),)},
    ],
)
def test_every_field_can_differ(change: dict[str, Any]) -> None:
    (line,) = difference({b"a": PLAIN}, {b"a": PLAIN._replace(**change)})
    assert line.startswith(f"a: {next(iter(change))}: expected ")


def test_unstated_differs_from_nothing() -> None:
    vague = Record("file", None, None, None, None, None, None, b"a", None, None, None, None)
    assert difference({b"a": vague}, {b"a": PLAIN}) == []
    assert difference({b"a": PLAIN}, {b"a": vague}) == []


def test_missing_and_unexpected_entries() -> None:
    assert difference({b"a b": PLAIN}, {b"c": PLAIN}) == ["a\\x20b: missing", "c: unexpected file"]

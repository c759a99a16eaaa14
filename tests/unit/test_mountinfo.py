"""The mount table: lines taken apart, escapes undone, the right mount found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount import mountinfo
from rofuse_mount.mountinfo import MountEntry

TABLE = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
40 27 0:38 / /mnt/a\\040b ro,nosuid,nodev,relatime - fuse.rofuse /x/y\\134z\\012.tar ro,user_id=0,group_id=0
41 27 0:39 / /mnt rw - tmpfs tmpfs rw
42 41 0:40 / /mnt/s ro - fuse.rofuse first ro
43 42 0:41 / /mnt/s ro - fuse.rofuse second ro
44 43 0:42 / /mnt/s rw - tmpfs third rw
"""


def table() -> list[MountEntry]:
    return list(mountinfo.parse(TABLE))


def test_a_line_is_taken_apart() -> None:
    entry = table()[2]
    assert (entry.mount_id, entry.parent_id, entry.major, entry.minor) == (40, 27, 0, 38)
    assert entry.mountpoint == b"/mnt/a b"
    assert entry.source == b"/x/y\\z\n.tar"
    assert entry.options == {b"ro", b"nosuid", b"nodev", b"relatime"}
    assert entry.super_options == {b"ro", b"user_id=0", b"group_id=0"}
    assert entry.ours


def test_optional_fields_are_passed_over() -> None:
    entry = table()[1]
    assert (entry.fstype, entry.source) == (b"ext4", b"/dev/vda")
    assert not entry.ours


def test_the_mount_on_top_is_found_in_any_order() -> None:
    for entries in (table(), table()[::-1]):
        found = mountinfo.find(b"/mnt/s", entries)
        assert found is not None
        assert found.source == b"third"
    assert mountinfo.find(b"/mnt/t", table()) is None


@pytest.mark.parametrize(
    "line", [b"", b"1 2 3", b"1 2 0:1 / / rw - ext4", b"x 2 0:1 / / rw - t s o", b"\0" * 9]
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        MountEntry(line)


@given(st.binary())
def test_escapes_are_undone(name: bytes) -> None:
    escaped = b"".join(b"\\%03o" % c if bytes((c,)) in b" \t\n\\" else bytes((c,)) for c in name)
    assert mountinfo.unescape(escaped) == name


@pytest.mark.parametrize("name", [b"\\", b"\\0", b"\\08x", b"\\400", b"a\\", b"\\\\040"])
def test_what_is_no_escape_means_itself(name: bytes) -> None:
    assert mountinfo.unescape(name) == name.replace(b"\\040", b" ")


def test_the_real_table_has_a_root() -> None:
    assert mountinfo.find(b"/") is not None

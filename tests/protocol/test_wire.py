"""The transcription of the kernel header."""

from __future__ import annotations

import struct

import pytest

from rofuse_mount import wire
from rofuse_mount.wire import InitFlag, Layout, NotifyCode, Opcode, OpenFlag, names

LAYOUTS = [value for value in vars(wire).values() if isinstance(value, Layout)]

# sizeof, as gcc has it for include/uapi/linux/fuse.h
SIZES = {
    "in_header": 40, "out_header": 16, "init_out": 64, "attr": 88, "entry_out": 128, "attr_out": 104,
    "getattr_in": 16, "open_in": 8, "open_out": 16, "read_in": 40, "release_in": 24, "flush_in": 24,
    "forget_in": 8, "batch_forget_in": 8, "forget_one": 16, "access_in": 8, "getxattr_in": 8, "getxattr_out": 8,
    "dirent": 24, "direntplus": 152, "statfs_out": 80, "kstatfs": 80, "statx_in": 24, "statx_out": 288,
    "statx": 256, "sx_time": 16, "lseek_in": 24, "lseek_out": 8, "ioctl_in": 32, "ioctl_out": 16,
    "ioctl_iovec": 16, "poll_in": 24, "poll_out": 8, "interrupt_in": 8, "bmap_in": 16, "bmap_out": 8,
    "fsync_in": 16, "lk_in": 48, "lk_out": 24, "file_lock": 24, "setattr_in": 88, "write_in": 40, "write_out": 8,
    "setxattr_in": 16, "mknod_in": 16, "mkdir_in": 8, "rename_in": 8, "rename2_in": 16, "link_in": 8,
    "create_in": 16, "fallocate_in": 32, "copy_file_range_in": 56, "copy_file_range_out": 8,
    "setupmapping_in": 40, "removemapping_in": 4, "removemapping_one": 16, "syncfs_in": 8,
    "cuse_init_in": 16, "cuse_init_out": 72, "notify_poll_wakeup_out": 8, "notify_inval_inode_out": 24,
    "notify_inval_entry_out": 16, "notify_delete_out": 24, "notify_store_out": 24, "notify_retrieve_out": 32,
    "notify_retrieve_in": 40, "notify_prune_out": 16, "backing_map": 16, "secctx": 8, "secctx_header": 8,
    "ext_header": 8, "supp_groups": 4, "uring_ent_in_out": 32, "uring_req_header": 288, "uring_cmd_req": 24,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.size}")
def test_a_layout_has_its_size_and_a_name_for_each_value(layout: Layout) -> None:
    expected = {16, 64} if layout.name == "init_in" else {SIZES[layout.name]}
    assert layout.size in expected
    assert layout.format.startswith("<")
    assert len(layout.fields) == len(set(layout.fields)) == len(layout.unpack(bytes(layout.size)))


def test_every_structure_is_there() -> None:
    assert {layout.name for layout in LAYOUTS} == {*SIZES, "init_in"}


def test_a_wrong_size_cannot_be_imported() -> None:
    with pytest.raises(AssertionError, match="is 8 bytes, not 12"):
        Layout("slip", 12, "<Q", "field")


def test_layouts_pack_the_fields_they_name() -> None:
    values = dict(
        zip(wire.READ_IN.fields, wire.READ_IN.unpack(wire.READ_IN.pack(1, 2, 3, 4, 5, 6, 7)), strict=True)
    )
    assert values["fh"] == 1 and values["offset"] == 2 and values["size"] == 3 and values["flags"] == 6
    with pytest.raises(struct.error):
        wire.READ_IN.unpack_from(bytes(39))


def test_opcodes_are_complete_and_named() -> None:
    opcodes = names(Opcode)
    unused = {0, 7, 19}  # numbers the header skips
    assert set(opcodes) == set(range(54)) - unused | {4096, 4096 << 8, 26 << 24}
    assert opcodes[52] == "STATX"


def test_flags_are_single_bits_without_gaps() -> None:
    assert sorted(names(InitFlag)) == [1 << bit for bit in range(43)]
    assert sorted(names(OpenFlag)) == [1 << bit for bit in range(8)]
    assert sorted(names(NotifyCode)) == list(range(1, 10))


def test_ioctl_numbers_are_what_the_header_s_macros_make() -> None:
    def number(direction: int, index: int, size: int) -> int:
        return direction << 30 | size << 16 | wire.DEV_IOC_MAGIC << 8 | index

    assert number(2, 0, 4) == wire.DEV_IOC_CLONE
    assert number(1, 1, wire.BACKING_MAP.size) == wire.DEV_IOC_BACKING_OPEN
    assert number(1, 2, 4) == wire.DEV_IOC_BACKING_CLOSE
    assert number(0, 3, 0) == wire.DEV_IOC_SYNC_INIT


@pytest.mark.parametrize(("size", "aligned"), [(0, 0), (1, 8), (8, 8), (9, 16), (255, 256)])
def test_records_are_aligned_to_eight(size: int, aligned: int) -> None:
    assert wire.rec_align(size) == aligned

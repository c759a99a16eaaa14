"""Devices, extended attributes, times, owners, and headers for all."""

from __future__ import annotations

import stat
import struct
import tarfile

from testdata.recipes import NO_CTIME, archive_source, entry, python_archive, recipe, tiny
from testdata.workshop import BSDTAR, MTIME, Judge, Shop, run


@recipe("gnu", "ustar", "posix", "bsd-pax")
def devices(shop: Shop, archiver: str) -> None:
    """Character and block devices with small and large numbers, a fifo."""
    with shop.source() as source:
        source.node(b"null", stat.S_IFCHR, (1, 3))
        source.node(b"loop", stat.S_IFBLK, (7, 0))
        source.node(b"large-minor", stat.S_IFBLK, (8, 1_048_575))
        source.node(b"large-major", stat.S_IFCHR, (4_095, 255))
        source.node(b"pipe", stat.S_IFIFO)
    archive_source(shop, archiver)
    shop.keep()


CAPABILITY = struct.pack(
    "<5I", 0x0200_0001, 1 << 10, 0, 0, 0
)  # linux/capability.h: net_bind_service, effective


@recipe("posix", "bsd-pax")
def xattrs(shop: Shop, archiver: str) -> None:
    """Binary, empty and long values, capabilities; names with the characters that pax records use, where they are
    GNU tar's (libarchive takes its way of writing them for the names)."""
    long = [("user.binary", bytes(range(256))), ("user.empty", b""), ("user.long", b"v" * 3_000)]
    odd = [("user.a=b", b"1"), ("user.50%", b"2"), ("user.gr\u00fcn", b"\n=\0")]
    with shop.source() as source:
        source.file(b"capable", b"binary\n", mode=0o755, xattrs=[("security.capability", CAPABILITY)])
        source.directory(b"directory")
        source.file(b"directory/trusted", b"", xattrs=[("trusted.note", b"for root")])
        source.file(b"plain", b"none\n")
        source.file(b"user", b"some\n", xattrs=long)
        source.hardlink(b"user-too", b"user")
        if archiver == "posix":
            source.file(b"odd-names", b"=%\n", xattrs=odd)
    names = sorted(path.name for path in (shop.scratch / "source").iterdir())
    shop.gnu_tar("--format=posix", NO_CTIME, "--xattrs", "--xattrs-include=*", *names)
    if archiver == "bsd-pax":
        shop.bsdtar("--format=pax")
    shop.keep()


@recipe(judge=Judge(BSDTAR))
def xattrs_libarchive(shop: Shop, _: str) -> None:
    """The same in libarchive's own records alone: names as in a URL, values in base64."""
    xattrs(shop, "posix")
    shop.bsdtar("--format=pax", "--options=xattrheader=LIBARCHIVE")
    shop.keep()


@recipe("gnu", "posix", "bsd-pax", "python-pax")
def times(shop: Shop, archiver: str) -> None:
    """Nanoseconds where the format has them; before 1970, after 2038 and after 2242 (eleven octal digits)."""
    second = 10**9
    moments = [0, 999_999_999, -second, -3 * second // 2, -(2**31) * second, 2**31 * second,
               2**32 * second + 5, MTIME * second + 123_456_789, (8**11 - 1) * second, 8**11 * second,
               9_999_999_999 * second + 100]  # fmt: skip
    if archiver != "python-pax":
        moments += [1, -1]  # which the standard library writes as 1e-09
    with shop.source() as source:
        for number, mtime_ns in enumerate(moments):
            source.file(b"%d" % number, mtime_ns=mtime_ns)
        source.directory(b"directory", mtime_ns=MTIME * second + 999_999_999)
        source.symlink(b"symlink", b"1")
    archive_source(shop, archiver)
    shop.keep()


@recipe("gnu", "posix", "bsd-pax")
def owners(shop: Shop, archiver: str) -> None:
    """Numbers beyond seven octal digits, up to the last that can be an owner."""
    with shop.source() as source:
        for uid, gid in [(2_097_151, 2_097_152), (65_534, 65_534), (3_000_000_000, 0), (0, 4_294_967_294)]:
            source.file(b"%d-%d" % (uid, gid), owner=(uid, gid))
    archive_source(shop, archiver)
    shop.keep()


@recipe()
def global_header(shop: Shop, _: str) -> None:
    """pax records for all members that follow; a member's own come first."""
    own = entry("own", b"own mtime\n")
    own[0].pax_headers = {"mtime": "1500000000.25", "uid": "77"}
    python_archive(
        shop,
        entry("all", b"the archive's mtime and owner\n"),
        own,
        format=tarfile.PAX_FORMAT,
        pax_headers={"mtime": "1600000000.5", "uid": "4242", "comment": "for all"},
    )
    shop.keep()


@recipe()
def git_archive(shop: Shop, _: str) -> None:
    """git archive: a global header with the commit's number, times of the commit, a prefix."""
    with shop.source() as source:
        tiny(source)
        source.symlink(b"link", b"two")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "import"],
                      ["archive", "--prefix=tiny-1.0/", "-o", str(shop.archive), "HEAD"]):  # fmt: skip
        date = f"{MTIME} +0000"
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "tar.umask=022")
        run(["env", f"GIT_AUTHOR_DATE={date}", f"GIT_COMMITTER_DATE={date}", "git", *identity, *arguments],
            cwd=shop.scratch / "source")  # fmt: skip
    shop.keep()

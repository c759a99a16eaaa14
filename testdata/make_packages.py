"""Makes the packages of this folder and what is expected of them, as ``make.py`` makes the tar archives.

    python3 -m testdata.make_packages [NAME...]        all, or those whose names contain one of the words

needs: dpkg, rpm, binutils, bzip2, libarchive-tools, xz-utils, zstd; as root on Debian.

Names
- ``deb-COMPRESSION.deb`` by dpkg-deb, ``deb-old-COMPRESSION.deb`` by ar of what dpkg-deb reads and no longer writes.
- ``rpm-COMPRESSION.rpm`` by rpmbuild. Two of all are there compressed as well, whole.
- ``rpm-capabilities.rpm`` has files with some; it is what rpm installs in a root of its own: bsdtar knows nothing of
  them.
- ``.expected`` and ``should-fail-*`` are as in ``make.py``. Of a deb, control and data were extracted by dpkg-deb and
  tar into directories of these names, and what else there is by ar.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from testdata.workshop import MTIME, Source, noise, prose, run
from tests.trees import ROOT, Tree, snapshot, with_directory_links, write_expected

FOLDER = Path(__file__).parent
LATER = MTIME + 86_400  # than all that is in a package

DPKG = ("xz", "gzip", "zstd", "none")
AR = {"bzip2": ("bzip2", ".bz2"), "lzma": ("lzma", ".lzma")}
RPMBUILD = {
    "gzip": "w9.gzdio",
    "bzip2": "w9.bzdio",
    "xz": "w6.xzdio",
    "lzma": "w6.lzdio",
    "zstd": "w19.zstdio",
    "none": "w.ufdio",
    "capabilities": "w9.gzdio",
}
CAPABILITIES = {"/usr/share/noise": "cap_net_raw,cap_net_admin=ep", "/usr/share/zero": "cap_setuid=p"}
"""Of files of that package: what libcap takes."""

PARTS = {"control": "--ctrl-tarfile", "data": "--fsys-tarfile"}
"""Not --extract, which leaves directories that hold symlinks with the time of day."""

TAR = "tar -xp --numeric-owner --delay-directory-restore -C"
INSTALL = "rpm --root DIRECTORY --dbpath /rpmdb --nodeps -i ARCHIVE"
BSDTAR = "bsdtar -x -p --numeric-owner -f ARCHIVE -C DIRECTORY"

CONTROL = b"""Package: sample
Version: 1.0
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: a package of nothing in particular
"""

SPEC = """Name: sample
Version: 1.0
Release: 1
Summary: a package of nothing in particular
License: MIT
BuildArch: noarch
%description
A package of nothing in particular.
%files
%defattr(-,root,root)
%dir /empty
/opt
/usr/bin
%attr(0640,daemon,mail) /usr/share/text
/usr/share/noise
/usr/share/zero
%ghost /ghost
"""


def content(root: Path) -> None:
    """What the packages hold: files, hard links, a symlink, directories that are held and such that are not."""
    with Source(root) as source:
        source.directory(b"empty")
        source.directory(b"opt", mode=0o700)
        source.file(b"opt/set-uid", b"#!/bin/sh\n", mode=0o4755)
        source.directory(b"usr")
        source.directory(b"usr/bin")
        source.file(b"usr/bin/first", b"#!/bin/sh\nexit 0\n", mode=0o755)
        source.hardlink(b"usr/bin/second", b"usr/bin/first")
        source.hardlink(b"usr/bin/third", b"usr/bin/first")
        source.symlink(b"usr/bin/link", b"first")
        source.directory(b"usr/share")
        source.file(b"usr/share/text", prose(1, 30_000))
        source.file(b"usr/share/noise", noise(1, 5_001))
        source.file(b"usr/share/zero")


def command(*words: str | Path, cwd: Path | None = None) -> bytes:
    """As ``run``, with the time of day stopped."""
    return run(["env", f"SOURCE_DATE_EPOCH={LATER}", *words], cwd=cwd)


def deb(scratch: Path, archive: Path, compression: str) -> None:
    root = scratch / "source"
    content(root)
    with Source(scratch / "DEBIAN") as control:
        control.file(b"control", CONTROL)
        control.file(b"postinst", b"#!/bin/sh\n", mode=0o755)
        control.file(b"md5sums", prose(2, 400))
    shutil.move(scratch / "DEBIAN", root)
    os.utime(root, (MTIME, MTIME))
    command("dpkg-deb", f"-Z{compression}", "--uniform-compression", "--build", root, archive)


def old_deb(scratch: Path, archive: Path, compression: str) -> None:
    tool, ending = AR[compression]
    deb(scratch, scratch / "plain.deb", "none")
    run(["ar", "x", scratch / "plain.deb"], cwd=scratch)
    (scratch / "_signature").write_bytes(noise(3, 33))
    members = ["debian-binary", "_signature"]
    for part, packer, suffix in (("control.tar", "gzip", ".gz"), ("data.tar", tool, ending)):
        options = "-nc" if packer == "gzip" else "-c"
        (scratch / (part + suffix)).write_bytes(run([packer, options, scratch / part]))
        members.append(part + suffix)
    run(["ar", "rcSD", archive, *members], cwd=scratch)


def rpm(scratch: Path, archive: Path, compression: str) -> None:
    content(scratch / "source")
    ghost = scratch / "source" / "ghost"
    ghost.write_bytes(b"not packed\n")
    os.utime(ghost, (MTIME, MTIME))
    install = f"%install\nmkdir -p %{{buildroot}}\ncp -a {scratch}/source/. %{{buildroot}}\n"
    spec = SPEC
    for path, text in CAPABILITIES.items() if compression == "capabilities" else ():
        spec = spec.replace(f"\n{path}\n", f"\n%caps({text}) {path}\n")
    (scratch / "sample.spec").write_text(spec.replace("%files\n", install + "%files\n"))
    defines = {
        "_topdir": str(scratch / "top"),
        "_rpmdir": str(scratch / "rpms"),
        "_buildhost": "localhost",
        "_binary_payload": RPMBUILD[compression],
        "use_source_date_epoch_as_buildtime": "1",
        "__os_install_post": "%{nil}",
    }
    words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    command("rpmbuild", "-bb", "--quiet", *words, scratch / "sample.spec")
    shutil.copyfile(next((scratch / "rpms").rglob("*.rpm")), archive)


def judge_deb(archive: Path, scratch: Path) -> Tree:
    root = scratch / "judged"
    for part, option in PARTS.items():
        (root / part).mkdir(parents=True)
        tar = run(["dpkg-deb", option, archive])
        run([*shlex.split(TAR), root / part], stdin=tar)
    others = [name for name in run(["ar", "t", archive]).decode().split() if ".tar" not in name]
    run(["ar", "xo", archive, *others], cwd=root)
    return implied(with_directory_links(snapshot(root)), {ROOT})


def judge_rpm(archive: Path, scratch: Path, judge: str) -> Tree:
    root = scratch / "judged"
    root.mkdir()
    words = {"ARCHIVE": str(archive), "DIRECTORY": str(root)}
    run([words.get(word, word) for word in shlex.split(judge)])
    shutil.rmtree(root / "rpmdb", ignore_errors=True)
    listing = run(["bsdtar", "-tf", archive]).decode().splitlines()
    held = {os.path.normpath(name).encode() for name in listing}
    tree = with_directory_links(snapshot(root))
    if judge == INSTALL:  # leaves directories that hold something with the time of day
        tree |= {p: record._replace(mtime_ns=None) for p, record in tree.items() if record.kind == "dir"}
    return implied(tree, {path for path, record in tree.items() if record.kind == "dir"} - held)


def implied(tree: Tree, paths: set[bytes]) -> Tree:
    """The tree, with nothing stated of directories that the archive does not hold."""
    for path in paths:
        tree[path] = tree[path]._replace(mode=0o755, uid=None, gid=None, mtime_ns=None)
    return tree


def make(name: str, scratch: Path) -> None:
    kind, _, compression = name.partition("-")
    archive = FOLDER / f"{name}.{kind}"
    archive.unlink(missing_ok=True)
    if kind == "rpm":
        rpm(scratch, archive, compression)
        judge = INSTALL if compression == "capabilities" else BSDTAR
        tree, made = judge_rpm(archive, scratch, judge), f"{version(shlex.split(judge)[0])}: {judge}"
    else:
        old = compression.startswith("old-")
        (old_deb if old else deb)(scratch, archive, compression.removeprefix("old-"))
        commands = (f"dpkg-deb {option} ARCHIVE | {TAR} {part}" for part, option in PARTS.items())
        made = f"{version('dpkg-deb')}: " + "; ".join(commands)
        tree = judge_deb(archive, scratch)
    os.chmod(archive, stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
    write_expected(FOLDER / f"{name}.expected", tree, [made.replace("ARCHIVE", archive.name)])
    if name in ("deb-xz", "rpm-none"):
        (FOLDER / f"{archive.name}.zst").write_bytes(run(["zstd", "-qc", "-19", archive]))
    if name == "rpm-xz":
        (FOLDER / "should-fail-rpm-cut-in-header.rpm").write_bytes(archive.read_bytes()[:5_000])


def version(tool: str) -> str:
    return run([tool, "--version"]).decode().splitlines()[0].rstrip(".")


NAMES = [
    *(f"deb-{compression}" for compression in DPKG),
    *(f"deb-old-{compression}" for compression in AR),
    *(f"rpm-{compression}" for compression in RPMBUILD),
]


def main(words: list[str]) -> None:
    os.umask(0o022)
    for name in NAMES:
        if not words or any(word in name for word in words):
            print(name, flush=True)
            with tempfile.TemporaryDirectory(prefix="testdata-") as scratch:
                make(name, Path(scratch))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Archives by GNU tar, bsdtar and Python, read here and by their own makers: both must tell the same story."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from rofuse_formats.archives.tar import FORMAT
from tests.formats.tar_support import Recorder, name_of, python_kind, scan

GNU_FORMATS = ["v7", "oldgnu", "gnu", "ustar", "posix"]
BSD_FORMATS = ["v7", "ustar", "gnutar", "pax", "rpax"]
PYTHON_FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
NO_LONG_NAMES = {"v7", "ustar", tarfile.USTAR_FORMAT}

# What runs without .ci/setup, which installs it, may lack bsdtar; GNU tar and tarfile judge there.
needs_bsdtar = pytest.mark.skipif(shutil.which("bsdtar") is None, reason="bsdtar is not installed")


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    """A directory with something of every kind, and only names and times that every dialect can hold."""
    root = os.fsencode(tmp_path / "tree")
    os.mkdir(root)
    os.mkdir(root + b"/dir")
    for name, content in (
        (b"empty", b""),
        (b"one", b"1"),
        (b"dir/block", b"b" * 512),
        (b"dir/more", os.urandom(5000)),
        (b"\xff\xfe not text", b"x"),
        (b"new\nline=", b"y"),
        (b"n\xc3\xa4me", b"z"),
        (b"n" * 90, b"long"),
    ):
        with open(root + b"/" + name, "wb") as out:
            out.write(content)
        os.utime(root + b"/" + name, ns=(10**18 + 7, 1_234_567_890_000_000_000 + len(content)))
    os.chmod(root + b"/one", 0o4751)
    os.symlink(b"dir/../one", root + b"/symlink")
    os.symlink(b"\xff" * 95, root + b"/dangling")
    os.mkfifo(root + b"/fifo", 0o640)
    os.link(root + b"/one", root + b"/zhard")
    os.chmod(root + b"/dir", 0o1750)
    return root


def suited(root: bytes, form: str | int) -> None:
    """Takes out of the tree, or adds to it, what a dialect cannot or can hold."""
    if form == "v7":
        os.unlink(root + b"/fifo")
    if form in NO_LONG_NAMES:
        return
    deep = root
    for letter in b"abc":
        deep += b"/" + bytes([letter]) * 120
        os.mkdir(deep)
        with open(deep + b"/" + b"f" * 200, "wb") as out:
            out.write(deep)
    os.symlink(b"t" * 300, root + b"/long target")
    os.link(deep + b"/" + b"f" * 200, root + b"/zz hard")


def run(*command: str | bytes) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def gnu_tar(archive: Path, root: bytes, *options: str) -> bytes:
    run(
        "tar",
        *options,
        "--sort=name",
        "-C",
        os.path.dirname(root),
        "-cf",
        str(archive),
        os.path.basename(root),
    )
    return archive.read_bytes()


def against_tarfile(archive: Path) -> Recorder:
    """Reads the archive here and by ``tarfile``, and compares every member; returns what was read here."""
    data = archive.read_bytes()
    assert FORMAT.recognise(data[: 1 << 16])
    ours = scan(data)
    assert ours.damages == []
    links = dict(ours.links)
    by_path = ours.by_path
    with tarfile.open(archive, errors="surrogateescape") as theirs:
        members = theirs.getmembers()
        assert len(members) == len(ours.members) + len(ours.links)
        for their in members:
            name = name_of(their)
            if their.islnk():
                assert links[name] == os.fsencode(their.linkname)
                continue
            our = by_path[name.rstrip(b"/")]
            assert (our.kind, our.mode & 0o7777) == (python_kind(their), their.mode & 0o7777)
            assert our.owner == (their.uid, their.gid, os.fsencode(their.uname), os.fsencode(their.gname))
            assert our.mtime.seconds == int(their.mtime // 1)
            if their.issym():
                assert our.target == os.fsencode(their.linkname)
                assert our.size == len(our.target)
            elif their.isfile():
                assert our.size == their.size
                content = theirs.extractfile(their)
                assert content is not None
                assert ours.content(our) == content.read()
            elif their.isdev() and not their.isfifo():
                assert our.data == os.makedev(their.devmajor, their.devminor)
            else:
                assert (our.size, our.data) == (0, 0)
    return ours


def against_tree(ours: Recorder, root: bytes, *, nanoseconds: bool | None) -> None:
    """Compares what was read with the files that were archived; ``nanoseconds`` None: stored as the maker likes."""
    top = os.path.dirname(root) + b"/"
    names = set(ours.by_path) | {path for path, _ in ours.links}
    found = {
        os.path.join(where, name)[len(top) :] for where, dirs, files in os.walk(root) for name in dirs + files
    }
    assert names == found | {os.path.basename(root)}
    for path, member in ours.by_path.items():
        status = os.lstat(top + path)
        assert member.mode == status.st_mode
        assert member.owner[:2] == (status.st_uid, status.st_gid)
        seconds, nanos = divmod(status.st_mtime_ns, 10**9)
        assert member.mtime.seconds == seconds
        if nanoseconds is not None:
            assert member.mtime.nanoseconds == (nanos if nanoseconds else 0)
        if stat.S_ISREG(member.mode):
            with open(top + path, "rb") as file:
                assert ours.content(member) == file.read()
        elif stat.S_ISLNK(member.mode):
            assert member.target == os.readlink(top + path)


@pytest.mark.parametrize("form", GNU_FORMATS)
def test_gnu_tar(tmp_path: Path, tree: bytes, form: str) -> None:
    suited(tree, form)
    gnu_tar(tmp_path / "a.tar", tree, f"--format={form}")
    ours = against_tarfile(tmp_path / "a.tar")
    against_tree(ours, tree, nanoseconds=form == "posix")
    assert ours.warnings == []


@needs_bsdtar
@pytest.mark.parametrize("form", BSD_FORMATS)
def test_bsdtar(tmp_path: Path, tree: bytes, form: str) -> None:
    suited(tree, form)
    archive = tmp_path / "a.tar"
    run("bsdtar", "--format", form, "-C", os.path.dirname(tree), "-cf", str(archive), os.path.basename(tree))
    ours = against_tarfile(archive)
    against_tree(ours, tree, nanoseconds={"pax": True, "rpax": None}.get(form, False))
    assert ours.warnings == []


@pytest.mark.parametrize("form", PYTHON_FORMATS)
def test_python(tmp_path: Path, tree: bytes, form: int) -> None:
    suited(tree, form)
    with tarfile.open(tmp_path / "a.tar", "w", format=form, errors="surrogateescape") as archive:
        archive.add(os.fsdecode(tree), arcname="tree")
    ours = against_tarfile(tmp_path / "a.tar")
    names = set(ours.by_path) | {path for path, _ in ours.links}
    assert len(names) == 1 + sum(len(dirs) + len(files) for _, dirs, files in os.walk(tree))
    assert ours.warnings == []


@needs_bsdtar
@pytest.mark.parametrize("form", ["gnu", "posix", "ustar"])
def test_as_bsdtar_extracts_it(tmp_path: Path, tree: bytes, form: str) -> None:
    os.rename(tree + b"/\xff\xfe not text", tree + b"/text")  # pax: bsdtar insists on UTF-8
    os.unlink(tree + b"/dangling")
    suited(tree, form)
    data = gnu_tar(tmp_path / "a.tar", tree, f"--format={form}")
    (tmp_path / "out").mkdir()
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        ["bsdtar", "-C", tmp_path / "out", "-xpf", tmp_path / "a.tar"], check=True, env=environment
    )
    against_tree(scan(data), os.fsencode(tmp_path / "out/tree"), nanoseconds=form == "posix")


SPARSE = [
    ["--format=gnu", "-S"],
    ["--format=oldgnu", "-S"],
    ["--format=posix", "-S", "--sparse-version=0.0"],
    ["--format=posix", "-S", "--sparse-version=0.1"],
    ["--format=posix", "-S", "--sparse-version=1.0"],
]


@pytest.mark.parametrize("options", SPARSE, ids=" ".join)
def test_sparse_files(tmp_path: Path, options: list[str]) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    shapes = {
        "hole": [],
        "begin": [(0, b"first")],
        "end": [(1 << 20, b"last")],
        "few": [(65536, b"a" * 5000), (400_000, b"b" * 4096), (900_001, b"c")],
        "many": [(number * 65536, b"%d" % number * 500) for number in range(1, 150)],
    }
    for name, runs in shapes.items():
        with open(root / name, "wb") as out:
            for offset, data in runs:
                out.seek(offset)
                out.write(data)
            if name != "end":
                out.truncate(max([offset + len(data) for offset, data in runs] + [0]) + 300_000)
    (root / "zafter").write_bytes(b"what follows is found")
    gnu_tar(tmp_path / "a.tar", os.fsencode(root), *options)
    ours = against_tarfile(tmp_path / "a.tar")
    against_tree(ours, os.fsencode(root), nanoseconds="--format=posix" in options)
    assert ours.by_path[b"tree/hole"].pieces == []
    pieces = ours.by_path[b"tree/many"].pieces
    assert pieces is not None
    assert len(pieces) >= 149


def test_incremental(tmp_path: Path, tree: bytes) -> None:
    snapshot = tmp_path / "snapshot"
    for round_ in range(2):
        gnu_tar(tmp_path / "a.tar", tree, "--format=gnu", f"--listed-incremental={snapshot}")
        ours = scan((tmp_path / "a.tar").read_bytes())
        assert not (ours.damages or ours.passed or ours.warnings)
        assert stat.S_ISDIR(ours.by_path[b"tree/dir"].mode)
        assert ours.by_path[b"tree/dir"].size == 0
        assert (b"tree/dir/more" in ours.by_path) == (round_ == 0)
    atime, ctime, _ = ours.by_path[b"tree/dir"].times  # only incremental archives have them
    assert atime is not None
    assert ctime is not None
    assert abs(ctime.seconds - os.stat(tree + b"/dir").st_ctime) < 2


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_label(tmp_path: Path, tree: bytes, form: str) -> None:
    data = gnu_tar(tmp_path / "a.tar", tree, f"--format={form}", "-V", "The label")
    assert FORMAT.recognise(data)
    ours = scan(data)
    against_tree(ours, tree, nanoseconds=form == "posix")
    assert not (ours.warnings or ours.passed)


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_multi_volume(tmp_path: Path, form: str) -> None:
    (tmp_path / "big").write_bytes(os.urandom(30_000))
    (tmp_path / "small").write_bytes(b"small")
    subprocess.run(
        [
            "tar",
            f"--format={form}",
            "-M",
            "-L",
            "20",
            "-C",
            tmp_path,
            "-cf",
            tmp_path / "1.tar",
            "big",
            "small",
        ],
        input=f"n {tmp_path}/2.tar\n".encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    first = scan((tmp_path / "1.tar").read_bytes())
    assert first.paths == [b"big"]
    assert first.members[0].size == 30_000
    assert len(first.damages) == 1
    second = scan((tmp_path / "2.tar").read_bytes())
    assert second.passed == [(b"big", "multi-volume continuation")]
    assert second.paths == [b"small"]
    assert second.content(second.members[0]) == b"small"
    assert second.damages == []


def test_attributes_and_times(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    attributes = {
        b"user.plain": b"value",
        b"user.a=b%c": b"\0\xff\n=",
        b"user.empty": b"",
        b"user.long": b"v" * 1000,
    }
    try:
        for name, value in attributes.items():
            os.setxattr(path, name, value)
    except OSError:
        pytest.skip("the file system of tmp_path takes no user.* attributes, so tar has none to store")
    makers = [["tar", "--format=posix", "--xattrs"]]
    if shutil.which("bsdtar"):
        makers.append(["bsdtar", "--format=pax", "--xattrs"])
    for maker, mtime in zip(makers, (-1, 1_700_000_000_000_000_001), strict=False):
        # bsdtar writes times before 1970 that are not whole otherwise than POSIX has it
        os.utime(path, ns=(1_600_000_000_123_456_789, mtime))
        run(*maker, "-C", str(tmp_path), "-cf", str(tmp_path / "a.tar"), "file")
        member = scan((tmp_path / "a.tar").read_bytes()).by_path[b"file"]
        assert member.xattrs == attributes
        assert member.mtime == divmod(mtime, 10**9)
        assert member.times[1] == divmod(os.stat(path).st_ctime_ns, 10**9)


def test_devices(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, kind, major, minor in (
            ("null", tarfile.CHRTYPE, 1, 3),
            ("disk", tarfile.BLKTYPE, 259, 70000),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.devmajor, member.devminor = kind, major, minor
            archive.addfile(member)
    against_tarfile(tmp_path / "a.tar")


@pytest.mark.parametrize("form", PYTHON_FORMATS[1:])
def test_numbers_out_of_octal(tmp_path: Path, form: int) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for name, uid, gid, mtime in (("a", 4294967294, 1 << 30, -1), ("b", 3_000_000, 5, 1 << 40)):
            member = tarfile.TarInfo(name)
            member.uid, member.gid, member.mtime = uid, gid, mtime
            archive.addfile(member)
    against_tarfile(tmp_path / "a.tar")


def test_appended_archive(tmp_path: Path, tree: bytes) -> None:
    archive = tmp_path / "a.tar"
    gnu_tar(archive, tree)
    (tmp_path / "more").write_bytes(b"more")
    run("tar", "-C", str(tmp_path), "-rf", str(archive), "more")
    assert b"more" in against_tarfile(archive).paths


def test_empty_archive(tmp_path: Path) -> None:
    run("tar", "-cf", str(tmp_path / "a.tar"), "-T", "/dev/null")
    data = (tmp_path / "a.tar").read_bytes()
    assert FORMAT.recognise(data)
    ours = scan(data)
    assert not (ours.members or ours.warnings or ours.damages)

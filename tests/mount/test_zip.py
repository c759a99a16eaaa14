"""Zip archives through real mounts: passwords, code pages, and the errno of what cannot be read."""

from __future__ import annotations

import base64
import errno
import json
import os
import pty
import subprocess
import zipfile
from pathlib import Path

from testdata.by_hand import Member, archive, cp932
from tests.mount.command import COMMAND, Rofuse, becomes, rofuse

__all__ = ["rofuse"]

# "first\n" and "second\n" by Info-ZIP's zip 3.0: zip -X -P "a pass phrase"
ENCRYPTED = base64.b64decode("""
UEsDBAoACQAAAKqxblcqs0rHEgAAAAYAAAAFAAAAZmlyc3SqLVW9ulfkBLhBaPcD2lb0ur9QSwcIKrNKxxIAAAAGAAAAUEsDBAoA
CQAAAKqxbld+wA8GEwAAAAcAAAAGAAAAc2Vjb25kxUWd9/olR35u8iLUJU//4sxF8lBLBwh+wA8GEwAAAAcAAABQSwECHgMKAAkA
AACqsW5XKrNKxxIAAAAGAAAABQAAAAAAAAABAAAApIEAAAAAZmlyc3RQSwECHgMKAAkAAACqsW5XfsAPBhMAAAAHAAAABgAAAAAA
AAABAAAApIFFAAAAc2Vjb25kUEsFBgAAAAACAAIAZwAAAIwAAAAAAA==
""")


def written(folder: Path, data: bytes) -> Path:
    path = folder / "it.zip"
    path.write_bytes(data)
    return path


def error_of(path: Path) -> int | None:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno
    return None


def test_the_errno_of_what_cannot_be_read(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    wrong = Member(b"wrong", b"data", 0)
    data = archive(wrong, Member(b"unknown", b"data", 97, b"?"), Member(b"good", b"data\n"))
    data = data.replace(b"wrongdata", b"wrongDATA", 1)
    assert rofuse(written(folder, data), mountpoint).returncode == 0
    assert error_of(mountpoint / "wrong") == errno.EIO
    assert error_of(mountpoint / "wrong") == errno.EIO
    assert error_of(mountpoint / "unknown") == errno.EOPNOTSUPP
    assert (mountpoint / "good").read_bytes() == b"data\n"


def test_passwords(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    path, password, other = written(folder, ENCRYPTED), folder / "password", folder / "other"
    password.write_text("a pass phrase\n")
    other.write_text("another\n")
    assert "--password-file" in rofuse(path, mountpoint).stderr
    assert error_of(mountpoint / "first") == errno.EACCES
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse("--password-file", other, path, mountpoint).returncode == 14
    assert rofuse("--password-file", password, path, mountpoint).returncode == 0
    assert (mountpoint / "first").read_bytes() == b"first\n"


def on_terminal(rofuse: Rofuse, typed: bytes, *arguments: object) -> tuple[int, str]:
    """Exit status and what is shown, of the command on a terminal where this is typed when it asks."""
    ours, its = pty.openpty()
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, env=rofuse.environment, start_new_session=True
    ) as process:
        os.close(its)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
                if typed and shown.endswith(b": "):
                    os.write(ours, typed)
                    typed = b""
        except OSError:
            pass  # the other end is closed
        os.close(ours)
    return process.returncode, shown.decode()


def test_what_lacks_its_password_is_not_damaged(rofuse: Rofuse, folder: Path) -> None:
    path = written(folder, ENCRYPTED)
    result = rofuse("verify", "-q", path)
    assert (result.returncode, "--password-file" in result.stdout) == (14, True)
    result = rofuse("verify", path)
    assert "damaged" not in result.stdout and " encrypted\n" in result.stdout
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("stored", b"some bytes")
    data = bytearray(path.read_bytes())
    data[data.index(b"some bytes")] ^= 1
    path.write_bytes(data)
    result = rofuse("verify", path)
    assert result.returncode == 13
    assert "1 damaged, " in result.stdout and " encrypted\n" in result.stdout


def test_on_a_terminal_the_password_is_asked_for(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    path = written(folder, ENCRYPTED)
    status, shown = on_terminal(rofuse, b"another\n", path, mountpoint)
    assert status == 14
    assert "the password is wrong" in shown
    status, shown = on_terminal(rofuse, b"\n", path, mountpoint)
    assert status == 0
    assert "--password-file" in shown
    assert error_of(mountpoint / "first") == errno.EACCES
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    status, shown = on_terminal(rofuse, b"a pass phrase\n", path, mountpoint)
    assert status == 0
    assert "phrase" not in shown
    assert (mountpoint / "first").read_bytes() == b"first\n"
    assert rofuse("takeover", mountpoint).returncode == 0
    assert (mountpoint / "second").read_bytes() == b"second\n"


def test_code_pages(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    path = written(folder, cp932())
    assert "cp932" in rofuse(path, mountpoint).stderr
    assert "ソース.c" in os.listdir(mountpoint)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    assert rofuse("--encoding", "shift_jis", path, mountpoint).stderr == ""
    assert "ソース.c" in os.listdir(mountpoint)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    refused = rofuse("--encoding", "klingon", path, mountpoint)
    assert refused.returncode == 2
    assert "klingon" in refused.stderr
    assert rofuse("--encoding", "hex", path, mountpoint).returncode == 2


def test_verify(rofuse: Rofuse, folder: Path) -> None:
    stored = Member(b"stored", bytes(range(256)) * 8_000, 0)
    data = bytearray(archive(stored, Member(b"good", b"data\n")))
    data[1_000_000] ^= 1
    done = rofuse("verify", "--json", written(folder, bytes(data)))
    assert done.returncode != 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines if not line.get("ok", True)] == ["stored"]


def test_an_archive_in_parts_outlives_its_servers(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    """Each server is given all of them, and what lies at their paths meanwhile does not matter to those that serve."""
    data = archive(Member(b"stored", bytes(range(256)) * 4_000, 0), Member(b"deflated", b"text " * 50_000))
    parts = [folder / f"it.zip.{number:03}" for number in (1, 2, 3)]
    for number, part in enumerate(parts):
        part.write_bytes(data[number * 400_000 : (number + 1) * 400_000])
    assert rofuse(parts[1], mountpoint).returncode == 0
    stored = mountpoint / "stored"
    assert stored.read_bytes() == bytes(range(256)) * 4_000
    assert rofuse("takeover", mountpoint).returncode == 0
    assert (mountpoint / "deflated").read_bytes() == b"text " * 50_000
    parts[2].rename(folder / "other")
    parts[2].write_bytes(b"another file")
    refused = rofuse("takeover", mountpoint)
    assert refused.returncode != 0
    assert "it.zip.003" in refused.stderr
    assert stored.read_bytes() == bytes(range(256)) * 4_000


def test_a_missing_part(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    (folder / "it.zip.002").write_bytes(b"")
    refused = rofuse(folder / "it.zip.002", mountpoint)
    assert refused.returncode == 11
    assert "it.zip.001, is missing" in refused.stderr


def large_member(folder: Path) -> tuple[Path, bytes]:
    text = b"".join(b"line %d of what is deflated\n" % number for number in range(600_000))  # 18 MB
    return written(folder, archive(Member(b"large", text))), text


def test_seek_points_outlive_the_mount(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    path, text = large_member(folder)
    assert rofuse(path, mountpoint).returncode == 0
    assert (mountpoint / "large").read_bytes() == text
    assert becomes(lambda: [file.suffix for file in rofuse.indexes()] == [".points"])
    assert rofuse("takeover", mountpoint).returncode == 0
    with open(mountpoint / "large", "rb") as file:
        file.seek(len(text) - 5_000)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.read() == text[-5_000:]
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    (line,) = map(json.loads, rofuse("cache", "--json").stdout.splitlines())
    assert (line["kind"], line["source"]) == ("index", str(path))
    assert rofuse(path, mountpoint).returncode == 0
    assert (mountpoint / "large").read_bytes() == text
    assert rofuse("cache", "clear", path).returncode == 0
    assert rofuse.indexes() == []


def test_a_cache_that_cannot_be_written_costs_a_line_in_the_log(
    rofuse: Rofuse, folder: Path, mountpoint: Path
) -> None:
    path, text = large_member(folder)
    log = folder / "log"
    nowhere = {"XDG_CACHE_HOME": "/dev/null"}
    assert rofuse("--log-file", log, path, mountpoint, environment=nowhere).returncode == 0
    assert (mountpoint / "large").read_bytes() == text
    assert becomes(lambda: "seek points are not kept" in log.read_text())
    assert (mountpoint / "large").read_bytes() == text

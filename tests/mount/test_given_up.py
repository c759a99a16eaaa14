"""What is far away in an archive, and asked for by who does not live to see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from testdata.by_hand import Member, central_header, end, local_header
from tests.mount.command import Rofuse, becomes, rofuse
from tests.mount.test_supervised import is_gone

__all__ = ["rofuse"]

UNIT, UNITS = 64 << 20, 2000  # of zeros: two minutes of decoding

READ = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
if sys.argv[2] == "alone":
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no page besides: the kernel waits for this very reply
print("reads", flush=True)
os.pread(fd, 100, os.fstat(fd).st_size - 100)
"""


class Zeros(bytes):
    """Says that it is as long as it never was made."""

    def __len__(self) -> int:
        return UNIT * UNITS


def bomb(path: Path) -> Path:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    unit = compressor.compress(bytes(UNIT)) + compressor.flush(zlib.Z_FULL_FLUSH)
    member = Member(b"zeros", packed=unit * UNITS + b"\3\0")
    local = local_header(member)
    directory = central_header(member._replace(data=Zeros(), wide=True), 0)
    path.write_bytes(local + directory + end(1, len(directory), len(local)))
    return path


@pytest.fixture
def server(rofuse: Rofuse, folder: Path, mountpoint: Path) -> int:
    """Of the bomb; its pid."""
    assert rofuse(bomb(folder / "bomb.zip"), mountpoint).returncode == 0
    return int(json.loads(rofuse("status", "--json", mountpoint).stdout)["server_pid"])


def seconds_of(pid: int) -> float:
    """Of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rests(pid: int) -> bool:
    before = seconds_of(pid)
    time.sleep(0.3)
    return seconds_of(pid) == before


def killed_in_its_read(path: Path, how: str, server: int) -> None:
    before = seconds_of(server)
    with subprocess.Popen([sys.executable, "-c", READ, path, how], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        assert becomes(lambda: seconds_of(server) > before + 0.3)
        reader.kill()


@pytest.mark.parametrize("how", ["alone", "ahead"])
def test_decoding_ends_with_who_asked(server: int, mountpoint: Path, how: str) -> None:
    killed_in_its_read(mountpoint / "zeros", how, server)
    assert becomes(lambda: rests(server))


def test_the_next_reader_is_not_told_of_it(server: int, mountpoint: Path) -> None:
    killed_in_its_read(mountpoint / "zeros", "alone", server)
    script = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read(100_000))"
    found = subprocess.run(
        [sys.executable, "-c", script, mountpoint / "zeros"], capture_output=True, timeout=60, check=True
    )
    assert found.stdout == bytes(100_000)


def test_a_server_ends_with_its_mount(rofuse: Rofuse, server: int, mountpoint: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", READ, mountpoint / "zeros", "ahead"]) as reader:
        assert becomes(lambda: not rests(server))
        assert rofuse("umount", "--lazy", mountpoint).returncode == 0
        reader.kill()
    assert becomes(lambda: is_gone(server))

"""Codecs whose decoder is a program: what it is started with, what becomes of who reads whatever becomes of it."""

from __future__ import annotations

import gc
import io
import lzma
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

import rofuse_formats
from rofuse_formats import Limits, Settings
from rofuse_formats.available import supports
from rofuse_formats.codecs import grzip, lrzip, named
from rofuse_formats.errors import LimitError, MissingLibraryError, UnsupportedError
from rofuse_formats.programs import Program, decoding
from rofuse_formats.units import Place
from tests.formats.test_undivided import FailingSource
from tests.formats.units_support import Decoded, check_reads, clean, cursor_at
from tests.formats.zstd_support import BytesSource, mixed

pytestmark = pytest.mark.timeout(60)

DATA = mixed(700_000)
HEAD = grzip.MAGIC
# It is used where it is installed, and refused by name where not (tested below); .ci/setup installs it.
needs_lrzip = pytest.mark.skipif(lrzip.CODEC.program.find() is None, reason="needs lrzip")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program called grzip is looked for: a script of Python."""
    monkeypatch.setenv("PATH", f"relative:{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "grzip"


def write(path: Path, body: str) -> None:
    path.write_text(f"#!{sys.executable} -IS\nimport os, sys\nhead = os.read(0, {len(HEAD)})\n{body}\n")
    path.chmod(0o755)


COPY = "while data := os.read(0, 1 << 16): os.write(1, data)"


def test_what_it_is_started_with(stand_in: Path) -> None:
    """Fixed arguments, hardly any environment, three descriptors, a session of its own, and bounds on what it takes."""
    write(
        stand_in,
        f"""
import resource
found = [sys.argv[1:], sorted(os.environ), os.listdir('/proc/self/fd'), os.getcwd(), os.getsid(0) != {os.getsid(0)},
         resource.getrlimit(resource.RLIMIT_AS)[1] > 0, resource.getrlimit(resource.RLIMIT_FSIZE)[1],
         'NoNewPrivs:\\t1' in open('/proc/self/status').read()]
sys.stdout.write(repr(found))
""",
    )
    found = eval(Decoded("grzip", HEAD + DATA).data)
    words, environment, descriptors, folder, is_apart, is_bounded, may_write, is_harmless = found
    assert words == ["-d"] and folder == "/" and is_apart and is_bounded and may_write == 0 and is_harmless
    assert set(environment) <= {"PATH", "LC_ALL", "LRZIP", "LC_CTYPE"}
    assert len(descriptors) == 4  # the folder itself


def test_its_output_is_the_stream(stand_in: Path) -> None:
    write(stand_in, COPY)
    decoded = clean("grzip", HEAD + DATA, DATA)
    assert sum(end - start for start, end in decoded.unseekable) == len(DATA)
    check_reads(decoded, count=2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit(3)", "grzip: ended with status 3"),
        ("os.write(2, b'bad\\rCRC at 5\\n\\n'); sys.exit(1)", "grzip: bad; CRC at 5, before offset"),
        ("os.kill(os.getpid(), 11)", "grzip: ended with status 139"),
        ("os.write(2, b'x' * 900_000); sys.exit(1)", "grzip: x{200}, before"),
    ],
)
@pytest.mark.parametrize("first", ["", f"os.write(1, os.read(0, {1 << 16})); "])
def test_its_failure_is_damage(body: str, message: str, first: str, stand_in: Path) -> None:
    write(stand_in, first + body)
    decoded = Decoded("grzip", HEAD + DATA)
    assert DATA.startswith(decoded.data) and bool(decoded.data) == bool(first)
    assert decoded.passed.suspect == ([(0, len(decoded.data))] if first else [])
    (damage,) = decoded.damages
    assert re.search(message, damage)


def test_memory_is_bounded_and_said(stand_in: Path) -> None:
    write(stand_in, f"bytes({1 << 30})")
    with pytest.raises(LimitError, match=r"MemoryError.*--max-window raises"):
        Decoded("grzip", HEAD + DATA)
    assert not Decoded("grzip", HEAD + DATA, Limits(max_window=1 << 30)).damages


def test_files_are_bounded_and_said(stand_in: Path) -> None:
    stand_in.write_text(f"#!/bin/sh\nprintf x >{stand_in.parent}/written\n")
    stand_in.chmod(0o755)
    with pytest.raises(LimitError, match="grzip writes a file of more than the 0 MiB that it may"):
        Decoded("grzip", HEAD + DATA)


@pytest.mark.parametrize("body", ["while True: pass", "while True: os.write(2, b'.' * 99)"])
def test_silence_has_an_end(body: str, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SILENCE", 1)
    write(stand_in, body)
    decoded = Decoded("grzip", HEAD + DATA)
    assert "grzip did nothing for 1 seconds" in decoded.damages[0]


def is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


def ended(pid: int) -> bool:
    end = time.monotonic() + 20
    while not is_over(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return is_over(pid)


HANGS = "os.write(1, b'%d\\n' % os.getpid())\nwhile True: pass"


def test_it_ends_with_who_reads(stand_in: Path) -> None:
    write(stand_in, HANGS)
    decoder = grzip.CODEC.kind().decoder(BytesSource(HEAD + DATA), Place(0, 100), None, Limits())
    pid = int(decoder.read(100))
    assert not is_over(pid)
    del decoder
    gc.collect()
    assert ended(pid)


def test_it_ends_with_the_process(stand_in: Path) -> None:
    """Killed, so that it can end nothing itself."""
    write(stand_in, HANGS)
    program = """
import os, sys
sys.path[:0] = sys.argv[1:]
from rofuse_formats.codecs import grzip
from rofuse_formats.limits import Limits
from rofuse_formats.units import Place
from tests.formats.zstd_support import BytesSource
decoder = grzip.CODEC.kind().decoder(BytesSource(grzip.MAGIC + bytes(100)), Place(0, 100), None, Limits())
os.write(1, decoder.read(100))
os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", program, *filter(None, sys.path), os.getcwd()]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=30)
    assert done.returncode == -9 and ended(int(done.stdout))


def test_errors_of_the_source_pass(stand_in: Path) -> None:
    write(stand_in, COPY)
    with pytest.raises(OSError, match="Input/output error"):
        list(named("grzip").first_pass(FailingSource(HEAD + DATA), Limits()))


def test_who_forbids_it_is_told(stand_in: Path, tmp_path: Path) -> None:
    write(stand_in, f"open({str(tmp_path / 'started')!r}, 'w')")
    (tmp_path / "file.grz").write_bytes(HEAD + DATA)
    with pytest.raises(UnsupportedError, match="needs the program grzip, which --no-programs keeps"):
        rofuse_formats.open(tmp_path / "file.grz", Settings(limits=Limits(programs=False)), keep=False)
    assert not (tmp_path / "started").exists()


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lrzip").mkdir()
    (tmp_path / "grzip").write_text("not to be run")
    monkeypatch.setenv("PATH", str(tmp_path))
    for codec, head in (("grzip", HEAD), ("lrzip", b"LRZI\0\6" + bytes(30))):
        assert named(codec).recognise(head)
        with pytest.raises(MissingLibraryError, match=rf"needs the program {codec} \(package {codec}\)"):
            Decoded(codec, head)
    told = {support.name: support for support in supports()}
    assert not told["lrzip"].available and told["lrzip"].needs == ["lrzip"]
    assert told["grzip"].missing == ["needs the program grzip (package grzip)"]
    assert Program("lrzip", (), "lrzip").find() is None


@pytest.mark.parametrize("head", [b"", b"LRZI", b"LRZI\0\5abc", b"LRZI\1\6abc", HEAD[:11], b"x" + HEAD])
def test_others_are_none(head: bytes) -> None:
    assert not named("lrzip").recognise(head) and not named("grzip").recognise(head)


@needs_lrzip
def test_lrzip_has_a_temporary_file_and_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = mixed(3 << 20)
    source = subprocess.run(["lrzip", "-q", "-l"], input=data, stdout=subprocess.PIPE, check=True).stdout
    decoded = clean("lrzip", source, data)
    assert cursor_at(decoded.stream(), 2_000_000).read(1000) == data[2_000_000:2_001_000]
    assert list((tmp_path / "cache" / "rofuse-mount").iterdir()) == []


@needs_lrzip
def test_what_is_compressed_within_and_around(tmp_path: Path) -> None:
    """A tar in xz in lrz; and what is read of it without a spool."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(DATA)
        archive.addfile(member, io.BytesIO(DATA))
    inner = lzma.compress(buffer.getvalue(), preset=0)
    outer = subprocess.run(["lrzip", "-q", "-n"], input=inner, stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "a.tar.xz.lrz").write_bytes(outer)
    for spool in (True, False):
        with rofuse_formats.open(tmp_path / "a.tar.xz.lrz", Settings(spool=spool), keep=False) as found:
            assert found.compression == ["lrzip", "xz"]
            assert found.open("file").read() == DATA

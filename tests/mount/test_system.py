"""Where others call the command: mount(8), fstab, systemd, and containers with less than a machine has.

What is tested is what the README shows. Each test has a mount namespace of its own, in which the command lies where
mount(8) looks for it and /etc/fstab is the test's, and which ends with the shell that runs in it.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.command import SECONDS

README = Path(__file__).parents[2] / "README.md"
SAMPLE = Path(__file__).parents[2] / "testdata" / "sample.tar.zst"
COMMAND = Path(sys.executable).parent / "rofuse-mount"
DOCKER = (
    "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,"
    "+sys_chroot,+mknod,+audit_write,+setfcap"
)

Inside = Callable[[str], str]


def block(language: str, holding: str) -> str:
    """A block of the README."""
    found = [
        text for text in re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.S) if holding in text
    ]
    assert len(found) == 1
    return str(found[0])


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"needs {tool}")


@pytest.fixture
def inside(root: None, fuse: None, folder: Path) -> Inside:
    """Runs a script of the shell's in namespaces of its own and returns what it writes; it must succeed."""
    needs("unshare")
    (folder / "bin").mkdir()
    (folder / "bin" / "rofuse-mount").symlink_to(COMMAND)
    (folder / "fstab").touch()
    (folder / "mnt").mkdir()
    before = f"""
        mount --make-rprivate /
        mount --bind {folder}/bin /usr/local/sbin
        [ ! -e /etc/fstab ] || mount --bind {folder}/fstab /etc/fstab
        cd {folder}
    """

    def run(script: str) -> str:
        result = subprocess.run(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-euc",
                before + script,
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={
                "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
                "XDG_CACHE_HOME": str(folder / "cache"),
            },
        )
        assert result.returncode == 0, result
        return result.stdout + result.stderr

    return run


def test_mount_calls_the_command(inside: Inside) -> None:
    needs("mount.fuse3")
    said = inside(f"""
        mount -t fuse.rofuse-mount {SAMPLE} mnt
        ls mnt; grep -o 'fuse.rofuse ro,nosuid,nodev' /proc/self/mounts
        umount mnt; ls mnt
    """)
    assert said.splitlines()[:2] == ["orchard", "fuse.rofuse ro,nosuid,nodev"]
    assert "mounted read-only" in said
    said = inside(f"""
        mount -t fuse.rofuse-mount -o ro,nosuid,nodev,noexec,_netdev,x-gvfs-show,uid=77,workers=2 {SAMPLE} mnt
        stat -c %u mnt/orchard; grep -o 'fuse.rofuse ro,nosuid,nodev,noexec' /proc/self/mounts
    """)
    assert said.split() == ["77", "fuse.rofuse", "ro,nosuid,nodev,noexec"]


def test_mount_says_what_is_wrong(inside: Inside) -> None:
    needs("mount.fuse3")
    said = inside(f"""
        mount -t fuse.rofuse-mount {SAMPLE} mnt -o ro,nonsense || echo $?
        mount -t fuse.rofuse-mount /nowhere.tar mnt -o ro || echo $?
    """)
    assert "rofuse-mount: unknown option '-o nonsense'" in said
    assert "rofuse-mount: /nowhere.tar: cannot be opened: No such file or directory" in said


def test_a_line_of_fstab(inside: Inside, folder: Path) -> None:
    needs("mount.fuse3")
    line = block("fstab", "fuse.rofuse-mount")
    if not Path("/etc/fstab").exists():
        pytest.skip("needs /etc/fstab to be there")
    (folder / "fstab").write_text(
        line.replace("/srv/backup.tar.zst", str(SAMPLE)).replace("/mnt/backup", f"{folder}/mnt")
        + f"{SAMPLE} {folder}/second fuse.rofuse-mount ro,noauto,user,umask=077 0 0\n"
    )
    said = inside(f"""
        mount mnt; ls mnt; umount mnt
        mount -a; mount -a; grep -c '{folder}/mnt fuse.rofuse' /proc/self/mounts; umount mnt
        mkdir second; mount second; stat -c %a second/orchard/README; umount second
    """)
    assert said.split() == ["orchard", "1", "600"]


def test_units_of_systemd(folder: Path) -> None:
    needs("systemd-analyze")
    for kind, section in (("mount", "[Mount]"), ("automount", "[Automount]")):
        (folder / f"mnt-backup.{kind}").write_text(block("ini", section))
        assert f"mnt-backup.{kind}" in README.read_text()
    result = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            folder / "mnt-backup.mount",
            folder / "mnt-backup.automount",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    told = [line for line in result.stderr.splitlines() if "mnt-backup" in line]
    assert (result.returncode, told) == (0, [])


def test_a_unit_mounts_what_it_says(inside: Inside) -> None:
    """As systemd mounts a unit: mount(8) with its What, Where, Type and Options."""
    needs("mount.fuse3")
    unit = dict(re.findall(r"^(\w+)=(.*)$", block("ini", "[Mount]"), re.M))
    said = inside(f"""
        mount {SAMPLE} mnt -t {unit["Type"]} -o {unit["Options"]}
        ls mnt; grep -o allow_other /proc/self/mounts
    """)
    assert said.split() == ["orchard", "allow_other"]


def test_a_container_without_rights(inside: Inside) -> None:
    """Docker's own set of capabilities, /dev/fuse given: looking works, mounting names what does, and that works."""
    needs("setpriv", "fusermount3")
    said = inside(f"""
        alone() {{ setpriv --bounding-set={DOCKER} --inh-caps={DOCKER} "$@"; }}
        alone rofuse-mount ls {SAMPLE}
        alone rofuse-mount {SAMPLE} mnt || echo $?
        alone rofuse-mount run {SAMPLE} -- ls || echo $?
    """)
    assert said.startswith("orchard\n15\n")
    assert "'rofuse-mount run SOURCE -- COMMAND' needs neither root nor fusermount3" in said
    assert said.splitlines()[2] == "orchard" or "namespace is not permitted" in said


def test_a_container_without_the_device(inside: Inside) -> None:
    said = inside(f"""
        mkdir dev; mount -t tmpfs none dev; touch dev/null; mount --bind /dev/null dev/null
        mount --rbind dev /dev
        for command in 'ls {SAMPLE}' 'cat {SAMPLE} */harvest/latest.csv' 'verify {SAMPLE}' 'extract {SAMPLE} out'; do
            rofuse-mount $command >/dev/null; echo $?
        done
        rofuse-mount {SAMPLE} mnt || echo $?
        rofuse-mount run {SAMPLE} -- ls || echo $?
    """)
    assert said.startswith("0\n0\n0\n0\n15\n15\n")
    assert said.count("/dev/fuse is missing") == said.count("need no FUSE") == 2


def test_a_background_mount_logs_to_syslog(inside: Inside, folder: Path) -> None:
    """What the supervisor says, and what a server does, arrives where syslog and the journal listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(folder / "log"))
        journal.settimeout(SECONDS)
        said = inside(f"""
            mkdir dev; mount -t tmpfs dev dev
            for node in fuse null zero urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done
            ln -s {folder}/log dev/log; mount --rbind dev /dev
            rofuse-mount {SAMPLE} mnt
            kill -9 $(rofuse-mount status --json mnt | grep -o '"server_pid": [0-9]*' | tr -dc 0-9)
            ls mnt
            {sys.executable} -c '
import logging
from rofuse_mount import logs
logs.configure(background=True, fd=None, debug=False, verbose=False)
logging.getLogger("rofuse_mount").error("of a server")
'
            rofuse-mount umount --wait mnt
        """)
        assert "orchard" in said
        # 3 * 8: facility "daemon"; 4 and 3: a warning and an error (RFC 5424, 6.2.1)
        assert re.fullmatch(rb"<28>.* rofuse-mount\[\d+\]: .* is started again.*", journal.recv(1 << 16))
        assert re.fullmatch(rb"<27>.* rofuse-mount\[\d+\]: of a server\0?", journal.recv(1 << 16))

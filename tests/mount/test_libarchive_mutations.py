"""Damaged archives through real mounts: each is refused in one line, or mounted and read to its end by another process
while its server lives on. A helper may die, and nobody else does; nothing takes forever."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.formats import libarchive_mutations as mutations
from tests.mount.command import Rofuse, rofuse

__all__ = ["rofuse"]

COUNT = mutations.count(9)
REFUSED = {12, 13, 14, 16, 1}
"""The format was not recognised, is damaged, wants a password or another library, or is refused as too large."""
READ = """
find . -printf '%M %s %n %T@ %l %p\\n' > /dev/null
find . -type f | head -n 12 | while read -r name; do
    head -c 1048576 -- "$name" | wc -c
    tail -c 4096 -- "$name" | wc -c
done
echo done
"""
LIMIT = 240  # seconds: a helper that is busy for nothing is ended by the processor time that it takes, three times


def attempt(rofuse: Rofuse, path: Path, mountpoint: Path) -> bool:
    """Whether it could be mounted."""
    mounted = rofuse("--no-index", path, mountpoint)
    if mounted.returncode:
        assert mounted.returncode in REFUSED, mounted
        assert mounted.stderr.startswith("rofuse-mount: "), mounted
        assert "Traceback" not in mounted.stderr
        return False
    before = json.loads(rofuse("status", "--json", mountpoint).stdout)
    read = subprocess.run(
        ["sh", "-c", READ],
        check=False,
        cwd=mountpoint,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT,
    )
    assert read.stdout.endswith("done\n"), read
    after = json.loads(rofuse("status", "--json", mountpoint).stdout)
    assert (after["server_pid"], after["restarts"]) == (before["server_pid"], 0)
    assert rofuse("umount", "--wait", mountpoint).returncode == 0
    return True


def test_damaged_archives_are_mounted(rofuse: Rofuse, folder: Path, mountpoint: Path) -> None:
    mounted = 0
    for path in mutations.made(folder, COUNT):
        try:
            mounted += attempt(rofuse, path, mountpoint)
        except BaseException as error:
            said = f"ROFUSE_SEED={mutations.SEED} ROFUSE_MUTATIONS={COUNT}: {path.name}"
            raise AssertionError(said) from error
        path.unlink()
    print(f"{mounted} of {COUNT} were mounted")

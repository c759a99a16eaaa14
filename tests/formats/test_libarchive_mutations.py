"""Archives that were damaged in any way: no crash but a helper's, no hang, no file that is longer than it claims."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rofuse_formats.errors import FormatError
from tests.formats import libarchive_mutations as mutations
from tests.formats.libarchive_support import files, opened

COUNT = mutations.count(40)
_READ = 6  # files of each


def attempt(path: Path) -> None:
    try:
        archive = opened(path, spool=False)
    except FormatError as error:
        assert "\n" not in str(error)
        return
    for node in list(files(archive).values())[:_READ]:
        size = min(archive.image.size[node - 1], 1 << 20)
        try:
            assert sum(map(len, archive.read(node, 0, size))) == size
        except FormatError as error:
            assert "\n" not in str(error)
    archive.close()


def test_damaged_archives(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(mutations.made(tmp_path, COUNT))
        for path, outcome in [(path, pool.submit(attempt, path)) for path in made]:
            error = outcome.exception(timeout=240)
            if error is not None:
                said = f"ROFUSE_SEED={mutations.SEED} ROFUSE_MUTATIONS={COUNT}: {path.name}"
                raise AssertionError(said) from error
            path.unlink()

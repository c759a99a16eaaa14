"""Makes the compressed files of this folder and what is expected of them, with real tools, on Debian.

    python3 -m testdata.streams.make [NAME...]        all, or those of makers whose names contain one of the words

needs: gzip, pigz, tabix, dictzip, bzip2, lbzip2, pbzip2, xz-utils, pixz, lzip, plzip, lz4, zstd, ncompress, brotli,
sharutils, lzop, lrzip, python3, python3-zstandard.

Names
- ``MAKER.SHAPE.SUFFIX``: a beginning of ``content.content``, as long as the shape says, as ``makers.MAKERS`` has it
  compressed. ``garbage`` and ``zeros`` have these behind the stream.
- ``MAKER.NAME.tar.SUFFIX``: ``testdata/NAME.tar``, to be mounted as ``testdata/NAME.expected``.
- ``EXPECTED``: the size and SHA-256 of what each holds, by the word of the format's own decompressor, a line a file.

The same versions of the tools make the same bytes again.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator

from testdata.streams.content import content
from testdata.streams.expected import EXPECTED, FOLDER, Expectation, read_expected
from testdata.streams.makers import MAKERS, Maker
from testdata.workshop import ENVIRONMENT

TAR = "basic-gnu.tar"

VERSIONS = {
    "gzip": "--version", "pigz": "--version", "bgzip": "--version", "dictzip": "--version", "bzip2": "--help",
    "lbzip2": "--version", "pbzip2": "--version", "xz": "--version", "pixz": "-h", "lzip.lzip": "--version",
    "plzip": "--version", "lz4": "--version", "zstd": "--version", "pzstd": "--version", "compress": "-V",
    "brotli": "--version", "uuencode": "--version", "lzop": "--version", "lrzip": "--version",
}  # fmt: skip
"""How each tool says its version."""


def streams(maker: Maker) -> Iterator[tuple[str, bytes, bytes]]:
    """Names of a maker's files, what they hold and what they are."""
    for shape in maker.shapes.split():
        held = content(maker.size(shape))
        yield f"{maker.name}.{shape}{maker.suffix}", held, maker.compress(held, shape)
    held = (FOLDER.parent / TAR).read_bytes()
    yield f"{maker.name}.{TAR}{maker.suffix}", held, maker.compress(held, TAR)


def judged(maker: Maker, stream: bytes) -> Expectation:
    """What the judge makes of a stream. Of garbage behind it, it may complain."""
    done = subprocess.run(
        maker.judge, env=ENVIRONMENT, input=stream, capture_output=True, timeout=120, check=False
    )
    return Expectation(len(done.stdout), hashlib.sha256(done.stdout).hexdigest())


def version(tool: str) -> str:
    """The line with a number of what a tool says of itself."""
    done = subprocess.run([tool, VERSIONS[tool]], capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    line = next(line for line in lines if re.search(r"\d\.\d", line))
    return f"{tool}: {line.strip(' *')}"


def main(words: list[str]) -> None:
    expected = read_expected() if EXPECTED.exists() else {}
    for maker in MAKERS.values():
        if words and not any(word in maker.name for word in words):
            continue
        print(maker.name, flush=True)
        for old in FOLDER.glob(f"{maker.name}.*"):
            old.unlink()
            expected.pop(old.name, None)
        for name, held, stream in streams(maker):
            expected[name] = judged(maker, stream)
            if expected[name] != Expectation(len(held), hashlib.sha256(held).hexdigest()):
                raise SystemExit(f"{name}: {maker.judge[0]} finds something else in it than was put there")
            (FOLDER / name).write_bytes(stream)
    lines = [*(f"# {version(tool)}" for tool in VERSIONS), f"# python: {sys.version.split()[0]}"]
    lines += [f"{name} {size} {digest}" for name, (size, digest) in sorted(expected.items())]
    EXPECTED.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Holds archives of others against a judge: ``python tests/corpora/run.py [--report FILE] DIRECTORY...``

Each DIRECTORY is a corpus: the unpacked source of a program that reads archives, with those that it is tested by.
``apt-get source libarchive python3.11 golang-1.19 ...`` gives them; nothing of theirs is kept here.

Strategy
Each sample is mounted by the installed command, looked through by another process, and unmounted. The judge is what
bsdtar extracts; of a compressed file that is no archive, what its own tool decompresses. What differs is held against
``reasons.toml``, which says why: whatever has no reason there is a failure.

Rules
- Nothing waits for ever: whatever takes longer than ``SECONDS`` is a failure of its own, and unmounted.
- A refusal is one line and a status that is documented. Anything else (a traceback, a signal, status 1 without a word)
  is a crash.

Exit status: 0 where all that differs has a reason.
"""

from __future__ import annotations

import argparse
import fnmatch
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, cast

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.corpora.samples import COMPRESSED, Sample, samples

SECONDS = 60
REASONS = Path(__file__).with_name("reasons.toml")
_COMMAND = (sys.executable, "-m", "rofuse_mount")
_REFUSALS = (1, 11, 12, 13, 14, 16)

Facts = dict[str, dict[str, Any]]


class Outcome(NamedTuple):
    """``verdict``: ``same``, ``differs``, ``refused``, ``both refuse``, ``only here`` or ``FAILED``; ``told``: each
    thing that is said of it; ``complaint``: what the judge says."""

    sample: str
    verdict: str
    told: tuple[str, ...] = ()
    complaint: str = ""


def main() -> int:
    cast(io.TextIOWrapper, sys.stdout).reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--report", type=Path, help="where the table of all that differs is written")
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIRECTORY")
    arguments = parser.parse_args()
    reasons = tomllib.loads(REASONS.read_text())["reason"]
    with tempfile.TemporaryDirectory(prefix="rofuse-corpora-") as scratch:
        found = [held(sample, Path(scratch)) for sample in samples(arguments.directories, Path(scratch))]
    rows, unexplained = [], 0
    for outcome in found:
        for told in outcome.told if outcome.verdict not in ("same", "both refuse") else ():
            why = reason_for(outcome, told, reasons)
            unexplained += why is None
            rows.append((outcome, told, why or "UNEXPLAINED"))
            if why is None:
                print(
                    f"{outcome.verdict}: {outcome.sample}: {told} (judge: {outcome.complaint or 'content'})"
                )
    counts = Counter(outcome.verdict for outcome in found)
    print(
        f"{len(found)} samples: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    )
    print(f"{unexplained} differ without a reason")
    if arguments.report is not None:
        arguments.report.write_bytes(table(found, rows).encode(errors="backslashreplace"))
    return 1 if unexplained else 0


def reason_for(outcome: Outcome, told: str, reasons: list[dict[str, Any]]) -> str | None:
    """Why this is so: the first reason whose ``sample`` and ``told`` (patterns) and ``verdict`` are these; what it does
    not have is any."""
    if outcome.verdict == "FAILED":
        return None
    for reason in reasons:
        is_named = any(fnmatch.fnmatchcase(outcome.sample, one) for one in reason.get("sample", ["*"]))
        is_told = any(fnmatch.fnmatchcase(told, one) for one in reason.get("told", ["*"]))
        if is_named and is_told and reason.get("verdict", outcome.verdict) == outcome.verdict:
            return str(reason["why"])
    return None


def table(found: list[Outcome], rows: list[tuple[Outcome, str, str]]) -> str:
    counts: dict[str, Counter[str]] = {}
    for outcome in found:
        counts.setdefault(outcome.sample.partition("/")[0], Counter())[outcome.verdict] += 1
    verdicts = ("same", "both refuse", "differs", "refused", "only here", "FAILED")
    lines = ["| corpus | samples | " + " | ".join(verdicts) + " |", "|---" * (len(verdicts) + 2) + "|"]
    for corpus, verdict in sorted(counts.items()):
        numbers = " | ".join(str(verdict[one]) for one in verdicts)
        lines.append(f"| {corpus} | {sum(verdict.values())} | {numbers} |")
    lines += ["", "| sample | | what | why |", "|---|---|---|---|"]
    for outcome, told, why in rows:
        shown = told.replace("|", "\\|")[:200]
        lines.append(f"| {outcome.sample} | {outcome.verdict} | {shown} | {why} |")
    return "\n".join(lines) + "\n"


# -- one sample


def held(sample: Sample, scratch: Path) -> Outcome:
    """What becomes of a sample here, against what its judge says."""
    ours, refusal = mounted(sample.path, scratch)
    if ours is None and not refusal.startswith("refused: "):
        return Outcome(sample.name, "FAILED", (refusal,))
    theirs, complaint = judged(sample.path, scratch, ours)
    if ours is None:
        verdict = "refused" if theirs and not complaint else "both refuse"
        return Outcome(sample.name, verdict, (refusal.removeprefix("refused: "),), complaint)
    files = [fact for fact in ours.values() if fact["type"] == "file"]
    is_refused = complaint and any("error" in fact for fact in files)
    if not theirs:
        verdict = "both refuse" if is_refused else "only here" if ours else "same"
        return Outcome(sample.name, verdict, (f"{len(ours)} entries",), complaint)
    differences = compared(ours, theirs, complaint)
    if differences:
        return Outcome(sample.name, "differs", differences, complaint)
    return Outcome(sample.name, "both refuse" if is_refused else "same", (), complaint)


def mounted(archive: Path, scratch: Path) -> tuple[Facts | None, str]:
    """What a mount of it shows; or None, and why."""
    mountpoint = scratch / "mnt"
    mountpoint.mkdir(exist_ok=True)
    raw = ["--raw"] if archive.suffix == ".deb" else []
    environment = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache"), "TZ": "UTC"}
    words = [*_COMMAND, *raw, "--log-file", str(scratch / "log"), str(archive), str(mountpoint)]
    try:
        done = run(words, environment)
        text = done.stderr.decode(errors="backslashreplace").strip().replace(str(archive), archive.name)
        if "Traceback" in text or (done.returncode and done.returncode not in _REFUSALS):
            return None, f"status {done.returncode}: {text}"
        if done.returncode:
            is_told = text.count("\n") == 0 and text.startswith("rofuse-mount: ")
            return None, f"refused: {text.removeprefix('rofuse-mount: ')}" if is_told else f"said {text!r}"
        looked = run(
            [sys.executable, str(Path(__file__).with_name("looking.py")), str(mountpoint)], environment
        )
        log = (scratch / "log").read_text(errors="replace") if (scratch / "log").exists() else ""
        if looked.returncode or "Traceback" in log:
            return None, f"{looked.stderr.decode()[-300:]}{log[-1000:]}"
        return json.loads(looked.stdout), ""
    except subprocess.TimeoutExpired as error:
        return None, f"takes more than {SECONDS} s: {error.cmd[-1]}"
    finally:
        unmounted(mountpoint)
        (scratch / "log").unlink(missing_ok=True)


def unmounted(mountpoint: Path) -> None:
    while os.path.ismount(mountpoint):
        try:
            run([*_COMMAND, "umount", "--wait", str(mountpoint)], dict(os.environ))
        except subprocess.TimeoutExpired:
            run(["umount", "-l", str(mountpoint)], dict(os.environ))


def run(command: list[str], environment: dict[str, str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        env=environment,
        **more,
    )


# -- the judge


def judged(archive: Path, scratch: Path, ours: Facts | None) -> tuple[Facts, str]:
    """What another program makes of it, and what it complains of. Whether it is an archive at all, or a compressed
    file, is taken from ``ours``: bsdtar takes much for a list of files."""
    folder = scratch / "judged"
    folder.mkdir()
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    try:
        is_file = archive.suffix in COMPRESSED and (ours is None or list(ours) == [archive.stem])
        trouble = (_decompressed if is_file else _extracted)(archive, folder, environment)
        if not is_file and archive.suffix in COMPRESSED and not any(folder.iterdir()):
            trouble = _decompressed(archive, folder, environment)
        looked = run([sys.executable, str(Path(__file__).with_name("looking.py")), str(folder)], environment)
        return json.loads(looked.stdout), trouble
    except subprocess.TimeoutExpired:
        return {}, f"bsdtar takes more than {SECONDS} s"
    finally:
        run(["chattr", "-R", "-i", "-a", str(folder)], environment)  # flags that an archive may set
        shutil.rmtree(folder)


def _extracted(archive: Path, folder: Path, environment: dict[str, str]) -> str:
    done = run(["bsdtar", "-xpf", str(archive), "--numeric-owner", "-C", str(folder)], environment)
    return _complaint(done, archive)


def _decompressed(archive: Path, folder: Path, environment: dict[str, str]) -> str:
    found = folder / archive.stem
    with found.open("wb") as out:
        done = run([*COMPRESSED[archive.suffix], str(archive)], environment, stdout=out)
    if done.returncode and not found.stat().st_size:
        found.unlink()
    else:
        shutil.copystat(archive, found)
    return _complaint(done, archive)


def _complaint(done: subprocess.CompletedProcess[bytes], archive: Path) -> str:
    text = done.stderr.decode(errors="backslashreplace").strip().replace("\n", "; ")
    return text.replace(str(archive), archive.name)[:300]


def compared(ours: Facts, theirs: Facts, trouble: str) -> tuple[str, ...]:
    """How two trees differ, with the first example of each. Where the judge complains, what is an error here may be
    more or less there."""
    if trouble:
        spoiled = {path for path, fact in ours.items() if "error" in fact}
        ours = {path: fact for path, fact in ours.items() if path not in spoiled}
        theirs = {path: fact for path, fact in theirs.items() if path not in spoiled}
    if len(ours) == len(theirs) == 1 and {fact["type"] for fact in (*ours.values(), *theirs.values())} == {
        "file"
    }:
        theirs = dict(zip(ours, theirs.values(), strict=True))  # what is decompressed has a name of its own
    found: dict[str, list[str]] = {}
    for path in sorted({*ours, *theirs}):
        mine, other = ours.get(path), theirs.get(path)
        if mine is None or other is None:
            found.setdefault("missing" if mine is None else "more", []).append(path)
            continue
        for key in ("type", "size", "error", "digest", "target", "mode", "mtime"):
            if (key in ("mode", "mtime") and mine["type"] != "file") or (key == "digest" and "error" in mine):
                continue
            if mine.get(key) != other.get(key):
                found.setdefault(key, []).append(f"{path} ({mine.get(key)}, judge {other.get(key)})")
    more = {key: f" and {len(paths) - 1} more" if paths[1:] else "" for key, paths in found.items()}
    return tuple(f"{key}: {paths[0]}{more[key]}" for key, paths in found.items())


if __name__ == "__main__":
    sys.exit(main())

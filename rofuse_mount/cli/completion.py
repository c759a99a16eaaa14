"""What the shell offers: behind ``ls SOURCE`` the members of the archive, elsewhere files, directories, live mounts.

Rules
- Wherever a file may stand it is said that files are wanted: the shell offers nothing by itself.
- Who presses a key does not wait for an archive to be indexed: only where an index is kept, or the archive is small,
  is there an answer. Nothing is written, asked for or said.
- Names that a line of the shell's cannot hold are not offered.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import click

    from rofuse_formats import Archive

_SMALL = 16 << 20  # bytes of an archive that is indexed on the way
_MOST = 2000


def sources(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files on disk, by the shell's own means."""
    return [CompletionItem(incomplete, type="file")]


def directories(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Directories on disk, by the shell's own means."""
    return [CompletionItem(incomplete, type="dir")]


def mountpoints(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Those of one's live mounts that begin like this; else directories."""
    from rofuse_mount import runtime

    places = (facts.get("mountpoint") for _minor, facts in runtime.live())
    found = [place for place in places if isinstance(place, str) and place.startswith(incomplete)]
    plain = [CompletionItem(place) for place in sorted(found) if is_a_word(place)]
    return plain or directories(ctx, parameter, incomplete)


def is_a_word(text: str) -> bool:
    """Whether it can stand in a line of the shell's as it is."""
    return text.isprintable() and not any(letter.isspace() for letter in text)


def files_beginning(incomplete: str) -> list[CompletionItem]:
    """What lies in the working directory: where the shell's own means would leave other words out."""
    try:
        entries = sorted(os.scandir(), key=lambda entry: entry.name)
    except OSError:
        return []
    begin = [entry for entry in entries if entry.name.startswith(incomplete) and is_a_word(entry.name)]
    return [CompletionItem(entry.name + "/" * entry.is_dir()) for entry in begin[:_MOST]]


def members(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Paths in the archive ``source`` that begin like this, a directory with a slash behind it."""
    from rofuse_formats.errors import FormatError

    source = ctx.params.get("source")
    if not source:
        return []
    try:
        archive = _opened(source)
        return [] if archive is None else [CompletionItem(path) for path in _beginning(archive, incomplete)]
    except (FormatError, MemoryError, OSError):
        return []  # the command itself will say it


def _opened(source: str) -> Archive | None:
    from rofuse_formats import Archive, Settings, open, parts
    from rofuse_formats.limits import three_quarters_of_memory
    from rofuse_formats.opening import find_index
    from rofuse_mount.memory import bounded

    with bounded(three_quarters_of_memory()):
        found = find_index(file := parts.opened(source), Settings(), later=True)
    if not isinstance(found, str):
        os.close(found.fd)
        return Archive(file, found.index, Settings(), found.path, later=True)
    return open(source, keep=False) if file.size <= _SMALL else None


def _beginning(archive: Archive, incomplete: str) -> list[str]:
    folder, slash, begun = incomplete.rpartition("/")
    directory = archive.stat(folder + slash, follow=True)
    rows = archive.image.dirents(directory.ino)
    wanted = os.fsencode(begun)
    found: list[str] = []
    for row in archive.image.order[rows.start : rows.stop]:
        name = archive.image.name(row)
        text = name.decode("utf-8", "replace")
        if name.startswith(wanted) and text.isprintable() and "\ufffd" not in text and len(found) < _MOST:
            is_directory = archive.image.is_directory(archive.image.child[row])
            found.append(folder + slash + text + "/" * is_directory)
    return found

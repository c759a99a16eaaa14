"""What is told to who calls a thing by the name that it has in another program, or gives things in another order.

The names are those of ratarmount and archivemount, as their manuals have them.
"""

from __future__ import annotations

import os

import click

_OPTIONS = {
    "--recreate-index": "'rofuse-mount index --force SOURCE' does that",
    "--index-file": "--index-here keeps the index beside the archive",
    "--index-folders": "XDG_CACHE_HOME says where indexes are kept; --index-here keeps one beside its archive",
    "--parallelization": "--threads says how many serve; indexing takes what there is",
    "--gzip-seek-point-spacing": "the spacing is chosen here",
    "--verify-mtime": "that is always done",
    "--unmount": "'rofuse-mount umount MOUNTPOINT' does that",
    "--fuse": "FUSE options follow -o",
    "--recursive": "archives within an archive stay files; those in it can be mounted one by one",
    "--recursion-depth": "archives within an archive stay files; those in it can be mounted one by one",
    "--write-overlay": "a mount is read-only; overlayfs over it takes what is written",
    "--commit-overlay": "a mount is read-only; overlayfs over it takes what is written",
}
_ALSO = {"help": "--help", "version": "--version", "unmount": "umount"}
_ORDER = "the archive comes first, then the directory to mount it on: these two seem to be swapped"
_MOUNT_OPTIONS = {
    "readonly": "a mount is always read-only",
    "nobackup": "nothing is ever written to the archive",
    "nosave": "nothing is ever written to the archive",
    "subtree": "it is called subdir here, and is a path",
    "formatraw": "a compressed file that is no archive is shown as a file without that",
}


def of_option(name: str) -> str:
    """What is called otherwise here, to follow a message; nothing where nothing is known."""
    return f"; {_OPTIONS[name]}" if name in _OPTIONS else ""


def of_mount_option(name: str) -> str:
    """The same of an option that follows ``-o``."""
    return f"; {_MOUNT_OPTIONS[name]}" if name in _MOUNT_OPTIONS else ""


def of_word(word: str, context: click.Context | None) -> str:
    """What was meant by a word that is neither a file nor, at its place, a command; nothing where that is not clear."""
    group = context.find_root().command if context is not None else None
    if context is None or not isinstance(group, click.Group) or "/" in word or os.path.lexists(word):
        return ""
    from difflib import get_close_matches

    known = {name: name for name in group.list_commands(context)} | _ALSO
    for name in get_close_matches(word, known, 1, 0.7):
        missing, command = f"there is no file '{word}'", f"'rofuse-mount {known[name]}'"
        if name == word and name not in _ALSO:
            return f"{missing}; a command comes first, then its options: {command}"
        return f"{missing}; did you mean {command}?"
    return ""


def of_source(source: str, mountpoint: str, context: click.Context | None) -> str:
    """What was meant where the source of a mount is not there; nothing where it is, or where that is not clear."""
    if os.path.lexists(source) or not source:
        return ""
    if not (found := of_word(source, context)) and os.path.isfile(mountpoint):
        return f"there is no file '{source}'; {_ORDER}"
    return found


def of_order(source: str, mountpoint: str) -> str:
    """What is wrong with two paths that were clearly meant the other way round; else nothing."""
    return _ORDER if os.path.isdir(source) and os.path.isfile(mountpoint) else ""

"""``-o``: comma-separated options, as mount(8) and fstab give them.

Names are those of mount.fuse3(8), and every long option of ``rofuse-mount mount`` under its own name; ``-`` and ``_``
in a name are the same. A comma or backslash within a value is written with a backslash before it. What mount(8) adds
and what says what is so anyway is accepted; an unknown name is an error before anything is touched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import click

from rofuse_mount.cli import hints

_SO_ANYWAY = frozenset(
    """ro defaults nodev nosuid dev suid exec auto noauto nofail user users nouser owner group _netdev async sync
    atime noatime relatime norelatime strictatime diratime nodiratime""".split()
)
_PRIVATE = ("x-", "comment=")

_CUT = re.compile(r"(?:[^,\\]|\\.)+")


def _number(text: str, base: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]+" if base == 10 else r"[0-7]+", text):
        raise ValueError("not a number" if base == 10 else "not an octal number")
    number = int(text, base)
    if number > most:
        raise ValueError(f"more than {most:o}" if base == 8 else f"more than {most}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if math.isnan(seconds) or seconds < 0:
        raise ValueError("not a number of seconds")
    return seconds


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError("only letters, digits, '.', '_' and '-'")
    return text


# How each option's value is read; None: it takes none.
_VALUES: dict[str, Callable[[str], Any] | None] = {
    "allow_other": None,
    "allow_root": None,
    "default_permissions": None,
    "noexec": None,
    "nonempty": None,
    "rw": None,  # which mount(8) says where nobody said ro
    "auto_unmount": None,
    "uid": lambda text: _number(text, 10, 0xFFFFFFFE),
    "gid": lambda text: _number(text, 10, 0xFFFFFFFE),
    "umask": lambda text: _number(text, 8, 0o777),
    "fmask": lambda text: _number(text, 8, 0o777),
    "dmask": lambda text: _number(text, 8, 0o777),
    "fsname": str,
    "subtype": _word,
    "entry_timeout": _seconds,
    "attr_timeout": _seconds,
    "max_read": lambda text: _number(text, 10, 1 << 30),
    "max_readahead": lambda text: _number(text, 10, 1 << 30),
    "max_background": lambda text: _number(text, 10, 0xFFFF),
    "subdir": str,
}


def merge(options: dict[str, Any], own: dict[str, Any]) -> None:
    """Adds what ``-o`` set of a command's own options to what else was said; what may be said again, to that."""
    for name, value in own.items():
        options[name] = (*options[name], *value) if isinstance(value, tuple) else value


def parse(texts: Iterable[str], command: click.Command) -> tuple[dict[str, Any], dict[str, Any]]:
    """The FUSE options and the command's own that ``texts`` set, each by name. Raises click.UsageError."""
    own = {
        _plain(name): param
        for param in command.params
        if isinstance(param, click.Option)
        for name in param.opts
    }
    fuse: dict[str, Any] = {}
    texts_of: dict[str, list[str | None]] = {}
    for word in (word for text in texts for word in _CUT.findall(text)):
        name, equals, value = re.sub(r"\\(.)", r"\1", word).partition("=")
        plain = _plain(name)
        if plain in _VALUES:
            fuse[plain] = _value(name, _VALUES[plain], value if equals else None)
        elif plain in own and len(plain) > 1:
            texts_of.setdefault(plain, []).append(_own_text(name, own[plain], value if equals else None))
        elif name not in _SO_ANYWAY and not word.startswith(_PRIVATE):
            raise click.UsageError(f"unknown option '-o {name}'{hints.of_mount_option(name)}")
    return fuse, {own[name].name or name: _own_value(own[name], said) for name, said in texts_of.items()}


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def _value(name: str, read: Callable[[str], Any] | None, text: str | None) -> Any:
    if read is None:
        if text is not None:
            raise click.UsageError(f"option '-o {name}' takes no value")
        return True
    if not text:
        raise click.UsageError(f"option '-o {name}' needs a value")
    try:
        return read(text)
    except ValueError as error:
        raise click.UsageError(f"'{text}' cannot be the value of '-o {name}': {error}") from error


def _own_text(name: str, option: click.Option, text: str | None) -> str | None:
    """What a command's own option is to be given; None for one that takes nothing."""
    if option.is_flag and text is not None:
        raise click.UsageError(f"option '-o {name}' takes no value")
    if not option.is_flag and not text:
        raise click.UsageError(f"option '-o {name}' needs a value")
    return text


def _own_value(option: click.Option, texts: list[str | None]) -> Any:
    """What the option makes of what it is given, as if that stood behind its own name: of the last, or of all where it
    may be given several times. It may open a file, or ask."""
    context = click.get_current_context(silent=True) or click.Context(click.Command(None))
    try:
        values = [True if text is None else option.type.convert(text, option, context) for text in texts]
        value = tuple(values) if option.multiple else values[-1]
        return value if option.callback is None else option.callback(context, option, value)
    except click.BadParameter as error:
        error.param = option
        raise

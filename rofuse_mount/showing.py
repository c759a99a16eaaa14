"""How names are shown: whoever made an archive chose what is in them, and a terminal obeys what it is sent."""

from __future__ import annotations


def show(name: bytes) -> str:
    """A name for a message or a screen: control characters, and what is no UTF-8, as escapes."""
    return printable(name.decode("utf-8", "backslashreplace"))


def printable(text: str) -> str:
    """A text whose control characters, line ends among them, are escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

"""Sizes as people read them."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def readable(size: int) -> str:
    """``1.5 MiB``; below a KiB in bytes."""
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    number = size / (1 << 10 * power)
    return f"{number:.1f} {_UNITS[power - 1]}" if number < 10 else f"{number:,.0f} {_UNITS[power - 1]}"


def brief(size: int) -> str:
    """``1.5M``, in the four columns or so of a listing."""
    if size < 1024:
        return str(size)
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    number = size / (1 << 10 * power)
    return f"{number:.1f}{_UNITS[power - 1][0]}" if number < 10 else f"{number:.0f}{_UNITS[power - 1][0]}"

"""Golden transcripts replay byte for byte, and are what the recipe makes."""

from __future__ import annotations

import pytest

from rofuse_mount.engine import Engine
from tests.protocol.kernel import Example
from tests.protocol.transcript import GOLDEN, MINORS, read, session, write


@pytest.mark.parametrize("minor", MINORS)
def test_a_golden_session_replays_identically(minor: int) -> None:
    engine = Engine(Example())
    for sent, expected in read((GOLDEN / f"7.{minor}.txt").read_text()):
        reply = engine.handle(sent)
        assert (b"" if reply is None else b"".join(reply)) == expected, engine.describe(sent, reply)


@pytest.mark.parametrize("minor", MINORS)
def test_the_recipe_is_the_golden_session(minor: int) -> None:
    text = (GOLDEN / f"7.{minor}.txt").read_text()
    assert [sent for sent, _ in read(text)] == list(session(minor))
    assert text == write(minor)

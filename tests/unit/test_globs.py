"""Patterns of paths."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_formats.globs import Globs


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("*.o", ["a.o", "d/a.o", "d/e/.o"], ["a.oo", "a.o/b"]),
        ("core", ["core", "d/core"], ["score", "core/x"]),
        ("/core", ["core"], ["d/core"]),
        ("d/*", ["d/a"], ["d", "d/e/a", "e/d/a"]),
        ("d/**", ["d/a", "d/e/a"], ["d", "xd/a"]),
        ("**/d/a", ["d/a", "x/d/a", "x/y/d/a"], ["xd/a", "d/aa"]),
        ("a**b", ["ab", "axb"], ["ba"]),
        ("?", ["a", "d/\n"], ["ab", "é"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["ax", "/x", "d/x/y"]),
        ("[]x]", ["]", "x"], ["[]x]"]),
        ("[a", ["[a"], ["a"]),
        (r"\*", ["*"], ["a"]),
        ("[c-a]", [], ["a", "b"]),
        (".git/", [".git", "d/.git"], []),
        ("x.y", ["x.y"], ["xzy"]),
    ],
)
def test_what_a_pattern_means(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    globs = Globs([pattern.encode()])
    assert [path for path in meant if not globs.match(path.encode(), True)] == []
    assert [path for path in not_meant if globs.match(path.encode(), True)] == []


def test_a_slash_at_the_end_means_directories() -> None:
    globs = Globs([b"build/", b"*.o"])
    assert globs.match(b"d/build", True)
    assert not globs.match(b"d/build", False)
    assert globs.match(b"d/a.o", False) and globs.match(b"d/a.o", True)


def test_no_pattern_means_nothing() -> None:
    assert not Globs([]).match(b"a", True)


@pytest.mark.parametrize("pattern", [b"", b"/", b"///", b"x" * 5000])
def test_patterns_that_are_refused(pattern: bytes) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Globs([pattern])


@given(st.text("ab*?[]!-", min_size=1), st.text("ab-]", min_size=1))
def test_names_are_as_fnmatch_has_them(pattern: str, name: str) -> None:
    assert Globs([pattern.encode()]).match(name.encode(), False) == fnmatch.fnmatchcase(name, pattern)

"""-o: what mount(8), fstab and people write there."""

from __future__ import annotations

import math
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount.cli.commands.mount import COMMAND
from rofuse_mount.cli.fuse_options import parse


@pytest.mark.parametrize(
    ("texts", "fuse", "own"),
    [
        ([], {}, {}),
        (["ro,nosuid,nodev,x-anything=1,comment=hello"], {}, {}),
        (["allow_other", "uid=5,gid=6"], {"allow_other": True, "uid": 5, "gid": 6}, {}),
        (["umask=022"], {"umask": 0o22}, {}),
        (["entry_timeout=1.5,attr_timeout=inf"], {"entry_timeout": 1.5, "attr_timeout": math.inf}, {}),
        ([r"fsname=a\,b\\c"], {"fsname": r"a,b\c"}, {}),
        (["strict,max-window=1G"], {}, {"strict": True, "max_window": 1 << 30}),
        (["max_window=1G,,threads=3"], {}, {"max_window": 1 << 30, "threads": 3}),
        (["allow-other"], {"allow_other": True}, {}),
    ],
)
def test_good(texts: list[str], fuse: dict[str, object], own: dict[str, object]) -> None:
    assert parse(texts, COMMAND) == (fuse, own)


@pytest.mark.parametrize(
    "text", ["nope", "remount", "f", "uid=", "uid=-1", "uid=4294967295", "fmask=8", "entry_timeout=nan"]
)
def test_bad(text: str) -> None:
    with pytest.raises(click.UsageError, match="-o"):
        parse([text], COMMAND)


def test_what_an_option_makes_of_its_value_it_makes_of_it_here(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\r\nand more\n")
    assert parse([f"password-file={file},encoding=latin1"], COMMAND)[1] == {
        "password_file": b"secret",
        "encoding": "iso8859-1",
    }
    for text in (f"password_file={tmp_path}/none", "encoding=no-such"):
        with pytest.raises(click.BadParameter) as raised:
            parse([text], COMMAND)
        assert raised.value.param is not None and raised.value.param.name == text.partition("=")[0]


def test_nothing_is_asked_before_all_names_are_known() -> None:
    with pytest.raises(click.UsageError, match="sparkling"):
        parse(["password,sparkling"], COMMAND)


@given(st.text(alphabet=st.characters(exclude_characters="\0"), min_size=1))
def test_any_name_can_be_given(name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace(",", "\\,")
    assert parse([f"ro,fsname={escaped},uid=1"], COMMAND) == ({"fsname": name, "uid": 1}, {})

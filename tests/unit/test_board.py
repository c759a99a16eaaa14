"""The board: what a supervisor learns of a server that has died."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rofuse_mount.supervisor.board import RESENT, THREADS, Board


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create()
    yield board
    os.close(board.fd)


def test_another_process_sees_what_was_written(board: Board) -> None:
    board.bench(3)[5] = 42
    other = Board(board.fd)
    assert other.at_work(3) == [42]
    assert other.at_work(2) == []


def test_what_was_negotiated(board: Board) -> None:
    assert board.negotiated == b""
    board.negotiated = b"an agreement"
    assert Board(board.fd).negotiated == b"an agreement"
    with pytest.raises(ValueError):
        board.negotiated = bytes(100)


def test_deaths_are_counted_for_a_request_however_it_was_delivered(board: Board) -> None:
    for number, unique in enumerate((10, 10 | RESENT, 10 | RESENT), 1):
        board.bench(0)[0] = unique
        board.charge(0)
        assert board.deaths(10) == board.deaths(10 | RESENT) == number
        assert board.at_work(0) == []
    assert board.deaths(12) == 0


def test_who_is_accused_again_is_not_forgotten_for_others(board: Board) -> None:
    for number in range(100):
        board.bench(0)[0] = 1
        for slot in range(1, THREADS):
            board.bench(0)[slot] = 1000 * number + slot + 1
        board.charge(0)
        if number > 1:
            assert board.deaths(1) >= 2


@given(st.lists(st.integers(1, RESENT - 1), min_size=1, max_size=THREADS, unique=True))
def test_every_thread_of_the_last_death_is_known(numbers: list[int]) -> None:
    board = Board.create()
    try:
        for slot, number in enumerate(numbers):
            board.bench(1)[slot] = number
        board.charge(1)
        assert [board.deaths(number) for number in numbers] == [1] * len(numbers)
    finally:
        os.close(board.fd)

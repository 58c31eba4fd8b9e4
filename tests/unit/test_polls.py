"""Polls grow, and wait, where records are spread over many models, and only there."""

from __future__ import annotations

import pytest

from driftloop.kernel.polls import PollSize


def test_a_backlog_of_many_models_is_taken_in_larger_polls() -> None:
    polls = PollSize(4096)
    sizes = []
    for _ in range(6):
        polls.took(polls.rows, 2000)
        sizes.append(polls.rows)
        assert polls.gap_s == 0.0
    assert sizes == [8192, 16384, 32768, 32768, 32768, 32768]


@pytest.mark.parametrize(("rows", "runs"), [(4096, 8), (4095, 4095), (1, 1), (0, 0)])
def test_a_few_models_and_what_is_no_backlog_are_not(rows: int, runs: int) -> None:
    polls = PollSize(4096)
    polls.took(rows, runs)
    assert polls.rows == 4096


@pytest.mark.parametrize(
    ("rows", "runs", "gap_s"),
    [(1, 1, 0.0), (15, 15, 0.0), (100, 100, 0.01), (4000, 1000, 0.1), (4000, 10, 0.0), (0, 0, 0)],
)
def test_what_is_of_many_models_is_left_to_gather(rows: int, runs: int, gap_s: float) -> None:
    polls = PollSize(4096)
    polls.took(rows, runs)
    assert polls.gap_s == pytest.approx(gap_s)


def test_the_next_poll_sets_the_gap_anew() -> None:
    polls = PollSize(4096)
    polls.took(1000, 1000)
    polls.took(1, 1)
    assert polls.gap_s == 0.0


def test_polls_shrink_when_the_many_have_gone() -> None:
    polls = PollSize(100)
    for _ in range(3):
        polls.took(polls.rows, polls.rows)
    assert polls.rows == 800
    polls.took(800, 20)  # neither few of each model nor many
    polls.took(799, 799)
    polls.took(0, 0)
    assert polls.rows == 800
    for _ in range(9):
        polls.took(polls.rows, 1)
        assert polls.rows >= 100
    assert polls.rows == 100

"""What is remembered of windows: far enough back, in few entries, and nothing from before."""

from __future__ import annotations

import numpy as np
import pytest

from driftloop.drift.state import History, Kept, reach
from driftloop.kernel.records import OffsetRange


def kept(number: int, rows: int, slot: int = -1) -> Kept:
    source = (OffsetRange("t", 0, number * 10, number * 10 + 10),)
    return Kept(
        number, (f"w{number}",), number, number + 1, rows, slot, source, np.array([[rows, 1]])
    )


def filled(
    count: int, rows: int = 5, slots: int = 0, dispersion: float = 1.0, first: int = 0
) -> History:
    history = History()
    for number in range(first, first + count):
        slot = number % slots if slots else -1
        history.append(kept(number, rows, slot), reach(dispersion))
    return history


def test_small_windows_reach_as_far_back_as_rows_in_clumps_ask_for() -> None:
    history = filled(10_000, dispersion=5.0)
    assert len(history.windows) <= 256
    assert 20_000 <= sum(one.rows for one in history.windows) < 25_000


def test_large_windows_lie_by_themselves() -> None:
    history = filled(1000, rows=500)
    assert [one.number for one in history.windows] == list(range(936, 1000))
    assert not history.grown


@pytest.mark.parametrize("slots", [0, 7, 24])
def test_of_windows_that_lie_together_nothing_is_lost(slots: int) -> None:
    # Of 24 slots fewer windows have a partner: the oldest are let go.
    history = filled(2000, slots=slots, dispersion=1e6)
    first = history.windows[0].number
    known = sum(one.counts for one in history.windows)
    left = sum(one.rows for one in history.windows)
    assert known.tolist() == [[left, left // 5]]
    if slots < 24:
        assert left == 10_000
    assert all(one.number >= first for one in history.windows)
    assert [one.number for one in history.windows] == sorted(one.number for one in history.windows)
    assert history.windows[-1].number == 1999


def test_windows_that_lie_together_count_as_the_first_and_name_all_their_sources() -> None:
    history = filled(257)
    first = history.windows[0]
    assert (first.number, first.ids, first.start, first.end) == (0, ("w0",), 0, 2)
    assert first.rows == 10
    assert first.sources == (OffsetRange("t", 0, 0, 20),)
    assert history.grown == {one.number for one in history.windows if one.rows > 5}


def test_only_windows_of_one_slot_lie_together() -> None:
    history = filled(2000, slots=3)
    for one in history.windows:
        # 10 offsets each: those of the other slots in between are covered too.
        (source,) = one.sources
        assert one.number % 3 == one.slot
        assert (source.end - source.start) == 10 * (1 + 3 * (one.rows // 5 - 1))


def test_an_onset_is_known_to_an_eighth_of_its_age() -> None:
    history = filled(20_000, dispersion=1e6)
    since = 0
    for one in reversed(history.windows):
        assert one.rows == 5 or 8 * one.rows <= since
        since += one.rows


def test_nothing_from_before_a_window_is_taken_in() -> None:
    history = filled(3000, dispersion=1e6)
    for number in range(0, 3000, 7):
        since = history.since(number)
        # Each entry ends where the next begins; the newest half lies by itself.
        assert sum(one.rows for one in since) == 5 * (3000 - since[0].number)
        assert since[0].number >= number


def test_windows_without_rows_do_no_harm() -> None:
    history = filled(2000, rows=0)
    assert len(history.windows) <= 256
    assert history.windows[-1].number == 1999

"""Which version serves is read off windows: late labels bring none back, a rollback does."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_builders import outcomes, predictions
from driftloop.drift.serving import Serving
from driftloop.kernel.records import Stream, Window

STREAMS = {Stream.PREDICTIONS: predictions(0), Stream.OUTCOMES: outcomes(0, [0.3])}


def window(hour: int, version: int, rows: int, stream: Stream = Stream.OUTCOMES) -> Window:
    made = STREAMS[stream]
    size = made.end - made.start
    return dataclasses.replace(
        made, start=hour * size, end=(hour + 1) * size, version=version, rows=rows
    )


def changes(serving: Serving, windows: list[Window]) -> list[tuple[int, int]]:
    """The hours in which another version took over, and which."""
    found = []
    for each in windows:
        if serving.takes_over(each):
            serving.replace(each)
            found.append((each.start // (each.end - each.start), each.version))
        serving.note(each)
    return found


def labelled(
    served: list[tuple[int, int]], per_hour: float, delay: float, seed: int, hours: int
) -> list[Window]:
    """Windows of outcomes in their order: from each hour of ``served`` on that version answers so
    many events an hour, whose labels come after exponential delays of ``delay`` hours."""
    rng = np.random.default_rng(seed)
    asked = np.repeat(np.arange(hours), rng.poisson(per_hour, hours))
    begins = np.array([hour for hour, _ in served])
    by = np.array([version for _, version in served])[
        np.searchsorted(begins, asked, side="right") - 1
    ]
    came = (asked + rng.exponential(delay, len(asked))).astype(int)
    counts = {version: np.bincount(came[by == version], minlength=hours) for _, version in served}
    return [
        window(hour, version, int(counts[version][hour]))
        for hour in range(hours)
        for version in sorted(counts, reverse=True)
        if counts[version][hour]
    ]


@pytest.mark.parametrize(
    ("per_hour", "delay"), [(2, 24), (2, 72), (10, 72), (5, 168), (50, 168), (200, 168)]
)
def test_late_labels_bring_no_version_back(per_hour: float, delay: float) -> None:
    for seed in range(5):
        windows = labelled([(0, 1), (200, 2)], per_hour, delay, seed, 800)
        assert [version for _, version in changes(Serving(), windows)] == [1, 2]


@pytest.mark.parametrize(
    ("per_hour", "delay", "within"), [(1000, 0.5, 16), (2, 24, 72), (50, 72, 96), (200, 168, 192)]
)
def test_a_rollback_is_followed_and_so_is_the_next_promotion(
    per_hour: float, delay: float, within: int
) -> None:
    for seed in range(3):
        windows = labelled([(0, 1), (200, 2), (600, 1), (1200, 2)], per_hour, delay, seed, 1600)
        _, _, back, again = changes(Serving(), windows)
        assert (back[1], again[1]) == (1, 2)
        assert 600 < back[0] <= 600 + within
        assert 1200 < again[0] <= 1200 + within


def test_of_predictions_a_rollback_shows_in_two_windows() -> None:
    def swaps(*served: tuple[int, int]) -> list[Window]:
        """The hour of a swap is shared."""
        found = []
        for hour in range(40):
            now = max(pair for pair in served if pair[0] <= hour)
            parts = {now[1]: 1000}
            if hour == now[0] > 0:
                before = max(pair for pair in served if pair[0] < hour)
                parts = {now[1]: 500, before[1]: 500}
            found += [window(hour, v, parts[v], Stream.PREDICTIONS) for v in sorted(parts)[::-1]]
        return found

    assert changes(Serving(), swaps((0, 1), (10, 2), (20, 1))) == [(0, 1), (10, 2), (22, 1)]
    assert changes(Serving(), swaps((0, 1), (10, 2), (20, 1), (30, 2)))[-1] == (33, 2)
    # One that was soon rolled back has not shown that it serves; its silence is waited for.
    assert changes(Serving(), swaps((0, 1), (10, 2), (11, 1))) == [(0, 1), (10, 2), (15, 1)]


def test_of_predictions_a_version_that_serves_next_to_nothing_gives_way() -> None:
    """One worker of several has swapped, and the others do not."""
    serving, stream = Serving(), Stream.PREDICTIONS
    before = [window(hour, 1, 100, stream) for hour in range(30)]
    beside = [
        window(hour, version, rows, stream)
        for hour in range(30, 90)
        for version, rows in ((2, 2), (1, 98))
    ]
    found = changes(serving, [*before, *beside])
    assert [version for _, version in found] == [1, 2, 1]
    assert 30 + 11 <= found[-1][0] <= 30 + 13
    # When all have swapped it serves at once.
    after = [window(hour, 2, 100, stream) for hour in range(90, 99)]
    ((hour, version),) = changes(serving, after)
    assert version == 2
    assert hour <= 92


def test_labels_that_come_while_nothing_is_asked_bring_no_version_back() -> None:
    serving = Serving()
    busy = [window(hour, 1, 100) for hour in range(50)]
    busy += [window(hour, 2, 100) for hour in range(50, 100)]
    weekend = [window(hour, 1, 1) for hour in range(100, 150)]
    assert changes(serving, [*busy, *weekend, window(150, 2, 100)]) == [(0, 1), (50, 2)]


def test_many_late_labels_at_once_bring_no_version_back() -> None:
    serving = Serving()
    windows = [window(hour, 1 if hour < 50 else 2, 100) for hour in range(100)]
    nights = [
        each
        for hour in range(100, 400)
        for each in ([window(hour, 1, 5000)] if hour % 24 < 5 else [window(hour, 2, 100)])
    ]
    assert changes(serving, [*windows, *nights]) == [(0, 1), (50, 2)]


def test_the_version_with_the_most_windows_is_the_one_rolled_back_to() -> None:
    serving = Serving()
    before = [window(hour, 1 + hour // 50, 100) for hour in range(150)]
    after = [
        each
        for hour in range(150, 180)
        for each in (window(hour, 2, 100), *([window(hour, 1, 90)] if hour % 3 else []))
    ]
    assert [version for _, version in changes(serving, [*before, *after])] == [1, 2, 3, 2]


def test_what_an_older_release_kept_is_taken_back() -> None:
    plain = {"version": 2, "highest": 2, "last_start": 7, "last_end": 8, "last_rows": 50}
    found = Serving.from_plain({**plain, "began": 5, "older_rows": 3})
    assert (found.version, found.highest, found.began, found.newest) == (2, 2, 5, 7)
    assert found.here == {2: 50}
    assert not found.firm
    assert Serving.from_plain({**plain, "version": 1, "began": 5, "older_rows": 0}).firm
    none = {"version": -1, "highest": -1, "last_start": -1, "last_end": -1, "last_rows": 0}
    assert Serving.from_plain({**none, "began": -1, "older_rows": 0}) == Serving()


steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 30)), min_size=1, max_size=80
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps, st.sampled_from(Stream))
def test_what_is_kept_is_all_there_is(
    given_steps: list[tuple[int, int, int]], stream: Stream
) -> None:
    hour, once, again = 0, Serving(), Serving()
    for ahead, version, rows in given_steps:
        hour += ahead - 1
        each = window(max(hour, 0), version, rows, stream)
        again = Serving.from_plain(json.loads(json.dumps(again.to_plain())))
        assert again == once
        before = again.to_plain()
        assert once.takes_over(each) is again.takes_over(each)
        assert again.to_plain() == before
        assert changes(once, [each]) == changes(again, [each])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 30), min_size=30, max_size=200), st.integers(1, 3))
def test_a_version_with_the_most_rows_in_every_window_stays(late: list[int], older: int) -> None:
    serving = Serving()
    changes(serving, [window(0, v, 10) for v in (1, 2, 3)])
    windows = [
        each
        for hour, rows in enumerate(late, 1)
        for each in (window(hour, 4, 31), *([window(hour, older, rows)] if rows else []))
    ]
    assert changes(serving, windows) == [(1, 4)]

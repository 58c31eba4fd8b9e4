"""Where windows lie, and the watermark that closes them."""

from __future__ import annotations

import numpy as np
import pytest

from driftloop.kernel.records import Stream
from driftloop.kernel.window_rows import decode_rows, stream_of
from driftloop.kernel.windows import Watermarks, WindowKey, closes_at, expires_at, window_start
from window_builders import LATENESS, RETENTION, SIZE, batch, declaration, outcomes

IDLE = 1000


@pytest.mark.parametrize(
    ("time", "start"), [(0, 0), (99, 0), (100, 100), (-1, -100), (-100, -100), (250, 200)]
)
def test_a_window_starts_at_a_multiple_of_its_size(time: int, start: int) -> None:
    assert window_start(time, 100) == start
    assert window_start(np.array([time]), 100).tolist() == [start]


def test_a_window_closes_after_its_lateness_and_expires_after_its_retention() -> None:
    policy = declaration().windows
    assert closes_at(200, policy) == 200 + SIZE + LATENESS
    assert expires_at(200, policy) == 200 + SIZE + LATENESS + RETENTION


def current(watermarks: Watermarks, now: int) -> int | None:
    """Where nothing is under way of partitions that are silent."""
    for partition in watermarks.silent(now):
        watermarks.let_go(partition)
    return watermarks.current()


def test_no_watermark_before_every_partition_reported() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 500, 2)
    assert current(watermarks, 0) is None
    watermarks.report(1, 300, 2)
    assert current(watermarks, 0) == 300


def test_an_idle_partition_is_not_waited_for() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 500, 2)
    watermarks.report(1, 300, 2)
    watermarks.hear(0, 0)
    watermarks.hear(1, 0)
    watermarks.hear(0, IDLE - 1)
    assert current(watermarks, IDLE - 1) == 300
    assert current(watermarks, IDLE) == 500


def test_a_silent_partition_is_waited_for_until_it_is_let_go() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 500, 2)
    watermarks.report(1, 300, 2)
    assert watermarks.silent(0) == []
    watermarks.hear(0, 9 * IDLE)
    assert watermarks.silent(9 * IDLE) == []  # all were silent before
    watermarks.hear(0, 10 * IDLE - 1)
    assert watermarks.silent(10 * IDLE) == [1]
    assert watermarks.current() == 300
    watermarks.let_go(1)
    assert watermarks.silent(10 * IDLE) == []
    assert watermarks.current() == 500


def test_a_partition_that_never_sent_anything_becomes_idle() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 500, 2)
    watermarks.hear(0, 50)
    assert current(watermarks, 100) is None
    watermarks.hear(0, 50 + IDLE)
    assert current(watermarks, 100 + IDLE) == 500


def test_with_all_partitions_idle_the_watermark_is_the_highest_time_seen() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 500, 2)
    watermarks.report(1, 300, 2)
    assert current(watermarks, 0) == 300
    assert current(watermarks, 10 * IDLE) == 500


def test_the_watermark_never_goes_back() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.hold_from(700)
    watermarks.report(0, 500, 1)
    assert current(watermarks, 0) == 700


def test_a_partition_that_comes_back_holds_the_watermark_where_it_is() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 500, 2)
    watermarks.report(1, 300, 2)
    assert current(watermarks, 0) == 300
    watermarks.hear(0, IDLE - 1)
    assert current(watermarks, IDLE) == 500
    watermarks.hear(1, IDLE + 1)
    watermarks.report(0, 900, 2)
    assert current(watermarks, IDLE + 1) == 500


def test_after_a_silence_of_all_the_first_to_send_does_not_outrun_the_others() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 300, 2)
    watermarks.report(1, 300, 2)
    assert current(watermarks, 0) == 300
    watermarks.hear(0, 5 * IDLE)
    watermarks.report(0, 900, 2)
    assert current(watermarks, 5 * IDLE) == 300
    watermarks.hear(1, 5 * IDLE + 1)
    watermarks.report(1, 800, 2)
    assert current(watermarks, 5 * IDLE + 1) == 800


def test_a_partition_that_stays_silent_after_a_silence_of_all_is_waited_for_no_longer() -> None:
    watermarks = Watermarks(IDLE)
    watermarks.report(0, 300, 2)
    watermarks.report(1, 300, 2)
    assert current(watermarks, 0) == 300
    watermarks.hear(0, 5 * IDLE)
    watermarks.report(0, 900, 2)
    assert current(watermarks, 6 * IDLE - 1) == 300
    watermarks.hear(0, 6 * IDLE - 1)
    assert current(watermarks, 6 * IDLE) == 900


def test_rows_are_grouped_by_window_version_and_shadow_in_row_order() -> None:
    block = outcomes([150, 20, 160, 30, 155], versions=[1, 2, 1, 1, 1], shadows=[-1, 3, -1, -1, 4])
    rows = decode_rows(declaration(), Stream.OUTCOMES, batch(block).values)
    groups = [(key, found.tolist()) for key, found in rows.by_window(np.arange(5), SIZE)]
    assert groups == [
        (WindowKey(0, 1, -1), [3]),
        (WindowKey(0, 2, 3), [1]),
        (WindowKey(100, 1, -1), [0, 2]),
        (WindowKey(100, 1, 4), [4]),
    ]


def test_only_predictions_and_outcomes_have_windows() -> None:
    assert stream_of(declaration(), "m.predictions") is Stream.PREDICTIONS
    with pytest.raises(ValueError, match=r"m\.labels"):
        stream_of(declaration(), "m.labels")

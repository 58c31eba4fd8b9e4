"""A dispersion is one of windows of some size."""

from __future__ import annotations

import numpy as np
import pytest

from driftloop.drift.clumps import Clumps, WindowRows

R = 0.05


def test_larger_windows_of_rows_that_agree_in_pairs_vary_more() -> None:
    """Against counts of rows with a common part: their variance over that of independent rows."""
    rng = np.random.default_rng(1)
    windows = 40_000

    def dispersion(rows: int) -> float:
        chance = rng.beta(0.5 * (1 / R - 1), 0.5 * (1 / R - 1), windows)
        return float(rng.binomial(rows, chance).var() / (rows * 0.25))

    clumps = Clumps.of(np.array([[dispersion(20)]]), np.array([20.0]))
    for rows in (50, 200, 1000):
        assert clumps.among(np.array([float(rows)])).item() == pytest.approx(
            dispersion(rows), rel=0.1
        )


def test_smaller_windows_have_the_dispersion_that_is_known() -> None:
    clumps = Clumps.of(np.array([[4.0, 1.0]]), np.array([100.0]))
    for rows in (0.0, 1.0, 99.0, 100.0):
        assert clumps.among(np.array([rows])).tolist() == [[4.0, 1.0]]
    # Independent rows are so in windows of any size.
    assert clumps.among(np.array([1e6]))[0, 1] == 1.0


@pytest.mark.parametrize("unknown", [0.0, 1.0])
def test_where_the_windows_are_not_known_size_says_nothing(unknown: float) -> None:
    clumps = Clumps.of(np.array([[4.0]]), np.array([unknown]))
    assert clumps.among(np.array([1e6])).tolist() == [[4.0]]


def test_a_segment_has_the_dispersion_of_all_rows_at_least() -> None:
    clumps = Clumps.of(np.array([[11.0], [2.0]]), np.array([101.0, 11.0]))
    assert clumps.among(np.array([201.0, 21.0])).tolist() == [[21.0], [21.0]]


def test_the_larger_of_two_holds_stream_by_stream() -> None:
    one = Clumps.of(np.array([[2.0, 6.0]]), np.array([11.0]))
    other = Clumps.of(np.array([[3.0, 1.0]]), np.array([101.0]))
    both = one.or_more(other)
    assert both.least.tolist() == [[3.0, 6.0]]
    assert both.pairs.tolist() == [[0.1, 0.5]]
    lent = Clumps(one.least.copy(), one.pairs.copy())
    lent.lend(0, one, 1)
    assert lent.least.tolist() == [[6.0, 6.0]]
    assert one.least.tolist() == [[2.0, 6.0]]


def test_window_rows_are_weighted_by_rows() -> None:
    windows = WindowRows(2)
    assert windows.mean().tolist() == [0.0, 0.0]
    for rows in ([10.0, 0.0], [30.0, 5.0]):
        windows.count(np.array(rows))
    assert windows.mean().tolist() == [25.0, 5.0]

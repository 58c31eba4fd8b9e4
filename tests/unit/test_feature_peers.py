"""The detectors that ours is compared with must be what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.feature_peers import by_row, ks_critical, ks_distance, windowed
from river import drift
from scipy.stats import ks_2samp


@given(seed=st.integers(0, 10_000), ties=st.booleans(), moved=st.sampled_from([0.0, 0.3]))
def test_the_distance_is_scipys(seed: int, ties: bool, moved: float) -> None:
    rng = np.random.default_rng(seed)
    reference, windows = rng.standard_normal(300), rng.standard_normal((3, 40)) + moved
    if ties:
        reference, windows = np.round(reference, 1), np.round(windows, 1)
    found = ks_distance(np.sort(reference), windows)
    for window, distance in zip(windows, found, strict=True):
        assert distance == pytest.approx(ks_2samp(reference, window, method="asymp").statistic)


@pytest.mark.parametrize("level", [0.05, 0.0025])
def test_the_critical_distance_is_that_of_the_p_value(level: float) -> None:
    rng = np.random.default_rng(5)
    reference = rng.standard_normal(10_000)
    windows = rng.standard_normal((200, 1000)) + np.linspace(0.0, 0.2, 200)[:, None]
    beyond = ks_distance(np.sort(reference), windows) > ks_critical(10_000, 1000, level)
    p_values = [ks_2samp(reference, window, method="asymp").pvalue for window in windows]
    assert 0 < beyond.sum() < 200
    assert beyond.tolist() == [p < level for p in p_values]


def test_windows_of_the_feature_that_moves_are_flagged() -> None:
    rng = np.random.default_rng(6)
    reference, rows = rng.standard_normal((10_000, 3)), rng.standard_normal((4000, 3))
    rows[2000:, 1] += 2.0
    found = windowed(reference, rows)
    assert found["psi_0_2"].tolist() == [
        [False, late, False] for late in (False, False, True, True)
    ]
    assert found["ks_bonferroni"][2:, 1].all()
    assert found["ks_any"].sum() >= found["ks_bonferroni"].sum()


def test_a_detector_of_rows_starts_afresh_after_an_alarm() -> None:
    rng = np.random.default_rng(7)
    rows = rng.standard_normal(6000)
    rows[2000:4000] += 2.0
    alarms = by_row(drift.ADWIN, rng.standard_normal(2000), rows)
    assert len(alarms) == 2
    assert 2000 < alarms[0] < 2200 < 4000 < alarms[1] < 4200

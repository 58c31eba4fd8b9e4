"""The reference profile: bins that can show a change, and a bound that holds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.kernel.statistics.losses import LOSS_BOUND
from driftloop.models.baseline import upper_bound
from driftloop.models.evaluation import auc, calibration_error, evaluate, log_loss
from driftloop.models.profile import (
    MAX_BINS,
    MAX_LEVELS,
    categorical_profile,
    make_profile,
    numeric_profile,
)

NAN = float("nan")


def counts_by_definition(values: F64, edges: tuple[float, ...]) -> tuple[int, ...]:
    """Bin i holds edges[i-1] < x <= edges[i]."""
    bounds = [-math.inf, *edges, math.inf]
    return tuple(
        int(((values > low) & (values <= high)).sum()) for low, high in itertools.pairwise(bounds)
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, NAN])
        | st.integers(-30, 30).map(float)
        | st.floats(-1e300, 1e300),
        max_size=300,
    )
)
def test_bins_are_few_ascending_not_empty_and_hold_every_value(values: list[float]) -> None:
    column = np.array(values, dtype=np.float64)
    profile = numeric_profile("x", column)
    present = column[~np.isnan(column)]
    assert list(profile.edges) == sorted(set(profile.edges))
    assert len(profile.counts) == len(profile.edges) + 1 <= MAX_BINS
    assert sum(profile.counts) + profile.missing == len(column)
    assert profile.counts == counts_by_definition(present, profile.edges)
    assert all(profile.counts) or not len(present)
    shuffled = numeric_profile("x", np.random.default_rng(0).permutation(column))
    assert repr(shuffled) == repr(profile)


def test_bins_of_a_continuous_column_have_about_equal_mass() -> None:
    profile = numeric_profile("x", np.random.default_rng(0).normal(size=16_000))
    assert len(profile.counts) == 16
    assert max(profile.counts) - min(profile.counts) <= 16


def test_few_distinct_values_get_a_bin_each() -> None:
    profile = numeric_profile("x", np.array([3.0, 1.0, 1.0, 2.0, NAN]))
    assert (profile.edges, profile.counts, profile.missing) == ((1.0, 2.0), (2, 1, 1), 1)
    assert (profile.minimum, profile.maximum) == (1.0, 3.0)


def test_a_constant_column_has_one_bin() -> None:
    profile = numeric_profile("x", np.full(100, 5.0))
    assert (profile.edges, profile.counts) == ((), (100,))


@pytest.mark.parametrize("count", [0, 10])
def test_a_column_without_values_has_one_empty_bin(count: int) -> None:
    profile = numeric_profile("x", np.full(count, NAN))
    assert (profile.edges, profile.counts, profile.missing) == ((), (0,), count)
    assert (profile.minimum, profile.maximum) == (0.0, 0.0)


@pytest.mark.parametrize("heavy", [-10.0, 0.5, 10.0])
def test_a_value_of_most_rows_has_a_bin_of_its_own(heavy: float) -> None:
    rest = np.random.default_rng(0).uniform(0, 1, size=300)
    profile = numeric_profile("x", np.concatenate([np.full(9_700, heavy), rest]))
    assert 9_700 in profile.counts
    assert len(profile.counts) > 1


def test_levels_ascend_with_their_counts() -> None:
    codes = np.array([[2], [0], [2], [-1]], dtype=np.int32)
    profile = categorical_profile("c", Categories(codes, (("b", "never", "a"),)), 0)
    assert (profile.levels, profile.counts, profile.missing) == (("a", "b"), (2, 1), 1)


def test_of_too_many_levels_the_most_frequent_stay() -> None:
    count = MAX_LEVELS + 100
    codes = np.concatenate([np.arange(count), np.arange(100, count)]).astype(np.int32)
    levels = tuple(f"{i:04}" for i in range(count))
    profile = categorical_profile("c", Categories(codes[:, None], (levels,)), 0)
    assert profile.levels == levels[100:]
    assert set(profile.counts) == {2}


def test_the_score_follows_the_numeric_features() -> None:
    features = Features(np.zeros((4, 2)), Categories(np.zeros((4, 1), dtype=np.int32), (("a",),)))
    scores, labels = np.array([[0.2], [0.7]]), np.array([0.0, 1.0])
    profile = make_profile(["x", "y"], ["c"], features, scores, labels)
    assert [part.name for part in profile.numeric] == ["x", "y", "score"]
    assert [part.name for part in profile.categorical] == ["c"]
    assert (profile.rows, profile.loss.rows) == (4, 2)
    assert profile.numeric[2].counts == (1, 1)


def test_the_loss_bound_is_the_empirical_bernstein_bound() -> None:
    losses = np.random.default_rng(0).uniform(0, LOSS_BOUND, size=1000)
    upper = upper_bound(losses, LOSS_BOUND)
    scaled = losses / LOSS_BOUND
    log_term = math.log(2 / 0.05)
    expected = scaled.mean() + math.sqrt(2 * scaled.var(ddof=1) * log_term / 1000)
    expected += 7 * log_term / (3 * 999)
    assert upper == pytest.approx(expected * LOSS_BOUND)
    assert losses.mean() < upper < LOSS_BOUND


def test_the_loss_bound_covers_the_mean() -> None:
    rng = np.random.default_rng(1)
    samples = LOSS_BOUND * (rng.random((1000, 500)) < 0.1)
    covered = [upper_bound(sample, LOSS_BOUND) >= 0.1 * LOSS_BOUND for sample in samples]
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("count", [0, 1])
def test_the_loss_bound_of_hardly_any_rows_is_the_largest_loss(count: int) -> None:
    assert upper_bound(np.zeros(count), LOSS_BOUND) == LOSS_BOUND


def test_auc_counts_ties_as_halves() -> None:
    rng = np.random.default_rng(2)
    score, label = np.round(rng.random(200), 1), (rng.random(200) < 0.4).astype(float)
    ones, zeros = score[label == 1], score[label == 0]
    wins = (ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean()
    assert auc(score, label) == pytest.approx(wins)


def test_auc_is_absent_where_it_is_undefined() -> None:
    assert "auc" not in evaluate(np.array([[0.1], [0.2]]), np.zeros(2))


def test_log_loss_of_a_certain_error_is_finite() -> None:
    assert log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(-math.log(1e-15))
    assert log_loss(np.array([1.0]), np.array([1.0])) == pytest.approx(0.0, abs=1e-14)


def test_calibration_error_is_zero_when_scores_are_shares() -> None:
    score = np.repeat([0.25, 0.75], 4)
    label = np.array([1, 0, 0, 0, 1, 1, 1, 0], dtype=float)
    assert calibration_error(score, label) == pytest.approx(0.0)
    assert calibration_error(score, 1 - label) == pytest.approx(0.5)

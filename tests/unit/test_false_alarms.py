"""The budget of false alarms and the power that is left, in small seeded simulations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from driftloop.drift.observations import observe, watch
from numpy.typing import NDArray

from decision_builders import MODEL, declaration, outcomes, predictions, profile
from driftloop.drift import detectors
from driftloop.drift.track import Track
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import (
    Alert,
    AlertStatus,
    CategoricalProfile,
    LossBaseline,
    NumericProfile,
    Profile,
    Window,
)

BINS = 10
EVEN = np.full(BINS, 1 / BINS)
LEVELS = np.array([0.9, 0.1])


def sampled_profile(rng: np.random.Generator, rows: int) -> Profile:
    """A reference as a finite sample gives it, from the same source as the windows."""
    whole = profile()
    numeric = tuple(
        replace(column, counts=tuple(rng.multinomial(rows, EVEN).tolist()))
        for column in whole.numeric
    )
    levels = tuple(rng.multinomial(rows, LEVELS).tolist())
    losses = rng.uniform(0.0, 0.8, rows)
    upper = float(losses.mean() + 2.0 * losses.std() / np.sqrt(rows))
    return Profile(
        rows,
        numeric,
        (CategoricalProfile("c", ("a", "b"), levels, 0),),
        LossBaseline(rows, float(losses.mean()), upper, whole.loss.bound),
    )


def window(rng: np.random.Generator, hour: int, rows: int, x: NDArray[np.float64] = EVEN) -> Window:
    """Predictions drawn from the reference's source, but for ``x``."""
    a, b = rng.multinomial(rows, LEVELS).tolist()
    return predictions(
        hour,
        rng.multinomial(rows, x).tolist(),
        score=rng.multinomial(rows, EVEN).tolist(),
        levels=(a, b),
    )


def run(reference: Profile, windows: list[Window], budget: float, floor: float) -> list[Alert]:
    """Openings over the windows of one stream."""
    policy = replace(declaration().alerts, false_alarms_per_100k=budget)
    stream = windows[0].stream
    watched = watch(reference, stream, policy)
    track = Track(Entries(), MODEL, str(stream))
    alerts = [
        alert
        for each in windows
        for alert in track.take(each, watched, observe(each, reference), lambda kind: floor)
    ]
    return [alert for alert in alerts if alert.status is AlertStatus.OPENED]


def test_without_drift_alarms_stay_within_the_budget() -> None:
    # 20 runs of 5,000 rows at 2 per 100k: each has an alarm with chance at most 0.1, and a
    # reference outside its limits with chance at most 0.05. So more than 9 of the 20 have one
    # with chance below 0.0003 (binomial, p = 0.15). No floor: the tests alone must keep it.
    rng = np.random.default_rng(11)
    alarmed = 0
    for _ in range(20):
        reference = sampled_profile(rng, 2000)
        windows = [window(rng, hour, 250) for hour in range(20)]
        alarmed += bool(run(reference, windows, budget=2.0, floor=0.0))
    assert alarmed <= 9


def test_losses_no_worse_than_the_baseline_stay_within_the_budget() -> None:
    # As above, on outcomes: chance at most 0.1 each, and a baseline below the true mean with chance
    # 0.025; more than 8 of 20 with chance below 0.0004 (binomial, p = 0.125).
    rng = np.random.default_rng(13)
    alarmed = 0
    for _ in range(20):
        reference = sampled_profile(rng, 2000)
        upper = reference.loss.upper
        windows = [
            outcomes(hour, rng.uniform(0.0, 0.8, 250).tolist(), upper=upper) for hour in range(20)
        ]
        alarmed += bool(run(reference, windows, budget=2.0, floor=0.0))
    assert alarmed <= 8


@pytest.mark.parametrize("priced", [True, False])
def test_only_the_price_of_a_small_reference_keeps_a_long_stream_quiet(
    priced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 150k rows at 0.02 per 100k, against 1,000 rows of reference: an alarm with chance at most
    # 0.03, and limits that fail with chance at most 0.05. Bets against the sample itself, taken for
    # the truth, win without any drift.
    if not priced:
        monkeypatch.setattr(detectors, "divergence_radius", lambda rows, bins, error: 1e-12)
    rng = np.random.default_rng(12)
    windows = [window(rng, hour, 1500) for hour in range(100)]
    alarms = run(sampled_profile(rng, 1000), windows, budget=0.02, floor=0.0)
    assert bool(alarms) is not priced


@pytest.mark.parametrize(("sigma", "within"), [(0.25, 5000), (0.5, 1500), (1.0, 1000)])
def test_a_shift_of_a_feature_is_found(sigma: float, within: int) -> None:
    # A normal feature moves by sigma; bins hold a tenth of the reference each.
    rng = np.random.default_rng(14)
    edges = np.quantile(rng.normal(size=400_000), np.arange(1, BINS) / BINS)
    moved = np.histogram(rng.normal(sigma, 1, 400_000), [-np.inf, *edges, np.inf])[0] / 400_000
    for _ in range(5):
        windows = [window(rng, hour, 250) for hour in range(10)]
        windows += [window(rng, hour, 250, moved) for hour in range(10, 10 + within // 250)]
        (found,) = run(sampled_profile(rng, 10_000), windows, budget=1.0, floor=0.02)
        assert found.subject == "x"


def test_a_column_of_many_rare_levels_does_not_alarm() -> None:
    # 300 levels, 3,000 rows of reference: shares differ a lot by sampling alone.
    rng = np.random.default_rng(15)
    levels = 300
    even = np.full(levels, 1 / levels)
    column = NumericProfile("x", tuple(map(float, range(levels - 1))), (), 0, 0.0, 1.0)
    whole = profile()
    reference = replace(
        whole,
        numeric=(
            replace(column, counts=tuple(rng.multinomial(3000, even).tolist())),
            whole.numeric[1],
        ),
    )
    windows = [predictions(h, rng.multinomial(1000, even).tolist()) for h in range(30)]
    assert not run(reference, windows, budget=1.0, floor=0.0)

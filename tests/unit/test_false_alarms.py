"""The budget of false alarms and the power that is left, in small seeded simulations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from loadtest.clumps import bursts, scaled
from loadtest.drifting import FLOORS
from loadtest.few_alerts import alerts_of_one_cause, rare_flags
from loadtest.levels import long_tail
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from decision_builders import (
    HOUR,
    LOSS_EDGES,
    LOSS_MEANS,
    MODEL,
    declaration,
    outcomes,
    predictions,
    profile,
    version,
)
from driftloop.drift.bets import growth, powers, tilts
from driftloop.drift.parts import Whole
from driftloop.drift.track import Track
from driftloop.drift.watch import watch
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import (
    Alert,
    AlertStatus,
    CategoricalProfile,
    NumericProfile,
    Profile,
    Window,
)
from driftloop.models.payoffs import POWERS, SCALES, SHIFTS

BINS = 10
EVEN = np.full(BINS, 1 / BINS)
LEVELS = np.array([0.9, 0.1])
ERRORS = 0.2


def sampled_profile(rng: np.random.Generator, rows: int) -> Profile:
    """A reference as a finite sample gives it, from the same source as the windows."""
    whole = profile()
    numeric = tuple(
        replace(column, counts=tuple(rng.multinomial(rows, EVEN).tolist()))
        for column in whole.numeric
    )
    levels = tuple(rng.multinomial(rows, LEVELS).tolist())
    losses = rng.uniform(0.0, 0.8, rows)
    bins = np.bincount(np.searchsorted(LOSS_EDGES, losses), minlength=len(LOSS_MEANS))
    loss = replace(
        whole.loss,
        rows=rows,
        mean=float(losses.mean()),
        counts=tuple(bins.tolist()),
        errors=int(rng.binomial(rows, ERRORS)),
    )
    return Profile(rows, numeric, (CategoricalProfile("c", ("a", "b"), levels, 0),), loss)


def window(rng: np.random.Generator, hour: int, rows: int, x: NDArray[np.float64] = EVEN) -> Window:
    """Predictions drawn from the reference's source, but for ``x``."""
    a, b = rng.multinomial(rows, LEVELS).tolist()
    return predictions(
        hour,
        rng.multinomial(rows, x).tolist(),
        score=rng.multinomial(rows, EVEN).tolist(),
        levels=(a, b),
    )


def run(
    profiled: Profile,
    windows: list[Window],
    budget: float,
    *,
    floors: bool = False,
    **policies: Any,
) -> list[Alert]:
    """Openings over the windows of one stream. Without floors the tests alone must keep quiet."""
    none = {} if floors else dict.fromkeys(FLOORS, -1.0)
    policy = replace(declaration().alerts, false_alarms_per_100k=budget, **none, **policies)
    stream = windows[0].stream
    watched = watch(version(1, profiled), stream, policy)
    track = Track(Entries(), MODEL, str(stream))
    alerts = [
        alert
        for each in windows
        for alert in track.take(Whole.of([each]), watched, watched.counts(each))
    ]
    return [alert for alert in alerts if alert.status is AlertStatus.OPENED]


FIRST = np.zeros(1, dtype=np.int64)
"""Where the only stream begins."""


def bags(rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Where the bins of some bags end, and their shares."""
    shares = rng.dirichlet(np.full(12, 0.5), 50)
    ends = np.cumsum(shares, axis=1)
    ends[:, -1] = 1.0
    return ends, shares


def test_a_row_drawn_from_the_bag_pays_one_on_average() -> None:
    high, shares = bags(np.random.default_rng(1))
    for logs, bets in (
        (tilts(high, FIRST), len(SHIFTS) + len(SCALES)),
        (powers(high, FIRST), len(POWERS)),
    ):
        mean = (shares[:, None, :] * np.exp(logs)).sum(axis=2)
        assert mean.shape == (50, bets)
        np.testing.assert_allclose(mean, 1.0, rtol=1e-9)
    inside, outside = growth(shares)
    np.testing.assert_allclose(
        shares * np.exp(inside) + (1 - shares) * np.exp(outside), 1.0, rtol=1e-9
    )


def test_a_windows_payoff_within_its_bag_is_at_most_one_on_average() -> None:
    # Every way to take 4 of 10 rows out of the bag is as likely as any other (Maclaurin).
    bag = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    shares = np.bincount(bag) / len(bag)
    ends = np.cumsum(shares)
    for logs in (*tilts(ends, FIRST), *powers(ends, FIRST)):
        paid = np.exp([logs[bag[list(rows)]].sum() for rows in combinations(range(10), 4)])
        assert paid.mean() <= 1.0


def test_without_drift_alarms_stay_within_the_budget() -> None:
    # 40 runs of 5,000 rows at 2 per 100k: each has an alarm with chance at most 0.1, so more than
    # 11 of the 40 have one with chance below 0.0002 (binomial).
    rng = np.random.default_rng(11)
    alarmed = 0
    for _ in range(40):
        reference = sampled_profile(rng, 2000)
        windows = [window(rng, hour, 250) for hour in range(20)]
        alarmed += bool(run(reference, windows, budget=2.0))
    assert alarmed <= 11


def test_a_small_reference_keeps_a_long_stream_quiet() -> None:
    # 20 runs of 50,000 rows at 0.2 per 100k, against 500 rows of reference: bets against the sample
    # itself, taken for the truth, would win in each of them. Chance of an alarm at most 0.1 each:
    # more than 7 of 20 with chance below 0.0005.
    rng = np.random.default_rng(12)
    alarmed = 0
    for _ in range(20):
        windows = [window(rng, hour, 1000) for hour in range(50)]
        alarmed += bool(run(sampled_profile(rng, 500), windows, budget=0.2))
    assert alarmed <= 7


def test_losses_no_worse_than_the_baseline_stay_within_the_budget() -> None:
    # As the first, on outcomes.
    rng = np.random.default_rng(13)
    alarmed = 0
    for _ in range(40):
        reference = sampled_profile(rng, 2000)
        windows = [
            outcomes(
                hour, rng.uniform(0.0, 0.8, 250).tolist(), errors=int(rng.binomial(250, ERRORS))
            )
            for hour in range(20)
        ]
        alarmed += bool(run(reference, windows, budget=2.0))
    assert alarmed <= 11


def test_rows_in_clumps_stay_within_the_budget_where_their_dispersion_is_known() -> None:
    # Each value comes 25 times in a row. As the first, in 20 runs: more than 7 alarm with chance
    # below 0.0005; taken for independent, all of them would.
    rng = np.random.default_rng(16)
    alarmed = {25.0: 0, 1.0: 0}
    for _ in range(20):
        whole = sampled_profile(rng, 20_000)
        counts = tuple((25 * rng.multinomial(800, EVEN)).tolist())
        windows = [
            predictions(
                h,
                (25 * rng.multinomial(10, EVEN)).tolist(),
                score=(25,) * BINS,
                levels=(225, 25),
            )
            for h in range(20)
        ]
        for dispersion in alarmed:
            x = replace(whole.numeric[0], counts=counts, dispersion=dispersion)
            reference = replace(whole, numeric=(x, whole.numeric[1]))
            said = run(reference, windows, budget=2.0)
            alarmed[dispersion] += any(alert.subject == "x" for alert in said)
    assert alarmed[25.0] <= 7
    assert alarmed[1.0] == 20


@pytest.mark.parametrize(("sigma", "within"), [(0.25, 2000), (0.5, 750), (1.0, 500)])
def test_a_shift_of_a_feature_is_found(sigma: float, within: int) -> None:
    # A normal feature moves by sigma; bins hold a tenth of the reference each.
    rng = np.random.default_rng(14)
    edges = np.quantile(rng.normal(size=400_000), np.arange(1, BINS) / BINS)
    moved = np.histogram(rng.normal(sigma, 1, 400_000), [-np.inf, *edges, np.inf])[0] / 400_000
    for _ in range(5):
        windows = [window(rng, hour, 250) for hour in range(10)]
        windows += [window(rng, hour, 250, moved) for hour in range(10, 10 + within // 250)]
        (found,) = run(sampled_profile(rng, 10_000), windows, budget=1.0, floors=True)
        assert found.subject == "x"


def test_clumps_in_small_windows_hide_no_change() -> None:
    # Five labels a window and a dispersion of five: what it takes lies in a thousand windows. Of
    # 100 such streams with other seeds all were found, within 10,200 labels.
    rng = np.random.default_rng(17)
    whole = profile()
    loss = replace(whole.loss, errors=4000, dispersion=5.0, error_dispersion=5.0)
    losses = [[0.2, 0.2, 0.6, 0.6, 0.6], [0.2, 0.2, 0.2, 0.6, 0.6]]
    for _ in range(3):
        rates = [ERRORS] * 400 + [ERRORS + 0.05] * 2400
        windows = [
            outcomes(hour, losses[hour % 2], errors=int(rng.binomial(5, rate)))
            for hour, rate in enumerate(rates)
        ]
        (found,) = run(replace(whole, loss=loss), windows, budget=1.0, floors=True)
        assert found.subject == "errors"
        assert found.opened_at // HOUR > 400


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
    assert not run(reference, windows, budget=1.0)


def first_weeks(windows: int) -> dict[str, Any]:
    return {"reference": "first_weeks", "reference_period": windows * HOUR}


def clumped_windows(rng: np.random.Generator, count: int) -> list[Window]:
    """Of 25 rows, whose x has a tenth of its variance in common, and windows after one another
    too."""
    common, found = rng.normal(), []
    cuts = ndtri(np.arange(1, BINS) / BINS)
    for hour in range(count):
        common = 0.8 * common + 0.6 * rng.normal()
        below = np.concatenate([[0.0], ndtr((cuts - 0.1**0.5 * common) / 0.9**0.5), [1.0]])
        found.append(window(rng, hour, 25, np.diff(below)))
    return found


@pytest.mark.parametrize("weeks", [4, 14])
def test_a_short_reference_of_first_weeks_keeps_the_budget(weeks: int) -> None:
    # 20 x 3,750 rows at a budget of 2 false alerts in 100,000: more than 6 with chance below 0.001.
    # With the dispersion that these windows seem to have there are 20 (of 4 windows) and 9.
    rng = np.random.default_rng(17)
    alerts = 0
    for _ in range(20):
        reference = sampled_profile(rng, 2000)
        alerts += len(run(reference, clumped_windows(rng, 150), 2.0, **first_weeks(weeks)))
    assert alerts <= 6


@pytest.mark.parametrize("weeks", [14, 100])
def test_a_shift_is_found_however_few_the_first_weeks_were(weeks: int) -> None:
    # Of independent rows, one of 1 sd after 100 windows.
    rng = np.random.default_rng(18)
    shifted = np.diff(np.concatenate([[0.0], ndtr(ndtri(np.arange(1, BINS) / BINS) - 1.0), [1.0]]))
    found = 0
    for _ in range(10):
        reference = sampled_profile(rng, 2000)
        windows = [window(rng, h, 25, EVEN if h < 100 else shifted) for h in range(120)]
        said = run(reference, windows, 1.0, floors=True, **first_weeks(weeks))
        found += any(alert.subject == "x" and alert.onset >= 90 * HOUR for alert in said)
    assert found >= 9


@pytest.mark.parametrize("kind", ["spread", "bursts"])
def test_windows_that_differ_in_one_direction_keep_the_budget(kind: str) -> None:
    # At most one alert is expected in 100,000 rows; more than five come with chance below 0.001.
    # With the mean dispersion over all directions it was 17 to 40.
    found = scaled("brief", True, 2, 0) if kind == "spread" else bursts("50_rows", True, 2, 0)
    assert found <= 5


@pytest.mark.parametrize(
    "tail", [(1_000, 200, 1.0), (1_000, 2_000, 1.0), (10_000, 2_000, 1.0), (10_000, 2_000, 1.5)]
)
def test_values_that_a_reference_missed_by_chance_keep_the_budget(
    tail: tuple[int, int, float],
) -> None:
    # Ten streams of 10,000 rows, no floors: at most one alert is expected, more than five come with
    # chance below 0.001. Of a reference that has seen all of its own rows' levels there were ten.
    assert sum(long_tail(tail, False, 10_000, 19, index) for index in range(10)) <= 5


def test_flags_that_few_rows_have_do_not_stand_still() -> None:
    # Three streams of 100,000 rows, of which the kind may spend a sixth of the budget: more than
    # four come with chance below 0.001. With the reference's share taken for the true one it was
    # six.
    found = sum((rare_flags(1_000, 3, index) for index in range(3)), Counter[str]())
    assert found["constant"] <= 4


def test_two_features_that_move_at_one_moment_are_one_alert() -> None:
    # In a stream of a hundred the second begins too late by its likelihood; more than two of twenty
    # come with chance below 0.002.
    found = [alerts_of_one_cause(11, index) for index in range(20)]
    assert min(found) >= 1
    assert sum(found) - len(found) <= 2

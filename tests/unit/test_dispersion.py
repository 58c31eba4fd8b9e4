"""Dispersion: 1 for independent rows, and the known figures of rows that depend on one another.

Seeds are fixed. Where a figure is random, the bounds are some four standard errors wide.
"""

from __future__ import annotations

import numpy as np
import pytest

from driftloop.drift import bets
from driftloop.drift.luck import bounded_dispersion, luck
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models.deviations import compared
from driftloop.models.dispersion import (
    LEAST_BLOCKS,
    NOISE,
    ROW_BLOCK,
    blocks_of,
    dispersion,
    share_dispersion,
    table_dispersion,
)
from driftloop.models.payoffs import TILTS, Betting, payoffs


def persistent(random: np.random.Generator, rows: int, correlation: float) -> I64:
    """0 or 1, with this autocorrelation at lag 1: a row repeats the one before, or is drawn."""
    drawn = random.random(rows) < 0.2
    new = random.random(rows) >= correlation
    new[0] = True
    return drawn[np.maximum.accumulate(np.where(new, np.arange(rows), 0))].astype(np.int64)


def autoregressive(random: np.random.Generator, rows: int, correlation: float) -> F64:
    values = random.normal(size=rows)
    for row in range(1, rows):
        noise = values[row] * (1 - correlation**2) ** 0.5
        values[row] = correlation * values[row - 1] + noise
    return values


@pytest.mark.parametrize("kind", ["bins", "rare levels", "share"])
def test_independent_rows_have_none_but_for_the_stated_chance(kind: str) -> None:
    random = np.random.default_rng(1)
    weights = 1.0 / np.arange(1, 501)
    more = 0
    for _ in range(300):
        blocks = blocks_of(np.sort(random.integers(0, 10**7, 3000)), 36_000, 3000)
        if kind == "bins":
            found = dispersion(random.integers(0, 16, 3000), 16, blocks)
        elif kind == "rare levels":
            levels = random.choice(500, 3000, p=weights / weights.sum())
            found = dispersion(levels, 500, blocks)
        else:
            found = share_dispersion(random.random(3000) < 0.01, blocks)
        assert found < 6
        more += found > 1.0
    assert more <= 300 * NOISE + 4 * (300 * NOISE) ** 0.5


def test_a_binary_stream_of_autocorrelation_03_has_186_as_its_upper_bound_covers() -> None:
    truth = (1 + 0.3) / (1 - 0.3)
    random = np.random.default_rng(2)
    for blocks in (blocks_of(None, 0, 10_000), blocks_of(np.arange(10_000), 50, 10_000)):
        found = [share_dispersion(persistent(random, 10_000, 0.3) == 1, blocks) for _ in range(60)]
        # 95% of the time; 50 of 60 or fewer with chance below 0.0003.
        assert np.sum(np.array(found) >= truth) > 50
        assert np.median(found) < 1.3 * truth


@pytest.mark.parametrize(("size", "most"), [(5, 1.8), (20, 1.8), (100, 3.0)])
def test_rows_that_are_equal_within_a_window_tell_as_much_as_one(size: int, most: float) -> None:
    drawn = np.random.default_rng(3).integers(0, 16, 5000 // size)
    blocks = blocks_of(np.arange(5000), size, 5000)
    # Of few windows, some direction varies by more.
    assert 0.97 * size < dispersion(np.repeat(drawn, size), 16, blocks) < most * size


def test_windows_of_different_sizes_count_by_their_rows() -> None:
    random = np.random.default_rng(4)
    sizes = np.concatenate([np.full(1000, 1), np.full(200, 50)])
    bins = np.repeat(random.integers(0, 4, len(sizes)), sizes)
    windows = np.repeat(np.arange(len(sizes)), sizes)
    expected = (sizes @ sizes) / sizes.sum()  # sum of n_b times n_b rows that tell as one
    assert expected <= dispersion(bins, 4, windows) <= 1.6 * expected


def test_a_location_that_moves_slowly_shows_in_ordered_bins() -> None:
    values = autoregressive(np.random.default_rng(5), 20_000, 0.9)
    bins = np.searchsorted(np.quantile(values, np.arange(1, 16) / 16), values)
    blocks = blocks_of(np.arange(20_000), 50, 20_000)
    truth = (1 + 0.9) / (1 - 0.9)
    assert truth < dispersion(bins, 16, blocks) < 1.6 * truth


def clumped(random: np.random.Generator, windows: int, share: float, correlation: float) -> I64:
    """Of 20 rows a window, which have this share of their variance in common; what they have in
    common is an autoregression from window to window."""
    common = np.repeat(autoregressive(random, windows, correlation), 20)
    values = share**0.5 * common + (1 - share) ** 0.5 * random.normal(size=windows * 20)
    return np.searchsorted(np.quantile(values, np.arange(1, 16) / 16), values).astype(np.int64)


@pytest.mark.parametrize(("share", "correlation"), [(0.1, 0.8), (0.05, 0.8), (0.1, 0.0)])
def test_weak_dependence_that_lasts_is_covered(share: float, correlation: float) -> None:
    random = np.random.default_rng(8)
    blocks = blocks_of(np.arange(8000), 20, 8000)
    found = [dispersion(clumped(random, 400, share, correlation), 16, blocks) for _ in range(40)]
    lasting = 20 * share * 2 * correlation / (1 - correlation)
    truth = 1 + 19 * share + lasting
    # Five of six times; 25 of 40 or fewer with chance below 0.001.
    assert np.sum(np.array(found) >= truth) > 25
    assert np.median(found) < 2 * truth


def test_dependence_beyond_a_window_shows_in_longer_blocks() -> None:
    days = np.random.default_rng(6).normal(size=100)
    random = np.random.default_rng(7)
    rows = random.random(100 * 240) < 1 / (1 + np.exp(-np.repeat(days, 240)))
    hours = np.arange(100 * 240) // 10
    by_hour = share_dispersion(rows, np.arange(100 * 240))
    assert share_dispersion(rows, hours) > 20
    assert by_hour > 20


@pytest.mark.parametrize(
    ("bins", "count"),
    [([], 4), ([1], 4), ([2] * 500, 4), ([0] * 500, 1), ([0] * 499 + [1], 2)],
)
def test_what_cannot_vary_has_none(bins: list[int], count: int) -> None:
    found = np.array(bins, dtype=np.int64)
    assert dispersion(found, count, blocks_of(None, 0, len(bins))) == 1.0


def test_too_few_blocks_say_nothing() -> None:
    rows = ROW_BLOCK * (LEAST_BLOCKS - 1)
    assert share_dispersion(np.arange(rows) < rows / 2, blocks_of(None, 0, rows)) == 1.0


def test_blocks_are_windows_by_time_and_rows_where_there_are_too_few() -> None:
    times = np.arange(100, dtype=np.int64) * 10
    np.testing.assert_array_equal(blocks_of(times, 100, 100), times // 100)
    for unknown in (
        blocks_of(times, 1000, 100),
        blocks_of(None, 100, 100),
        blocks_of(times, 0, 100),
    ):
        np.testing.assert_array_equal(unknown, np.arange(100) // ROW_BLOCK)


@pytest.mark.parametrize("stake", [1.0, 0.6, 0.01])
@pytest.mark.parametrize("evidence", [1.0, 6.0, 12.0])
@pytest.mark.parametrize("freedom", [4.0, 10.0, 40.0])
def test_with_luck_as_many_alarms_come_on_average_as_were_accepted(
    freedom: float, evidence: float, stake: float
) -> None:
    # An alarm comes with chance exp(-asked x what is used / the truth), or exp(-asked) where more
    # than the truth is used; what is used varies as a chi-square over its degrees of freedom, whose
    # density is added up here. Where all is staked a tenth more is accepted.
    asked = evidence + max(np.log(1.1), -np.log(stake))
    at = np.linspace(1e-6, 400.0, 2_000_001)
    log_density = (freedom / 2 - 1) * np.log(at) - at / 2
    density = np.exp(log_density - log_density.max())
    used = luck(freedom, evidence, stake) * at / freedom
    mean = float((density * np.exp(-asked * np.minimum(used, 1.0))).sum() / density.sum())
    assert mean == pytest.approx(np.exp(-evidence), rel=0.01)


def test_luck_is_worth_nothing_when_enough_is_known() -> None:
    found = [luck(v, 12.0, 1.0) for v in (2.0, 5.0, 20.0, 100.0, 1e6)]
    assert found == sorted(found, reverse=True)
    assert 0.99 < found[-1] <= 1.0
    assert luck(1e-3, 12.0, 1.0) == np.inf


def clumped_counts(
    random: np.random.Generator, windows: int, share: float, correlation: float
) -> I64:
    """Counts, (windows, 1, 8), of 25 rows each: of their variance a share is the window's, which
    this autocorrelation has."""
    common = np.repeat(autoregressive(random, windows, correlation), 25)
    rows = share**0.5 * common + (1 - share) ** 0.5 * random.normal(size=25 * windows)
    bins = np.searchsorted([-1.15, -0.67, -0.32, 0.0, 0.32, 0.67, 1.15], rows)
    index = np.arange(windows).repeat(25)
    return np.bincount(index * 8 + bins, minlength=8 * windows).reshape(windows, 1, 8)


@pytest.mark.parametrize("windows", [14, 40, 120])
def test_few_windows_seldom_show_less_than_there_is(windows: int) -> None:
    random = np.random.default_rng(8)
    truth = 0.9 + 0.1 * 25 * (1 + 0.8) / (1 - 0.8)
    found = np.array(
        [
            bounded_dispersion(np.arange(windows), clumped_counts(random, windows, 0.1, 0.8), 12.0)
            for _ in range(100)
        ]
    )
    # With half of the truth alarms come as the root of what was accepted: one in twenty may. More
    # than 12 of a hundred do so with chance below 0.002.
    assert np.sum(found < truth / 2) <= 12
    assert np.median(found) > truth


def test_what_luck_is_worth_falls_as_windows_come() -> None:
    random = np.random.default_rng(9)
    medians = [
        np.median(
            [
                bounded_dispersion(np.arange(n), clumped_counts(random, n, 0.0, 0.0), 9.0)
                for _ in range(30)
            ]
        )
        for n in (7, 20, 60, 120)
    ]
    assert medians[0] == 7 * 25  # All rows count as one.
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] < 3


def test_windows_that_are_all_alike_have_no_dispersion() -> None:
    table = np.full((24, 1, 8), 5, dtype=np.int64)
    assert bounded_dispersion(np.arange(24), table, 12.0) == 1.0
    assert bounded_dispersion(np.arange(24), table[..., :1], 12.0) == 1.0


def spread(random: np.random.Generator, windows: int, rows: int, deviation: float) -> I64:
    """Bins, (windows * rows,), of normal rows; the logarithm of each window's scale has this
    standard deviation."""
    scales = np.repeat(np.exp(deviation * random.normal(size=windows)), rows)
    values = scales * random.normal(size=windows * rows)
    return np.searchsorted(np.quantile(values, np.arange(1, 16) / 16), values).astype(np.int64)


def test_a_spread_that_varies_from_window_to_window_shows() -> None:
    random = np.random.default_rng(11)
    blocks = np.repeat(np.arange(400), 50)
    found = [dispersion(spread(random, 400, 50, 0.2), 16, blocks) for _ in range(30)]
    # A row's square has the variance 2, of which the window's scale adds that of 2 x 0.2 x normal.
    truth = 1 + 49 * (2 * 0.2) ** 2 / 2
    # Five of six times; 18 of 30 or fewer with chance below 0.002.
    assert np.sum(np.array(found) >= 0.9 * truth) > 18
    assert np.median(found) < 2 * truth


def test_under_the_dispersion_of_bursts_no_bet_wins_on_other_windows() -> None:
    def counts(random: np.random.Generator) -> I64:
        """In one window of twenty one of 20 categories has 30% more."""
        shares = np.full((600, 20), 1 / 20)
        burst = np.flatnonzero(random.random(600) < 0.05)
        shares[burst] *= 0.7
        shares[burst, random.integers(0, 20, len(burst))] += 0.3
        return random.multinomial(50, shares)[:, None, :]

    random = np.random.default_rng(12)
    won = []
    for _ in range(20):
        used = table_dispersion(np.arange(600), counts(random))
        winnings, stakes = compared(counts(random)).winnings(Betting.ORDERED)
        won.append(float((np.exp(winnings / used) @ stakes).mean()))
    # Taken as independent, the rows of a burst win e^12 and more.
    assert np.mean(won) < 1.0
    assert max(won) < 1.1


@pytest.mark.parametrize("weeks", [1, 2, 4])
def test_a_season_seen_seldom_hides_no_dispersion(weeks: int) -> None:
    random = np.random.default_rng(13)
    windows = 168 * weeks
    blocks = np.repeat(np.arange(windows), 20)
    found = []
    for _ in range(20):
        bins = clumped(random, windows, 0.2, 0.0)
        found.append(dispersion(bins, 16, blocks, slots=blocks % 168))
    truth = 1 + 19 * 0.2
    # Five of six times; 10 of 20 or fewer with chance below 0.001.
    assert np.sum(np.array(found) >= truth) > 10
    assert np.median(found) < 2 * truth
    table = clumped_counts(random, 24, 0.2, 0.0)
    slotted = np.zeros((24, 24, 8), dtype=np.int64)
    slotted[np.arange(24), np.arange(24)] = table[:, 0]
    assert bounded_dispersion(np.arange(24), slotted, 12.0) == bounded_dispersion(
        np.arange(24), table, 12.0
    )


def test_payoffs_are_those_of_the_tests() -> None:
    random = np.random.default_rng(14)
    share = random.dirichlet(np.ones(12))
    share[[3, 11]] = 0.0
    share /= share.sum()
    high = np.minimum(np.cumsum(share), 1.0)
    first = np.zeros(1, dtype=np.int64)
    found, stakes = payoffs(share, Betting.ORDERED)
    np.testing.assert_allclose(found[:TILTS], bets.tilts(high, first), rtol=1e-6, atol=1e-9)
    inside, outside = bets.growth(share)
    grown = np.where(np.eye(12, dtype=bool), inside, outside[:, None])
    np.testing.assert_allclose(found[TILTS:], grown, rtol=1e-9, atol=1e-12)
    assert stakes.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        payoffs(share, Betting.UPPER)[0], bets.powers(high, first), rtol=1e-9, atol=1e-12
    )

"""Data drift: false alarms over many features, how soon a shift of one is found, and what must and
must not be found.

Ours sees windows of predictions of 25 rows, with a reference of 10,000 rows, and may raise an
alert with chance at most .05 in 100,000 rows, over all features and everything that is watched of
them. Beside it, on the same rows, windows of a thousand: any of many Kolmogorov-Smirnov tests at
.05, the same with Bonferroni's correction, and a population stability index over .2.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import beta, ks_2samp

from driftloop.kernel.codec.blocks import F64, Categories
from driftloop.kernel.records import AlertKind, CategoricalProfile, Stream
from driftloop.models.profile import categorical_profile
from loadtest.clumps import (
    BURST_WINDOWS,
    FIRST_WEEKS,
    SAMPLED_WINDOWS,
    SPREADS,
    bursts,
    clumped,
    first_weeks,
    sampled,
    scaled,
)
from loadtest.drifting import (
    FLOORS,
    Watching,
    interval,
    level_windows,
    policy,
    prediction_windows,
    profile_of,
    rate_interval,
    stability_index,
)

SEED = 1
_REFERENCE = 10_000
_LONG = 100_000
_WINDOW = 25
_PEER_WINDOW = 1000
_BUDGET = 0.05
"""False alarms per 100,000 rows: then the chance of any is at most that."""
_CHANGE = 5_000
_AFTER = 20_000
_FEATURES = 20
_FLOORS = {"shift_floor": 0.1}
"""A quarter of a standard deviation is worth an alert here, a fiftieth is not."""
_ALL_FLOORS = ("psi_floor", "shift_floor", "unseen_floor", "outside_floor")
_CORRELATION = 0.7
_QUIET = {"20": (20, 0.0), "100": (100, 0.0), "100_correlated": (100, _CORRELATION)}
_STREAMS = 30
"""Without a change, of each kind."""
_CHANGED = 60
"""With a change, of each kind."""
_SHIFTS = {
    "quarter_sigma": (0.25, 1.0),
    "half_sigma": (0.5, 1.0),
    "scale_1_25": (0.0, 1.25),
}
_LEVELS = 500
LONG_TAILS = ((1_000, 200, 1.0), (1_000, 2_000, 1.0), (10_000, 2_000, 1.0), (10_000, 400, 1.2))
"""Rows of the reference, levels, and the exponent of Zipf's law."""
_TAIL_WINDOW = 100
_TAIL_ROWS = 50_000


def run(seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """``scale``: of the number of streams."""
    quiet = max(4, round(_STREAMS * scale))
    changed = max(6, round(_CHANGED * scale))
    found: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    alarmed = 0
    with ProcessPoolExecutor(2) as pool:
        costs = {}
        for name, (features, correlation) in _QUIET.items():
            ones = list(pool.map(partial(_unchanged, features, correlation, seed), range(quiet)))
            any_false = sum(one["driftloop"] > 0 for one in ones)
            alarmed += any_false
            found[f"p_any_false_{name}"] = any_false / quiet
            costs[name] = float(np.median([one["us_per_window"] for one in ones]))
            peers[name] = {
                way: float(np.mean([one[way] > 0 for one in ones]))
                for way in ones[0]
                if way != "us_per_window"
            }
            sys.stderr.write(f"quiet {name}: {peers[name]}\n")
        found["p_any_false"] = alarmed / (quiet * len(_QUIET))
        spread["p_any_false"] = _share_interval(alarmed, quiet * len(_QUIET))
        for name, shift in _SHIFTS.items():
            ones = list(pool.map(partial(_shifted, shift, seed), range(changed)))
            delays = [one for one in ones if one is not None]
            found[f"delay_{name}"], *spread[f"delay_{name}"] = interval(delays)
            found[f"missed_{name}"] = len(ones) - len(delays)
            sys.stderr.write(f"{name}: {found[f'delay_{name}']:.0f} rows\n")
        alarms = sum(pool.map(partial(clumped, seed), range(quiet)))
        found["fa_per_100k_clumped"], *spread["fa_per_100k_clumped"] = rate_interval(alarms, quiet)
        sys.stderr.write(f"clumped: {found['fa_per_100k_clumped']:.2f} in 100,000 rows\n")
        for weeks in FIRST_WEEKS:
            name = f"fa_per_100k_first_{weeks}"
            alarms = sum(pool.map(partial(first_weeks, weeks, seed), range(quiet)))
            found[name], *spread[name] = rate_interval(alarms, quiet)
            sys.stderr.write(f"clumped, {weeks} windows: {found[name]:.2f} in 100,000 rows\n")
        for name, alarm, ways in (
            ("clumped_scale", scaled, SPREADS),
            ("burst", bursts, BURST_WINDOWS),
            ("sampled", sampled, SAMPLED_WINDOWS),
        ):
            key, rows = f"fa_per_100k_{name}", quiet * _LONG / 100_000
            sums = {
                f"{way}{'_floors' if floors else ''}": sum(
                    pool.map(partial(alarm, way, floors, seed), range(quiet))
                )
                for way in ways
                for floors in (False, True)
            }
            found[key], *spread[key] = rate_interval(max(sums.values()), rows)
            found[f"{key}_by_way"] = {way: alarms / rows for way, alarms in sums.items()}
            sys.stderr.write(f"{name}: {found[f'{key}_by_way']} in 100,000 rows\n")
        tails = [
            sum(pool.map(partial(long_tail, tail, True, _TAIL_ROWS, seed), range(quiet)))
            for tail in LONG_TAILS
        ]
        key, rows = "fa_per_100k_long_tail", quiet * _TAIL_ROWS / 100_000
        found[key], *spread[key] = rate_interval(sum(tails), rows * len(tails))
        sys.stderr.write(f"long tails: {tails} in {rows} x 100,000 rows each\n")
        few = max(3, changed // 6)
        tiny = list(pool.map(partial(_tiny, seed), range(few)))
        new = list(pool.map(partial(_new_category, seed), range(few)))
        many = list(pool.map(partial(_many_levels, seed), range(few)))
    return {
        **found,
        "alerts_tiny_shift": sum(tiny),
        "new_category_1pct": "found" if all(delay is not None for delay in new) else "missed",
        "missed_new_category_1pct": sum(delay is None for delay in new),
        "delay_new_category_1pct": interval([delay for delay in new if delay is not None])[0],
        "alerts_500_levels": sum(many),
        "cpu_us_per_window": costs,
        "spread": spread,
        "streams": {"unchanged_of_each": quiet, "changed_of_each": changed, "others_of_each": few},
        "seed": seed,
        "rows_per_window": _WINDOW,
        "budget_per_100k": _BUDGET,
        "p_any_false_of_peers": peers,
    }


def _unchanged(features: int, correlation: float, seed: int, index: int) -> Mapping[str, float]:
    """Alerts of every way on 100,000 rows."""
    rng = np.random.default_rng([seed, index, features, round(100 * correlation)])
    reference = _rows(rng, _REFERENCE, features, correlation)
    rows = _rows(rng, _LONG, features, correlation)
    profile = profile_of(reference)
    # No floor: the tests alone must keep the budget.
    wanted = policy(_BUDGET, **dict.fromkeys(_ALL_FLOORS, 0.0))
    watching = Watching(profile, Stream.PREDICTIONS, wanted)
    alarms = sum(
        len(watching.take(window)) for window in prediction_windows(profile, rows, _WINDOW)
    )
    return {
        "driftloop": alarms,
        **_peers(reference, rows),
        "us_per_window": watching.seconds / watching.windows * 1e6,
    }


def _peers(reference: F64, rows: F64) -> dict[str, float]:
    """Alarms of windowed tests: any feature's, in any window of the first ten."""
    found = {"ks_any": 0.0, "ks_bonferroni": 0.0, "psi_0_2": 0.0}
    features = rows.shape[1]
    edges = [np.quantile(reference[:, i], np.arange(1, 16) / 16) for i in range(features)]
    for start in range(0, 10 * _PEER_WINDOW, _PEER_WINDOW):
        window = rows[start : start + _PEER_WINDOW]
        for i in range(features):
            p = float(ks_2samp(reference[:, i], window[:, i], method="asymp").pvalue)
            found["ks_any"] += p < 0.05
            found["ks_bonferroni"] += p < 0.05 / features
            bins = np.bincount(np.searchsorted(edges[i], window[:, i]), minlength=16)
            even = np.full(16, _REFERENCE / 16)
            found["psi_0_2"] += stability_index(even, bins.astype(np.float64)) > 0.2
    return found


def _shifted(shift: tuple[float, float], seed: int, index: int) -> int | None:
    """Rows from the change of one feature of twenty to its alert; None where it was missed."""
    moved, scaled = shift
    rng = np.random.default_rng([seed, index, round(100 * moved), round(100 * scaled), 3])
    profile = profile_of(rng.standard_normal((_REFERENCE, _FEATURES)))
    rows = rng.standard_normal((_CHANGE + _AFTER, _FEATURES))
    rows[_CHANGE:, 0] = rows[_CHANGE:, 0] * scaled + moved
    floors = {**_FLOORS, "psi_floor": 0.02}
    watching = Watching(profile, Stream.PREDICTIONS, policy(_BUDGET, **floors))
    for window in prediction_windows(profile, rows, _WINDOW):
        for alarm in watching.take(window):
            if alarm.rows > _CHANGE and alarm.alert.kind is AlertKind.DATA_DRIFT:
                return alarm.rows - _CHANGE
    return None


def _tiny(seed: int, index: int) -> int:
    """Alerts in 200,000 rows of which one feature has moved by a fiftieth of its deviation."""
    rng = np.random.default_rng([seed, index, 4])
    profile = profile_of(rng.standard_normal((_REFERENCE, _FEATURES)))
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0, **_FLOORS))
    rows = rng.standard_normal((200_000, _FEATURES))
    rows[:, 0] += 0.02
    return sum(len(watching.take(w)) for w in prediction_windows(profile, rows, 500))


def _new_category(seed: int, index: int) -> int | None:
    """Rows from the first of a new category, one row in a hundred, to its alert."""
    rng = np.random.default_rng([seed, index, 5])
    profile = profile_of(np.zeros((_REFERENCE, 0)), [_levels(rng, 20)])
    windows = (_CHANGE + _AFTER) // _WINDOW
    share = np.where(np.arange(windows) * _WINDOW < _CHANGE, 0.0, 0.01)
    unseen = rng.binomial(_WINDOW, share)
    counts = rng.multinomial(_WINDOW - unseen, np.full(20, 1 / 20))
    watching = Watching(profile, Stream.PREDICTIONS, policy(_BUDGET))
    for window in level_windows(profile, counts, unseen, _WINDOW):
        for alarm in watching.take(window):
            if alarm.alert.kind is AlertKind.NEW_CATEGORIES and alarm.rows > _CHANGE:
                return alarm.rows - _CHANGE
    return None


def _many_levels(seed: int, index: int) -> int:
    """Alerts in 100,000 rows of a column of 500 levels that has not changed."""
    rng = np.random.default_rng([seed, index, 6])
    profile = profile_of(np.zeros((_REFERENCE, 0)), [_levels(rng, _LEVELS)])
    counts = rng.multinomial(_WINDOW, np.full(_LEVELS, 1 / _LEVELS), size=_LONG // _WINDOW)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0))
    none = np.zeros(len(counts), dtype=np.int64)
    return sum(len(watching.take(w)) for w in level_windows(profile, counts, none, _WINDOW))


def long_tail(tail: tuple[int, int, float], floors: bool, rows: int, seed: int, index: int) -> int:
    """Alerts in so many rows at a budget of 1, where categories follow Zipf's law, in the reference
    as after it. ``tail`` as in :data:`LONG_TAILS`; without floors the tests alone must keep it."""
    known, levels, exponent = tail
    rng = np.random.default_rng([seed, index, known, levels, 8])
    law = np.arange(1, levels + 1) ** -exponent
    law /= law.sum()
    names = tuple(f"l{i:05d}" for i in rng.permutation(levels).tolist())
    codes = rng.choice(levels, (known, 1), p=law).astype(np.int32)
    column = categorical_profile("c", Categories(codes, (names,)), 0)
    profile = replace(profile_of(np.zeros((known, 0))), categorical=(column,))
    size = len(column.levels)
    place = {level: at for at, level in enumerate(column.levels)}
    places = np.array([place.get(name, size) for name in names])
    drawn = places[rng.choice(levels, (rows // _TAIL_WINDOW, _TAIL_WINDOW), p=law)]
    counts = np.stack([np.bincount(window, minlength=size + 1) for window in drawn])
    none = {} if floors else dict.fromkeys(FLOORS, -1.0)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0, **none))
    windows = level_windows(profile, counts[:, :-1], counts[:, -1], _TAIL_WINDOW)
    return sum(len(watching.take(window)) for window in windows)


def _levels(rng: np.random.Generator, levels: int) -> CategoricalProfile:
    counts = rng.multinomial(_REFERENCE, np.full(levels, 1 / levels))
    names = tuple(f"l{i:03d}" for i in range(levels))
    return CategoricalProfile("c", names, tuple(counts.tolist()), 0)


def _rows(rng: np.random.Generator, rows: int, features: int, correlation: float) -> F64:
    """Normal; each pair of features has this correlation."""
    own = rng.standard_normal((rows, features))
    if not correlation:
        return own
    common = rng.standard_normal((rows, 1))
    return np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own


def _share_interval(hits: int, trials: int) -> list[float]:
    """The ends of a share's exact 95% interval (Clopper and Pearson)."""
    low = float(beta.ppf(0.025, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, trials - hits)) if hits < trials else 1.0
    return [low, high]

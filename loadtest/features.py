"""Data drift: false alarms over many features, how soon a shift of one is found, and what must and
must not be found.

Ours sees windows of predictions of 25 rows, with a reference of 10,000 rows, and may raise an
alert with chance at most .05 in 100,000 rows, over all features and everything that is watched of
them. On the same rows: windows of a thousand, with any of many Kolmogorov-Smirnov tests at .05, the
same with Bonferroni's correction, and a population stability index over .2; and River's ADWIN and
PageHinkley for each feature. Their delay is to the alarm of the feature that has moved.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import beta

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records import AlertKind, Profile, Stream
from loadtest import trained
from loadtest.clumps import (
    FIRST_WEEKS,
    SAMPLED_WINDOWS,
    SPREADS,
    clumped,
    first_weeks,
    sampled,
    scaled,
)
from loadtest.drifting import (
    Watching,
    interval,
    policy,
    prediction_windows,
    profile_of,
    rate_interval,
)
from loadtest.feature_peers import (
    RIVER,
    WINDOW,
    WINDOWED,
    by_row,
    windowed,
)
from loadtest.few_alerts import alerts_of_one_cause, rare_flags, tiny_shift
from loadtest.levels import many_levels, new_category

SEED = 1
_REFERENCE = 10_000
_LONG = 100_000
_WINDOW = 25
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
_BY_ROW = 10
"""Of the streams without a change: those on which River's detectors, at a row of a feature each
time, are run as well."""
_CHANGED = 60
"""With a change, of each kind."""
_SHIFTS = {
    "quarter_sigma": (0.25, 1.0),
    "half_sigma": (0.5, 1.0),
    "scale_1_25": (0.0, 1.25),
}
_FLAGS_KNOWN = (1_000, 5_000)


def run(seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """``scale``: of the number of streams."""
    quiet = max(4, round(_STREAMS * scale))
    changed = max(6, round(_CHANGED * scale))
    found: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    delays = _Delays()
    alarmed = 0
    with ProcessPoolExecutor(2) as pool:
        costs = {}
        for name, (features, correlation) in _QUIET.items():
            ones = list(pool.map(partial(_unchanged, features, correlation, seed), range(quiet)))
            any_false = sum(one.by_way["driftloop"] > 0 for one in ones)
            alarmed += any_false
            found[f"p_any_false_{name}"] = any_false / quiet
            costs[name] = float(np.median([one.us_per_window for one in ones]))
            peers[name] = {
                way: float(np.mean([one.by_way[way] > 0 for one in ones if way in one.by_way]))
                for way in ones[0].by_way
            }
            sys.stderr.write(f"quiet {name}: {peers[name]}\n")
        found["p_any_false"] = alarmed / (quiet * len(_QUIET))
        spread["p_any_false"] = _share_interval(alarmed, quiet * len(_QUIET))
        for name, shift in _SHIFTS.items():
            delays.tell(name, list(pool.map(partial(_shifted, shift, seed), range(changed))))
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
        few_windows, intervals = trained.run(pool, quiet, seed)
        found |= few_windows
        spread |= intervals
        flags = [
            sum(one.total() for one in pool.map(partial(rare_flags, known, seed), range(quiet)))
            for known in _FLAGS_KNOWN
        ]
        key, rows = "fa_per_100k_rare_flags", quiet * _LONG / 100_000
        found[key], *spread[key] = rate_interval(max(flags), rows)
        causes = list(pool.map(partial(alerts_of_one_cause, seed), range(changed)))
        found["alerts_of_one_cause"] = float(np.mean(causes))
        sys.stderr.write(f"rare flags: {flags} alerts; of one cause: {causes}\n")
        few = max(3, changed // 6)
        tiny = list(pool.map(partial(tiny_shift, _FLOORS, seed), range(few)))
        delays.tell(
            "new_category_1pct",
            list(pool.map(partial(new_category, _BUDGET, seed), range(few))),
        )
        many = list(pool.map(partial(many_levels, seed), range(few)))
    return {
        **found,
        **delays.keys,
        "alerts_tiny_shift": sum(one["driftloop"] for one in tiny),
        "new_category_1pct": "missed" if delays.keys["missed_new_category_1pct"] else "found",
        "alerts_500_levels": sum(one["driftloop"] for one in many),
        "cpu_us_per_window": costs,
        "spread": spread | delays.spread,
        "streams": {"unchanged_of_each": quiet, "changed_of_each": changed, "others_of_each": few},
        "seed": seed,
        "rows_per_window": _WINDOW,
        "budget_per_100k": _BUDGET,
        "p_any_false_of_peers": peers,
        "delay_by_way": delays.by_way,
        "missed_by_way": delays.missed,
        "streams_by_way": {
            "tiny shift, any alert": _any(tiny),
            "500 levels without drift, any alert": _any(many),
        },
    }


@dataclass(frozen=True, slots=True)
class _Delays:
    """Rows from changes to alerts: ours as keys of the result, and those of every way."""

    keys: dict[str, float] = field(default_factory=dict)
    spread: dict[str, list[float]] = field(default_factory=dict)
    by_way: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Means of those that were found; None where none was."""
    missed: dict[str, dict[str, float]] = field(default_factory=dict)
    """Shares."""

    def tell(self, change: str, streams: Sequence[Mapping[str, int | None]]) -> None:
        self.by_way[change], self.missed[change] = {}, {}
        for way in streams[0]:
            delays = [delay for one in streams if (delay := one[way]) is not None]
            self.by_way[change][way] = interval(delays)[0] if delays else None
            self.missed[change][way] = 1 - len(delays) / len(streams)
            if way == "driftloop":
                self.keys[f"delay_{change}"], *self.spread[f"delay_{change}"] = interval(delays)
                self.keys[f"missed_{change}"] = len(streams) - len(delays)
        sys.stderr.write(f"{change}: {self.by_way[change]} rows\n")


@dataclass(frozen=True, slots=True)
class _Quiet:
    """Of one stream of 100,000 rows."""

    by_way: Mapping[str, int]
    """Alerts."""
    us_per_window: float
    """Ours."""


def _unchanged(features: int, correlation: float, seed: int, index: int) -> _Quiet:
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
    by_way = {"driftloop": alarms}
    by_way |= {way: int(flags.sum()) for way, flags in windowed(reference, rows).items()}
    if index < _BY_ROW:
        by_way |= {
            way: sum(len(by_row(make, reference[:, i], rows[:, i])) for i in range(features))
            for way, make in RIVER.items()
        }
    return _Quiet(by_way, watching.seconds / watching.windows * 1e6)


def _shifted(shift: tuple[float, float], seed: int, index: int) -> Mapping[str, int | None]:
    """Rows from the change of one feature of twenty to its alert, by every way; None where it was
    missed."""
    moved, scaled = shift
    rng = np.random.default_rng([seed, index, round(100 * moved), round(100 * scaled), 3])
    reference = rng.standard_normal((_REFERENCE, _FEATURES))
    rows = rng.standard_normal((_CHANGE + _AFTER, _FEATURES))
    rows[_CHANGE:, 0] = rows[_CHANGE:, 0] * scaled + moved
    # All features count for Bonferroni's correction, the one that moves for the delay.
    flags = windowed(reference, rows)
    alarms = {way: WINDOW * (1 + np.flatnonzero(flags[way][:, 0])) for way in WINDOWED}
    alarms |= {way: by_row(make, reference[:, 0], rows[:, 0]) for way, make in RIVER.items()}
    late = {way: at[at > _CHANGE] for way, at in alarms.items()}
    return {
        "driftloop": _ours(profile_of(reference), rows),
        **{way: int(at[0]) - _CHANGE if len(at) else None for way, at in late.items()},
    }


def _ours(profile: Profile, rows: F64) -> int | None:
    floors = {**_FLOORS, "psi_floor": 0.02}
    watching = Watching(profile, Stream.PREDICTIONS, policy(_BUDGET, **floors))
    for window in prediction_windows(profile, rows, _WINDOW):
        for alarm in watching.take(window):
            if alarm.rows > _CHANGE and alarm.alert.kind is AlertKind.DATA_DRIFT:
                return alarm.rows - _CHANGE
    return None


def _any(streams: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """The share of streams with an alert, by way."""
    return {way: float(np.mean([one[way] > 0 for one in streams])) for way in streams[0]}


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

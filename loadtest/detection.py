"""Concept drift: how soon a higher error rate is found, and how often one that is none.

Streams of labels with a known error rate. Ours sees them as windows of outcomes of five labels,
with a budget of one false alarm per 100,000 labels for concept drift and a baseline of 10,000
labels, as a version has it; River's ADWIN, DDM and PageHinkley see each label, and windowed KS and
PSI windows of a thousand. A delay is in labels from the change on; a stream in which an alert was
open already when the change came says nothing of it, and is counted by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from river import drift
from river.drift import binary
from scipy.stats import ks_2samp

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import Stream
from loadtest.drift_cost import share_of_a_core
from loadtest.drifting import (
    Watching,
    interval,
    outcome_windows,
    policy,
    rate_interval,
)
from loadtest.feature_peers import INDEX, LEVEL, WINDOW, stability_index
from loadtest.references import (
    AFTER_ROWS,
    BETTER,
    FIRST,
    SMALL,
    after_better,
    error_profile,
    missed_first,
    small_reference,
)

SEED = 1
_REFERENCE = 10_000
_CHANGE = 10_000
_AFTER = 20_000
_WINDOW = 5
_LONG = 100_000
_BUDGET = 1.0
_DELAYS = 300
"""Streams per change."""
_QUIET = 100
"""Streams of 100,000 labels per rate without a change."""
_FIRST = 10
"""Streams per change that is there from the first window on."""
_CHANGES = {
    "20_25": (0.20, 0.25),
    "20_30": (0.20, 0.30),
    "20_40": (0.20, 0.40),
    "05_10": (0.05, 0.10),
}
_RATES = {"p05": 0.05, "p20": 0.20}
_CORRELATION = 0.3
_OPEN = -1
"""Instead of a delay."""


def run(seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """``scale``: of the number of streams."""
    delays = max(10, round(_DELAYS * scale))
    quiet = max(4, round(_QUIET * scale))
    with ProcessPoolExecutor(2) as pool:
        found: dict[str, Any] = {}
        spread: dict[str, Any] = {}
        told: dict[str, Any] = {}
        false: dict[str, Any] = {}
        worst = 0.0
        missed = spoilt = 0
        for name, change in _CHANGES.items():
            ones = list(pool.map(partial(_changed, change, seed), range(delays)))
            ours = [one["driftloop"] for one in ones if one["driftloop"] != _OPEN]
            missed += sum(delay is None for delay in ours)
            spoilt += len(ones) - len(ours)
            told[name] = {way: _told([one[way] for one in ones]) for way in ones[0]}
            mean = interval([delay for delay in ours if delay is not None])
            found[f"delay_{name}"], *spread[f"delay_{name}"] = mean
            worst = max(worst, mean[0] / told[name]["adwin"]["delay"])
            sys.stderr.write(f"{name}: {told[name]}\n")
        for name, rate in _RATES.items():
            ones = list(pool.map(partial(_unchanged, rate, 0.0, seed), range(quiet)))
            found[f"fa_per_100k_{name}"], *spread[f"fa_per_100k_{name}"] = rate_interval(
                sum(one["driftloop"] for one in ones), quiet
            )
            false[f"rate_{name}"] = {way: sum(one[way] for one in ones) / quiet for way in ones[0]}
            sys.stderr.write(f"quiet {name}: {false[f'rate_{name}']}\n")
        ones = list(pool.map(partial(_unchanged, 0.2, _CORRELATION, seed), range(quiet)))
        found["fa_autocorrelated"], *spread["fa_autocorrelated"] = rate_interval(
            sum(one["driftloop"] for one in ones), quiet
        )
        false["autocorrelated"] = {way: sum(one[way] for one in ones) / quiet for way in ones[0]}
        by_way: dict[str, Mapping[str, float]] = {}
        for key, alarm, ways, rows in (
            ("fa_after_better", after_better, BETTER, AFTER_ROWS),
            ("fa_small_reference", small_reference, SMALL, _LONG),
        ):
            lengths = quiet * rows / _LONG
            sums = {w: sum(pool.map(partial(alarm, w, seed), range(quiet))) for w in ways}
            found[key], *spread[key] = rate_interval(max(sums.values()), lengths)
            by_way[f"{key}_by_way"] = {way: count / lengths for way, count in sums.items()}
            sys.stderr.write(f"{key}: {by_way[f'{key}_by_way']}\n")
        missed_first_window = sum(
            sum(pool.map(partial(missed_first, way, seed), range(_FIRST))) for way in FIRST
        )
    cost = share_of_a_core(seed)
    return {
        **found,
        **by_way,
        "missed": missed,
        "missed_first_window": missed_first_window,
        "alert_open_before": spoilt,
        "worst_vs_adwin": worst,
        **cost,
        "spread": spread,
        "streams": {"changed": delays, "unchanged": quiet, "labels_each": _LONG},
        "seed": seed,
        "labels_per_window": _WINDOW,
        "budget_per_100k": _BUDGET,
        "delay_by_detector": {
            name: {way: one["delay"] for way, one in ways.items()} for name, ways in told.items()
        },
        "missed_by_detector": {
            name: {way: one["missed"] for way, one in ways.items()} for name, ways in told.items()
        },
        "fa_per_100k_by_detector": false,
    }


@dataclass
class _Labels:
    reference: I64
    errors: I64


def _changed(change: tuple[float, float], seed: int, index: int) -> Mapping[str, int | None]:
    """Delays of every way on one stream; None where a change was missed. Alarms before the change
    start a detector afresh."""
    before, after = change
    rng = np.random.default_rng([seed, index, round(1000 * before), round(1000 * after)])
    errors = np.concatenate([rng.random(_CHANGE) < before, rng.random(_AFTER) < after])
    labels = _Labels((rng.random(_REFERENCE) < before).astype(np.int64), errors.astype(np.int64))
    return {name: way(labels).delay for name, way in _WAYS.items()}


def _unchanged(rate: float, correlation: float, seed: int, index: int) -> Mapping[str, int]:
    """Alarms of every way on one stream of 100,000 labels."""
    rng = np.random.default_rng([seed, index, round(1000 * rate), round(1000 * correlation), 7])
    both = _markov(rng, rate, correlation, _REFERENCE + _LONG)
    labels = _Labels(both[:_REFERENCE], both[_REFERENCE:])
    return {name: way(labels).early for name, way in _QUIET_WAYS.items()}


def _markov(rng: np.random.Generator, rate: float, correlation: float, rows: int) -> I64:
    """0 and 1 with this rate and this correlation of neighbours: a row keeps the value of the one
    before with chance ``correlation`` and is drawn anew otherwise."""
    fresh = rng.random(rows) < rate
    drawn = rng.random(rows) >= correlation
    drawn[0] = True
    last = np.maximum.accumulate(np.where(drawn, np.arange(rows), 0))
    return fresh[last].astype(np.int64)


@dataclass
class _Found:
    early: int
    """Alarms before the change; of a stream without one, all."""
    delay: int | None


def _ours(labels: _Labels) -> _Found:
    watching = Watching(error_profile(labels.reference, _WINDOW), Stream.OUTCOMES, policy(_BUDGET))
    by_window = labels.errors.reshape(-1, _WINDOW).sum(axis=1)
    bins = np.stack([_WINDOW - by_window, by_window], axis=1)
    early = 0
    changes = len(labels.errors) < _LONG
    for window in outcome_windows(bins, by_window, _WINDOW):
        for alarm in watching.take(window):
            if not changes or alarm.rows <= _CHANGE:
                early += 1
                continue
            return _Found(early, alarm.rows - _CHANGE)
        if changes and watching.rows == _CHANGE and watching.open:
            return _Found(early, _OPEN)
    return _Found(early, None)


def _river(make: Callable[[], Any], labels: _Labels) -> _Found:
    """Each label at once; the 10,000 of the reference come first, as warm-up."""
    detector = make()
    for error in labels.reference.tolist():
        detector.update(error)
    early = 0
    changes = len(labels.errors) < _LONG
    for row, error in enumerate(labels.errors.tolist(), 1):
        detector.update(error)
        if detector.drift_detected:
            if changes and row > _CHANGE:
                return _Found(early, row - _CHANGE)
            early += 1
            detector = make()
    return _Found(early, None)


def _windowed(says: Callable[[F64, F64], bool], labels: _Labels) -> _Found:
    """Windows of a thousand labels, each compared with the reference."""
    reference = labels.reference.astype(np.float64)
    early = 0
    changes = len(labels.errors) < _LONG
    for end in range(WINDOW, len(labels.errors) + 1, WINDOW):
        if says(reference, labels.errors[end - WINDOW : end].astype(np.float64)):
            if changes and end > _CHANGE:
                return _Found(early, end - _CHANGE)
            early += 1
    return _Found(early, None)


def _ks(reference: F64, now: F64) -> bool:
    return bool(ks_2samp(reference, now, method="asymp").pvalue < LEVEL)


def _psi(reference: F64, now: F64) -> bool:
    counts = [np.array([len(labels) - labels.sum(), labels.sum()]) for labels in (reference, now)]
    return stability_index(*counts) > INDEX


_WAYS: Mapping[str, Callable[[_Labels], _Found]] = {
    "driftloop": _ours,
    # The delta that is quickest among those whose false alarms stay near one per 100,000.
    "adwin": partial(_river, partial(drift.ADWIN, delta=0.03)),
    "ddm": partial(_river, binary.DDM),
    "page_hinkley": partial(_river, drift.PageHinkley),
    "ks_windows": partial(_windowed, _ks),
    "psi_windows": partial(_windowed, _psi),
}
_QUIET_WAYS = _WAYS


def _told(delays: list[int | None]) -> dict[str, float]:
    known = [delay for delay in delays if delay is not None and delay != _OPEN]
    mean = float(np.mean(known)) if known else float(_AFTER)
    return {"delay": mean, "missed": sum(delay is None for delay in delays) / len(delays)}

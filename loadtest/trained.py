"""Streams that do not drift, against a version that was trained on few windows: false alarms in
100,000 rows at a budget of 1. What any two rows of a window have in common is the window's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.records import Profile, Stream
from driftloop.models.dispersion import dispersion
from driftloop.models.payoffs import Betting
from driftloop.models.variation import variation
from loadtest.clumps import autoregression
from loadtest.drifting import (
    FLOORS,
    Watching,
    outcome_windows,
    policy,
    prediction_windows,
    profile_of,
    rate_interval,
)
from loadtest.references import error_profile

TRAINED = (10, 20, 40)
"""Windows that a version was trained on."""
_LONG = 100_000
_FEATURES = 20
_RATE = 0.2
"""Of errors."""


@dataclass(frozen=True, slots=True)
class Way:
    """How rows come in clumps."""

    size: int
    """Rows of a window."""
    alike: float
    """The correlation of any two rows of a window."""
    lasting: float = 0.0
    """The autocorrelation from window to window of what they have in common."""
    errors: bool = False
    """Of labels, one error in five; otherwise of twenty features."""


WAYS: Mapping[str, Way] = {
    "alike_02": Way(100, 0.02),
    "alike_01": Way(100, 0.01),
    "small": Way(25, 0.05),
    "lasting": Way(25, 0.1, lasting=0.8),
    "errors": Way(100, 0.02, errors=True),
    "errors_01": Way(100, 0.01, errors=True),
}


def run(pool: Executor, streams: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys of a result and their intervals: of each number of windows that of the worst way, and
    those of all."""
    found: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    rows = streams * _LONG / 100_000
    for windows in TRAINED:
        key = f"fa_per_100k_trained_{windows}"
        sums = {
            f"{way}{'_floors' if floors else ''}": sum(
                pool.map(partial(trained, windows, way, floors, seed), range(streams))
            )
            for way in WAYS
            for floors in (False, True)
        }
        found[key], *spread[key] = rate_interval(max(sums.values()), rows)
        found[f"{key}_by_way"] = {way: alarms / rows for way, alarms in sums.items()}
        sys.stderr.write(f"trained on {windows} windows: {found[f'{key}_by_way']} in {_LONG:,}\n")
    return found, spread


def trained(windows: int, way: str, floors: bool, seed: int, index: int) -> int:
    """Alerts where so many windows were trained on. Of labels a fifth of them is held
    out, at least two, and those are what losses are compared with."""
    rng = np.random.default_rng([seed, index, 11, windows])
    kind = WAYS[way]
    wanted = policy(1.0) if floors else policy(1.0, **dict.fromkeys(FLOORS, 0.0))
    if kind.errors:
        return _errors(kind, windows, wanted, rng)
    after = _LONG // kind.size
    rows = _rows(rng, kind, windows + after)
    seen = windows * kind.size
    profile = few_windows(rows[:seen], kind.size)
    watching = Watching(profile, Stream.PREDICTIONS, wanted)
    return sum(len(watching.take(w)) for w in prediction_windows(profile, rows[seen:], kind.size))


def few_windows(reference: F64, size: int) -> Profile:
    """The profile of the rows of some windows of ``size``, as training has it."""
    profile = profile_of(reference)
    windows = np.arange(len(reference)) // size
    known, shown = [], []
    for i, column in enumerate(profile.numeric[:-1]):
        bins = np.searchsorted(np.array(column.edges), reference[:, i], side="left")
        count = len(column.counts)
        known.append(dispersion(bins, count, windows))
        none = np.zeros(len(bins), dtype=np.int64)
        shown += [variation(bins, count, windows), variation(none, 2, windows, Betting.UPPER)]
    score = [variation(np.zeros(len(windows), dtype=np.int64), 2, windows)] * 2
    return replace(
        profile_of(reference, dispersions=known),
        window_rows=float(size),
        variations=(*shown, *score),
    )


def few_labels(errors: I64, size: int) -> Profile:
    """The profile of a model with losses of 0 and 1, held out in windows of ``size``."""
    profile = error_profile(errors, size)
    shown = variation(errors, 2, np.arange(len(errors)) // size, Betting.UPPER)
    loss = replace(profile.loss, window_rows=float(size), variations=(shown, shown))
    return replace(profile, loss=loss)


def _errors(kind: Way, windows: int, wanted: AlertPolicy, rng: np.random.Generator) -> int:
    held = max(2, windows // 5)
    after = _LONG // kind.size
    common = 1.0 / kind.alike - 1.0
    rates = rng.beta(_RATE * common, (1.0 - _RATE) * common, held + after)
    reference = rng.random((held, kind.size)) < rates[:held, None]
    profile = few_labels(reference.ravel().astype(np.int64), kind.size)
    wrong = rng.binomial(kind.size, rates[held:]).astype(np.int64)
    watching = Watching(profile, Stream.OUTCOMES, wanted)
    bins = np.stack([kind.size - wrong, wrong], axis=1)
    return sum(len(watching.take(w)) for w in outcome_windows(bins, wrong, kind.size))


def _rows(rng: np.random.Generator, kind: Way, windows: int) -> F64:
    common = np.repeat(autoregression(rng, (windows, _FEATURES), kind.lasting), kind.size, axis=0)
    own = rng.standard_normal((windows * kind.size, _FEATURES))
    whole = np.sqrt(kind.alike) * common + np.sqrt(1.0 - kind.alike) * own
    return np.asarray(whole, dtype=np.float64)

"""Streams that must lead to few alerts, or none: rare flags, one cause, a shift that is tiny."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from driftloop.kernel.records import AlertKind, Stream
from loadtest.drifting import Watching, policy, prediction_windows, profile_of
from loadtest.feature_peers import LEVEL, WINDOW, ks_critical, ks_distance

_REFERENCE = 10_000
_ROWS = 100_000
_WINDOW = 25
_FEATURES = 20
_RARE = 0.002
_TINY_ROWS = 200_000


def rare_flags(known: int, seed: int, index: int) -> Counter[str]:
    """Alerts in 100,000 rows at a budget of 1, by kind, of twenty flags that one row in five
    hundred has: many a window has none. ``known``: rows of the reference."""
    rng = np.random.default_rng([seed, index, known, 9])
    profile = profile_of((rng.random((known, _FEATURES)) < _RARE).astype(np.float64))
    rows = (rng.random((_ROWS, _FEATURES)) < _RARE).astype(np.float64)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0))
    windows = prediction_windows(profile, rows, WINDOW)
    return Counter(alarm.alert.kind.value for window in windows for alarm in watching.take(window))


def alerts_of_one_cause(seed: int, index: int) -> int:
    """Of data drift, where two features move at one moment, one by 1 and one by .25 deviations."""
    rng = np.random.default_rng([seed, index, 10])
    profile = profile_of(rng.standard_normal((_REFERENCE, 6)))
    rows = rng.standard_normal((8_000, 6))
    rows[2_000:, :2] += (1.0, 0.25)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0))
    return sum(
        alarm.alert.kind is AlertKind.DATA_DRIFT
        for window in prediction_windows(profile, rows, 2 * _WINDOW)
        for alarm in watching.take(window)
    )


def tiny_shift(floors: Mapping[str, float], seed: int, index: int) -> Mapping[str, int]:
    """Alerts in 200,000 rows of which one feature has moved by a fiftieth of its deviation; the
    windowed tests see them as one window."""
    rng = np.random.default_rng([seed, index, 4])
    reference = rng.standard_normal((_REFERENCE, _FEATURES))
    profile = profile_of(reference)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0, **floors))
    rows = rng.standard_normal((_TINY_ROWS, _FEATURES))
    rows[:, 0] += 0.02
    ordered, critical = np.sort(reference, axis=0), ks_critical(_REFERENCE, _TINY_ROWS, LEVEL)
    return {
        "driftloop": sum(len(watching.take(w)) for w in prediction_windows(profile, rows, 500)),
        "ks": sum(
            int(ks_distance(ordered[:, i], rows[None, :, i])[0] > critical)
            for i in range(_FEATURES)
        ),
    }

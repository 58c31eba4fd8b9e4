"""What else looks for drift of single features, on the rows that ours sees as windows.

Tests of windows of a thousand rows against the reference: Kolmogorov and Smirnov's, and the
population stability index; and River's detectors, one for each feature, fed row by row. River's DDM
is for errors and has no use here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from river import drift
from scipy.stats import kstwo

from driftloop.kernel.codec.blocks import F64, I64

WINDOW = 1000
LEVEL = 0.05
"""Of a test of one window."""
INDEX = 0.2
"""A stability index above it is called a large change by those who use it."""
_BINS = 16

Flags = npt.NDArray[np.bool_]

WINDOWED = ("ks_any", "ks_bonferroni", "psi_0_2")
RIVER: Mapping[str, Callable[[], Any]] = {
    # As they come: nobody has told them how many features there are.
    "adwin": drift.ADWIN,
    "page_hinkley": drift.PageHinkley,
}


def windowed(reference: F64, rows: F64) -> dict[str, Flags]:
    """By test: which features' (F) windows (W) differ, (W, F), at .05, at .05 with Bonferroni's
    correction for all features, and by index."""
    windows, features = len(rows) // WINDOW, rows.shape[1]
    distance = np.empty((windows, features))
    index = np.empty((windows, features))
    for feature in range(features):
        ordered = np.sort(reference[:, feature])
        values = rows[: windows * WINDOW, feature].reshape(windows, WINDOW)
        distance[:, feature] = ks_distance(ordered, values)
        edges = np.quantile(ordered, np.arange(1, _BINS) / _BINS)
        at = np.searchsorted(edges, values) + _BINS * np.arange(windows)[:, None]
        counts = np.bincount(at.ravel(), minlength=windows * _BINS).reshape(windows, _BINS)
        even = np.full(_BINS, len(ordered) / _BINS)
        index[:, feature] = [stability_index(even, one) for one in counts]
    rows_each = len(reference), WINDOW
    return {
        "ks_any": distance > ks_critical(*rows_each, LEVEL),
        "ks_bonferroni": distance > ks_critical(*rows_each, LEVEL / features),
        "psi_0_2": index > INDEX,
    }


def ks_distance(ordered: F64, values: F64) -> F64:
    """The largest distance of the empirical distributions of a sorted reference (m) and of each
    window's (W, n) values, (W): it is reached at, or just before, one of the window's."""
    window = np.sort(values, axis=1)
    size = window.shape[1]
    upto = np.searchsorted(ordered, window, side="right") / len(ordered)
    before = np.searchsorted(ordered, window, side="left") / len(ordered)
    rank = np.arange(size) / size
    above = (rank + 1 / size - upto).max(axis=1)
    below = (before - rank).max(axis=1)
    distance: F64 = np.maximum(above, below)
    return distance


@cache
def ks_critical(reference: int, window: int, level: float) -> float:
    """The distance beyond which the p-value is below ``level``, with the asymptotic distribution of
    as many rows as both together are worth."""
    worth = round(reference * window / (reference + window))
    return float(kstwo.isf(level, worth))


def by_row(make: Callable[[], Any], reference: F64, rows: F64) -> I64:
    """The rows, counted from 1, at which a detector of one feature alarms; it starts afresh after
    each. The reference comes first, as warm-up; what it says there does not count."""
    detector = make()
    for value in reference.tolist():
        detector.update(value)
    alarms = []
    for row, value in enumerate(rows.tolist(), 1):
        detector.update(value)
        if detector.drift_detected:
            alarms.append(row)
            detector = make()
    return np.array(alarms, dtype=np.int64)


def stability_index(reference: F64, now: F64 | I64) -> float:
    """Population stability index of counts on the same bins; half a row more in each, so that none
    is empty."""
    then = (reference + 0.5) / (reference + 0.5).sum()
    shares = (now + 0.5) / (now + 0.5).sum()
    return float(((shares - then) * np.log(shares / then)).sum())

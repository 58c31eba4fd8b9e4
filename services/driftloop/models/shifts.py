"""How wrong estimates by score were on parts of the held-out rows whose features are shifted.

Errors at a score are as frequent as on all held-out rows only while the features' distribution
stays. Parts of the held-out rows (the lowest and highest quarter of a number, the levels of a
category) are samples of shifted features with known labels: the squared error of the estimate on
them, beyond what chance gives, grows with the distance of their features, and the slope is taken to
a window by its own distance (``kernel.statistics.distance``). ``drift.labelfree`` widens its
intervals by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import Profile, Stream
from driftloop.kernel.statistics.distance import distance, profile_counts
from driftloop.kernel.statistics.layout import PREDICTED, Layout
from driftloop.models.references import ReferenceRows, positions

ERROR_SHIFT = "error_shift"
"""Key of a version's metrics: variance of an estimated accuracy's bias per unit of distance."""
LOSS_SHIFT = "loss_shift"
"""The same of an estimated loss."""
NORMAL = NormalDist()
_LEAST_ROWS = 50
_MOST_LEVELS = 16
_QUARTER = 0.25

Bools = npt.NDArray[np.bool_]


def shift_metrics(profile: Profile, rows: ReferenceRows) -> dict[str, float]:
    """``profile``: of these rows."""
    columns = positions(Layout(profile, Stream.PREDICTIONS), rows)
    held_out = len(rows.scores)
    first = len(rows.event_times) - held_out
    score_place = columns[len(profile.numeric) - 1]
    score = score_place.positions - score_place.place.bins.start
    usable = score < len(profile.numeric[-1].counts)
    reference = profile_counts(profile)
    features = [
        column.positions[first:] - column.place.bins.start
        for column in columns
        if column.first == 0 and column.place.name != PREDICTED
    ]
    numbers = len(profile.numeric) - 1
    parts = [
        (
            part,
            distance(
                [_counted(f[part], len(r)) for f, r in zip(features, reference, strict=True)],
                reference,
            ),
        )
        for part in _parts(features, numbers, reference)
    ]
    found = {}
    for key, values, spread in (
        (ERROR_SHIFT, rows.errors.astype(np.float64), profile.loss.error_dispersion),
        (LOSS_SHIFT, rows.losses, profile.loss.dispersion),
    ):
        found[key] = _slope(
            values[usable], score[usable], [(p[usable], d) for p, d in parts], spread
        )
    return found


def _counted(bins: I64, width: int) -> F64:
    return np.bincount(bins, minlength=width).astype(np.float64)


def _parts(features: list[I64], numbers: int, reference: list[F64]) -> Iterator[Bools]:
    """Of the held-out rows, shape (m,)."""
    for place, bins in enumerate(features):
        present = len(reference[place]) - (1 if place < numbers else 2)
        counts = _counted(bins, len(reference[place]))
        if place < numbers:
            below = np.cumsum(counts[:present]) / max(1.0, float(counts[:present].sum()))
            low = int(np.searchsorted(below, _QUARTER))
            high = int(np.searchsorted(below, 1.0 - _QUARTER))
            chosen = [bins <= low, (bins > high) & (bins < present)]
        else:
            order = np.argsort(-counts[:present], kind="stable")[:_MOST_LEVELS]
            chosen = [bins == level for level in order]
        for part in chosen:
            if _LEAST_ROWS <= np.count_nonzero(part) <= len(part) - _LEAST_ROWS:
                yield part


def _slope(values: F64, score: I64, parts: list[tuple[Bools, float]], dispersion: float) -> float:
    """Of the squared bias on the distance: weighted least squares, and of what is possible given
    its noise (a normal around it, cut off below 0) the mean."""
    if len(values) < 2 * _LEAST_ROWS:
        return 0.0
    rows = np.bincount(score)
    full = np.maximum(rows, 1)
    mean = np.bincount(score, weights=values) / full
    variance = np.maximum(np.bincount(score, weights=values * values) / full - mean * mean, 0.0)
    apart = values - mean[score]
    over, under = 0.0, 0.0
    for part, far in parts:
        n = int(np.count_nonzero(part))
        inside = np.bincount(score[part], minlength=len(rows))
        # Of a part of a bin's rows, given the bin's mean.
        noise = (
            dispersion * float(variance @ (inside * (1.0 - inside / full))) / (n * n) if n else 0.0
        )
        if far > 0 and noise > 0:
            bias = float(apart[part].sum()) / n
            over += far * (bias * bias - noise) / noise**2
            under += far * far / noise**2
    if under <= 0:
        return 0.0
    error = (2.0 / under) ** 0.5  # a squared bias without shift varies by twice its noise squared
    z = max(over / under / error, -5.0)
    return float(error * (z + NORMAL.pdf(z) / NORMAL.cdf(z)))

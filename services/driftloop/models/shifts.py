"""How wrong estimates by score are on held-out rows whose features are made to shift.

Errors at a score are as frequent as on the held-out rows only while the features' distribution
stays. Weights on the held-out rows, which tilt some of their features, make samples of shifted
features with known labels (exponential tilting, as covariate shift is simulated: Shimodaira,
Journal of Statistical Planning and Inference, 2000, reweights by the density ratio). The squared
error of the estimate on them, beyond what chance gives, grows with the distance of their features,
and the slope is taken to a window by its own distance (``kernel.statistics.distance``).
``drift.labelfree`` widens its intervals by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import Profile, Stream
from driftloop.kernel.statistics.distance import distance, profile_counts
from driftloop.kernel.statistics.layout import PREDICTED, SCORE, Layout
from driftloop.models.reference_rows import ReferenceRows, positions

ERROR_SHIFT = "error_shift"
"""Key of a version's metrics: variance of an estimated accuracy's bias per unit of distance."""
LOSS_SHIFT = "loss_shift"
"""The same of an estimated loss."""
TILTS = 64
"""Each of one feature up to all of them."""
_STRENGTH = 1.0
"""Standard deviation of the log weights, about."""
_LEAST_ROWS = 100
_NORMAL = NormalDist()


def shift_metrics(profile: Profile, rows: ReferenceRows) -> dict[str, float]:
    """``profile``: of these rows. The tilts are drawn with a fixed seed: equal rows, equal
    figures."""
    columns = positions(Layout(profile, Stream.PREDICTIONS), rows)
    first = len(rows.event_times) - len(rows.scores)
    by_score = columns[len(profile.numeric) - 1]
    score = by_score.positions - by_score.place.bins.start
    usable = score < len(profile.numeric[-1].counts)
    features = [
        (column.positions[first:] - column.place.bins.start)[usable]
        for column in columns
        if column.place.name not in (SCORE, PREDICTED)
    ]
    reference = profile_counts(profile)
    tilted = [
        (weights, _far(weights, features, reference))
        for weights in _tilts(features, len(profile.numeric) - 1, reference)
    ]
    loss = profile.loss
    errors = rows.errors[usable].astype(np.float64)
    return {
        ERROR_SHIFT: _slope(errors, score[usable], tilted, len(features), loss.error_dispersion),
        LOSS_SHIFT: _slope(
            rows.losses[usable], score[usable], tilted, len(features), loss.dispersion
        ),
    }


def _tilts(features: Sequence[I64], numbers: int, reference: Sequence[F64]) -> Iterator[F64]:
    """Weights of the rows, shape (m,)."""
    random = np.random.default_rng(0)
    for _ in range(TILTS if features else 0):
        count = int(random.integers(1, len(features) + 1))
        log_weights = np.zeros(len(features[0]))
        for place in random.choice(len(features), count, replace=False).tolist():
            counts = reference[place]
            if place < numbers:
                # Of the bins in order: their place in a normal distribution.
                share = np.cumsum(counts[:-1]) - counts[:-1] / 2
                share = np.clip(share / max(1.0, float(counts[:-1].sum())), 0.001, 0.999)
                steps = np.array([*(_NORMAL.inv_cdf(s) for s in share.tolist()), 0.0])
                steps *= random.choice([-1.0, 1.0])
            else:
                steps = random.normal(size=len(counts))
            log_weights += steps[features[place]]
        spread = float(log_weights.std())
        if spread > 0:
            yield np.exp(np.clip(log_weights * (_STRENGTH / spread), -4.0, 4.0))


def _far(weights: F64, features: Sequence[I64], reference: Sequence[F64]) -> float:
    # As many rows as the weighted ones tell (Kish's effective sample size).
    scaled = weights * (float(weights.sum()) / float(weights @ weights))
    counts = [
        np.bincount(bins, weights=scaled, minlength=len(known)).astype(np.float64)
        for bins, known in zip(features, reference, strict=True)
    ]
    return distance(counts, reference)


def _slope(
    values: F64,
    score: I64,
    tilted: Sequence[tuple[F64, float]],
    features: int,
    dispersion: float,
) -> float:
    """Of the squared bias on the distance: weighted least squares, and of what is possible given
    its noise (a normal around it, cut off below 0) the mean."""
    if len(values) < _LEAST_ROWS:
        return 0.0
    rows = np.maximum(np.bincount(score), 1)
    mean = np.bincount(score, weights=values) / rows
    variance = np.maximum(np.bincount(score, weights=values * values) / rows - mean * mean, 0.0)
    apart = values - mean[score]
    over, under = 0.0, 0.0
    for weights, far in tilted:
        total = float(weights.sum())
        sums = np.bincount(score, weights=weights)
        squares = np.bincount(score, weights=weights * weights)
        # Given the bin's mean, which is of the same rows.
        noise = dispersion * float(variance @ (squares - sums * sums / rows)) / total**2
        if far > 0 and noise > 0:
            bias = float(apart @ weights) / total
            over += far * (bias * bias - noise) / noise**2
            under += far * far / noise**2
    if under <= 0:
        return 0.0
    # A squared bias without shift varies by twice its noise squared; and the tilts, of the same
    # rows, are hardly more different from one another than the features are.
    alike = max(1.0, len(tilted) / features)
    error = (2.0 * alike / under) ** 0.5
    z = max(over / under / error, -5.0)
    return float(error * (z + _NORMAL.pdf(z) / _NORMAL.cdf(z)))

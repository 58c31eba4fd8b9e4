"""How wrong estimates by score are on held-out rows whose features are made to shift.

Errors at a score are as frequent as on the held-out rows only while the features' distribution
stays. Weights on the held-out rows, which tilt some of their features, make samples of shifted
features with known labels (exponential tilting, as covariate shift is simulated: Shimodaira,
Journal of Statistical Planning and Inference, 2000, reweights by the density ratio). The squared
error of the estimate on them, beyond what chance gives, grows with the distance of their features,
and the slope is taken to a window by its own distance (``kernel.statistics.distance``).
``drift.labelfree`` widens its intervals by it.

That slope is a mean over all features. Where only one shifts, and errors at a score hang on it,
they are off by much more: so a feature that errors hang on has a slope of its own besides. With
shares q of its bins on the held-out rows, p in the window, and r what errors of a bin are beyond
what their scores say, the bias is the sum of (p - q) r. By Cauchy and Schwarz its square is at most
the distance times the mean of r^2, weighted by (p + q) / 2: that mean is the slope.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
"""The same of an estimated loss. Either, then ``:`` and a feature's name: its own slope, where that
is more."""
TILTS = 64
"""Each of one feature up to all of them."""
_STRENGTH = 1.0
"""Standard deviation of the log weights, about."""
_LEAST_ROWS = 100
_LEAST_OF_BIN = 10
"""Rows of a feature's bin that its errors are known of."""
_SIGNIFICANT = 2.0
"""Standard errors by which a feature's own slope is more than chance."""
_SEGMENT_ROWS = 30.0
"""A segment's errors are its own from about so many rows on."""
_NORMAL = NormalDist()


def shift_metrics(profile: Profile, rows: ReferenceRows, segment: str = "") -> dict[str, float]:
    """``profile``: of these rows; ``segment``: the feature that the calibration is made by besides
    the score, which therefore has no slope of its own. The tilts are drawn with a fixed seed: equal
    rows, equal figures."""
    columns = positions(Layout(profile, Stream.PREDICTIONS), rows)
    first = len(rows.event_times) - len(rows.scores)
    by_score = columns[len(profile.numeric) - 1]
    score = by_score.positions - by_score.place.bins.start
    usable = score < len(profile.numeric[-1].counts)
    by_feature = {
        column.place.name: (column.positions[first:] - column.place.bins.start)[usable]
        for column in columns
        if column.place.name not in (SCORE, PREDICTED)
    }
    features = list(by_feature.values())
    reference = profile_counts(profile)
    tilted = [
        (weights, _far(weights, features, reference))
        for weights in _tilts(features, len(profile.numeric) - 1, reference)
    ]
    loss = profile.loss
    found: dict[str, float] = {}
    for key, values, dispersion in (
        (ERROR_SHIFT, rows.errors[usable].astype(np.float64), loss.error_dispersion),
        (LOSS_SHIFT, rows.losses[usable], loss.dispersion),
    ):
        if len(values) < _LEAST_ROWS:
            found[key] = 0.0
            continue
        beyond = _Beyond.of(values, score[usable], dispersion)
        found[key] = _slope(beyond, tilted, len(features))
        if segment in by_feature:
            beyond = beyond.without(by_feature[segment])
        for name, bins in by_feature.items():
            own = _own_slope(beyond, bins) if name != segment else 0.0
            if own > found[key]:
                found[own_key(key, name)] = own
    return found


def own_key(key: str, feature: str) -> str:
    """Of a feature's own slope among a version's metrics."""
    return f"{key}:{feature}"


@dataclass(frozen=True, slots=True)
class _Beyond:
    """Errors or losses of m rows beyond the mean of their score's bin."""

    apart: F64
    """Shape (m,)."""
    score: I64
    """Shape (m,): each row's bin."""
    rows: I64
    """Shape (S,), by bin, at least 1."""
    noise: F64
    """Shape (S,): variance of a row, with the dispersion."""

    @classmethod
    def of(cls, values: F64, score: I64, dispersion: float) -> _Beyond:
        rows = np.maximum(np.bincount(score), 1)
        mean = np.bincount(score, weights=values) / rows
        variance = np.bincount(score, weights=values * values) / rows - mean * mean
        return cls(values - mean[score], score, rows, dispersion * np.maximum(variance, 0.0))

    def without(self, segments: I64) -> _Beyond:
        """What is not each segment's either; ``segments``, shape (m,)."""
        sums = np.bincount(segments, weights=self.apart)
        mean = sums / (np.bincount(segments) + _SEGMENT_ROWS)
        return replace(self, apart=self.apart - mean[segments])


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


def _slope(beyond: _Beyond, tilted: Sequence[tuple[F64, float]], features: int) -> float:
    """Of the squared bias on the distance: weighted least squares, and of what is possible given
    its noise (a normal around it, cut off below 0) the mean."""
    over, under = 0.0, 0.0
    for weights, far in tilted:
        total = float(weights.sum())
        sums = np.bincount(beyond.score, weights=weights)
        squares = np.bincount(beyond.score, weights=weights * weights)
        # Given the bin's mean, which is of the same rows.
        noise = float(beyond.noise @ (squares - sums * sums / beyond.rows)) / total**2
        if far > 0 and noise > 0:
            bias = float(beyond.apart @ weights) / total
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


def _own_slope(beyond: _Beyond, bins: I64) -> float:
    """Of one feature, whose bin each row is in: the mean over bins of the square of their errors
    beyond the score's, less chance; 0 where that may be chance alone.

    The larger of two means: weighted by the bins' rows (windows like the held-out rows), and half
    by them and half alike (windows in which the rare bins are no longer rare).
    """
    width = int(bins.max()) + 1
    table = np.bincount(beyond.score * width + bins, minlength=len(beyond.rows) * width)
    by_bin = table.reshape(-1, width)
    rows = by_bin.sum(axis=0)
    known = rows >= _LEAST_OF_BIN
    rows, by_bin = rows[known], by_bin[:, known]
    if not len(rows):
        return 0.0
    mean = np.bincount(bins, weights=beyond.apart)[known] / rows
    noise = beyond.noise @ (by_bin - by_bin**2 / beyond.rows[:, None]) / rows**2
    slope = 0.0
    share = rows / rows.sum()
    for weights in (share, (share + 1.0 / len(rows)) / 2):
        found = float(weights @ (mean**2 - noise))
        if found > _SIGNIFICANT * (2.0 * float(weights**2 @ noise**2)) ** 0.5:
            slope = max(slope, found)
    return slope

"""What scores say of a window's accuracy and loss before its labels come.

Accuracy is estimated by confidence (CBPE, confidence-based performance estimation, as NannyML
documents it): of the rows of a score bin as many are wrong as of the version's held-out rows in
that bin. The held-out errors per bin are the calibration (histogram binning: Zadrozny and Elkan,
ICML 2001), so the model's own probabilities need not be calibrated. The mean bounded loss is
estimated likewise (DLE, direct loss estimation), for every task.

Where the profile has segments, the calibration is one per segment: its bins' odds of an error (or
mean losses) are shifted together until the segment's held-out errors come out, shrunk towards no
shift. So a shift in the mix of segments that the score does not explain is seen; it is what
multi-calibration (arXiv 2401.08348) can do with counts. Windows of outcomes hold scores and
segments, but not scores by segment: those are raked (Deming and Stephan, 1940) from the reference.

The interval is for what the labels of the window's rows will say. It covers

- the noise of these labels, given the scores, and of the calibration, which is of finitely many
  held-out rows (delta method), each with the dispersion of the held-out errors or losses;
- covariate shift within a score bin, as far as it moved the estimate on parts of the held-out rows
  with shifted features (``models.shifts``, in the version's metrics): a variance in proportion to
  the distance of the window's features from the profile's.

It does not cover concept drift, nor shifts of a kind that the held-out rows do not show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

from driftloop.drift.clumps import Clumps
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Estimate, LossBaseline, Profile, Stream, Window
from driftloop.kernel.statistics.distance import distance, profile_counts, window_counts
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.statistics.layout import PREDICTED, Layout
from driftloop.kernel.statistics.segments import segments_of
from driftloop.models.shifts import ERROR_SHIFT, LOSS_SHIFT

CONFIDENCE = 0.95
CAVEAT = (
    "Blind to concept drift: it takes rows with these scores to be as often and as badly wrong as "
    "the version's held-out rows were."
)
_ODDS_SPREAD = 0.5
"""Standard deviation of the shifts of log odds among segments that is thought usual."""
_LOSS_ROWS = 30.0
"""A segment's mean loss is its own from about so many rows on."""
_STEPS = 30
"""Of Newton's method and of raking; both have settled long before."""


@dataclass(frozen=True, slots=True)
class _Calibration:
    """Of one metric, per segment (the last: rows of none) and score bin, shape (G, K)."""

    metric: str
    method: str
    mean: F64
    """Share of errors, or mean loss."""
    variance: F64
    """Of one row's error or loss."""
    weight: F64
    """How the mean follows a shift of its bin or segment."""
    base: F64
    """Shape (K,): weight before segments were told apart."""
    prior: F64
    """Shape (G,): weight of no shift."""
    clumps: Clumps
    """Shape (1, 1)."""
    shift: str
    """Key of the version's metrics: variance of the bias per unit of the features' distance."""


class Estimator:
    """Estimates of one version's windows; ``metrics`` are the version's."""

    def __init__(self, profile: Profile, task: Task, metrics: Mapping[str, float]) -> None:
        self._metrics = metrics
        self._features = profile_counts(profile)
        self._score = len(profile.numeric) - 1
        self._independent = self._score + sum(c.name != PREDICTED for c in profile.categorical)
        self._place = Layout(profile, Stream.PREDICTIONS).places[self._score].bins
        self._levels = segments_of(profile, Stream.PREDICTIONS)
        if self._levels != segments_of(profile, Stream.OUTCOMES):
            self._levels = ()
        self._reference = _by_segment(profile, self._levels, self._place)
        bins = self._reference.shape[1]
        loss = profile.loss
        self._calibrations: list[_Calibration] = []
        if len(loss.score_errors) == bins and task is not Task.REGRESSION and loss.rows:
            self._calibrations.append(_of_errors(profile, self._levels, self._reference))
        if len(loss.score_losses) == bins and loss.rows:
            self._calibrations.append(_of_losses(profile, task, self._levels, self._reference))

    def estimates(self, window: Window) -> list[Estimate]:
        """Accuracy (not of a regression), then loss; of outcomes with what the labels say. None
        without rows or scores, and where the profile has no errors or losses by score.

        Raises :class:`DecodeError` for a window that does not fit the profile.
        """
        if not self._calibrations or not window.statistics.numeric:
            return []
        counts = self._counts(window)
        if counts.sum() <= 0:
            return []
        try:
            far = distance(window_counts(window.statistics), self._features)
        except ValueError as error:
            raise _misfit(window) from error
        return [self._estimate(window, c, counts, far) for c in self._calibrations]

    def _counts(self, window: Window) -> F64:
        """Rows by segment and score bin."""
        statistics = window.statistics
        if len(statistics.numeric) != self._score + 1:
            raise _misfit(window)
        score = np.array(statistics.numeric[self._score].bins, dtype=np.float64)
        if len(score) != self._reference.shape[1]:
            raise _misfit(window)
        if not self._levels:
            return score[None, :]
        if tuple(part.level for part in statistics.segments) != self._levels:
            raise _misfit(window)
        if window.stream is Stream.OUTCOMES:
            rows = [float(part.rows) for part in statistics.segments]
            rest = max(0.0, float(score.sum()) - sum(rows))
            return _raked(self._reference, np.array([*rows, rest]), score)
        parts = np.array([part.counts[self._place] for part in statistics.segments], np.float64)
        return np.vstack([parts, np.maximum(score - parts.sum(axis=0), 0.0)])

    def _estimate(
        self, window: Window, calibration: _Calibration, counts: F64, far: float
    ) -> Estimate:
        rows = float(counts.sum())
        mean = float((counts * calibration.mean).sum()) / rows
        labels = float((counts * calibration.variance).sum())
        clumps = calibration.clumps
        variance = float(clumps.among(np.array([rows])).item()) * labels
        variance += float(clumps.least.item()) * self._uncertainty(calibration, counts)
        shift = self._metrics.get(calibration.shift, 0.0) * far
        variance = variance / rows**2 + shift
        # Held-out rows without any loss say of none that it could be another.
        part = shift / variance if variance > 0.0 else 0.0
        spread = _quantile(self._independent, part) * math.sqrt(variance)
        if calibration.metric == "accuracy":
            # Labels are whole rows: a normal interval of a count reaches half a row further.
            spread += 0.5 / rows
        lower, upper = mean - spread, mean + spread
        if calibration.metric == "accuracy":
            mean, lower, upper = 1.0 - mean, max(0.0, 1.0 - upper), min(1.0, 1.0 - lower)
        return Estimate(
            model=window.model,
            version=window.version,
            stream=window.stream,
            window=window.id,
            start=window.start,
            end=window.end,
            rows=int(rows),
            metric=calibration.metric,
            method=calibration.method,
            estimate=mean,
            lower=max(0.0, lower),
            upper=upper,
            confidence=CONFIDENCE,
            realised=_realised(window, calibration.metric),
            caveat=CAVEAT,
        )

    def _uncertainty(self, calibration: _Calibration, counts: F64) -> float:
        """Variance of the expected sum over the window for the finite held-out rows: the delta
        method over each segment's and bin's held-out sum, which moves the bin for all segments, and
        the segment for all bins."""
        known = self._reference
        moved = known * calibration.weight
        share = (counts * calibration.weight).sum(axis=1)
        share /= np.maximum(moved.sum(axis=1) + calibration.prior, 1e-12)
        of_bin = (counts * calibration.weight).sum(axis=0) - share @ moved
        of_bin /= np.maximum(known.sum(axis=0) * calibration.base, 1e-12)
        slope = of_bin[None, :] + share[:, None]
        return float((known * calibration.variance * slope * slope).sum())


def _quantile(independent: int, part: float) -> float:
    """Of the interval, in standard deviations: Student's t, for ``part`` of the variance is itself
    estimated, from no more independent shifts than there are features (degrees of freedom as
    Satterthwaite, Biometrics Bulletin, 1946, adds them)."""
    if part <= 0.0:
        return NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    return float(stdtrit(max(1, independent) / part**2, 0.5 + CONFIDENCE / 2))


def _by_segment(profile: Profile, levels: tuple[str, ...], place: slice) -> F64:
    """Held-out rows by segment (the last: none) and score bin."""
    whole = np.array(profile.numeric[-1].counts, dtype=np.float64)
    parts = {
        part.segment: part.counts[place]
        for part in profile.references
        if part.stream is Stream.PREDICTIONS and part.slot < 0
    }
    found = np.array([parts[level] for level in levels], dtype=np.float64)
    found = found.reshape(len(levels), len(whole))
    return np.vstack([found, np.maximum(whole - found.sum(axis=0), 0.0)])


def _by_outcome(profile: Profile, levels: tuple[str, ...], values: F64) -> F64:
    """Sum over each segment's held-out rows (the last: none), shape (G,): ``values`` by place of
    the outcomes' layout."""
    whole = Layout(profile, Stream.OUTCOMES).reference() @ values
    parts = {
        part.segment: float(np.array(part.counts) @ values)
        for part in profile.references
        if part.stream is Stream.OUTCOMES and part.slot < 0
    }
    found = [parts[level] for level in levels]
    return np.array([*found, max(0.0, float(whole) - sum(found))])


def _of_errors(profile: Profile, levels: tuple[str, ...], reference: F64) -> _Calibration:
    loss = profile.loss
    rows = reference.sum(axis=0)
    usual = (loss.errors + 0.5) / (loss.rows + 1.0)
    share = (np.array(loss.score_errors) + usual) / (rows + 1.0)
    odds = np.log(share / (1.0 - share))
    shift = np.zeros(len(reference))
    if levels:
        last = np.zeros(len(loss.counts) + 1)
        last[-1] = 1.0
        errors = _by_outcome(profile, levels, last)
        for _ in range(_STEPS):
            mean = 1.0 / (1.0 + np.exp(-(odds[None, :] + shift[:, None])))
            slope = (reference * mean * (1.0 - mean)).sum(axis=1) + _ODDS_SPREAD**-2
            gap = errors - (reference * mean).sum(axis=1) - shift * _ODDS_SPREAD**-2
            shift = np.clip(shift + gap / slope, -3.0, 3.0)
    mean = 1.0 / (1.0 + np.exp(-(odds[None, :] + shift[:, None])))
    variance = mean * (1.0 - mean)
    prior = np.full(len(reference), _ODDS_SPREAD**-2)
    base = share * (1.0 - share)
    return _Calibration(
        "accuracy",
        "cbpe",
        mean,
        variance,
        variance,
        base,
        prior,
        _clumps(loss, loss.error_dispersion),
        ERROR_SHIFT,
    )


def _of_losses(
    profile: Profile, task: Task, levels: tuple[str, ...], reference: F64
) -> _Calibration:
    loss = profile.loss
    rows = reference.sum(axis=0)
    average = (np.array(loss.score_losses) + loss.mean) / (rows + 1.0)
    ratio = np.ones(len(reference))
    prior = np.full(len(reference), _LOSS_ROWS * loss.mean)
    if levels and loss.mean > 0:
        sums = _by_outcome(profile, levels, np.array([*loss.means, 0.0]))
        ratio = (sums + prior) / ((reference * average).sum(axis=1) + prior)
    mean = ratio[:, None] * average[None, :]
    variance = ratio[:, None] ** 2 * _loss_variance(profile, task, average)[None, :]
    return _Calibration(
        "loss",
        "dle",
        mean,
        variance,
        mean,
        average,
        prior * ratio,
        _clumps(loss, loss.dispersion),
        LOSS_SHIFT,
    )


def _clumps(loss: LossBaseline, dispersion: float) -> Clumps:
    return Clumps.of(np.array([[dispersion]]), np.array([loss.window_rows]))


def _loss_variance(profile: Profile, task: Task, average: F64) -> F64:
    """Variance of a row's loss per score bin, shape (K,).

    The profile knows only the variance over all bins (from the bins of the loss). What the bins'
    means do not explain of it is spread over the bins: of a classification as a loss has that is
    one value where the prediction is right and another where it is wrong; of a regression like the
    square of the mean.
    """
    loss = profile.loss
    rows = np.array(profile.numeric[-1].counts, dtype=np.float64)
    counts, means = np.array(loss.counts, dtype=np.float64), np.array(loss.means)
    if not len(counts) or not counts.sum():
        return average * np.maximum(loss.bound - average, 0.0)
    whole = float(counts @ (means - loss.mean) ** 2) / counts.sum()
    within = max(0.0, whole - float(rows @ (average - loss.mean) ** 2) / max(rows.sum(), 1.0))
    shape = average**2
    if task is not Task.REGRESSION and len(loss.score_errors) == len(rows):
        wrong = (np.array(loss.score_errors) + 0.5) / (rows + 1.0)
        right = -np.log(np.clip(_confidence(profile, task), 1e-6, 1.0))
        shape = (1.0 - wrong) / wrong * (average - right) ** 2
    scale = float(rows @ shape) / max(rows.sum(), 1.0)
    return shape * (within / scale) if scale > 0 else np.full(len(rows), within)


def _confidence(profile: Profile, task: Task) -> F64:
    """Probability of the most probable class in the middle of each score bin."""
    score = profile.numeric[-1]
    ends = np.array([score.minimum, *score.edges, score.maximum])
    middle = (ends[:-1] + ends[1:]) / 2
    return np.maximum(middle, 1.0 - middle) if task is Task.BINARY else np.asarray(middle)


def _raked(reference: F64, rows: F64, columns: F64) -> F64:
    """The table nearest to the reference that has these margins (iterative proportional fitting).
    The margins' totals may differ; that of the columns holds."""
    table = reference + 1e-3
    for _ in range(_STEPS):
        table = table * (rows / np.maximum(table.sum(axis=1), 1e-12))[:, None]
        table = table * (columns / np.maximum(table.sum(axis=0), 1e-12))[None, :]
    return table


def _realised(window: Window, metric: str) -> float:
    """By the labels of the window's rows; NaN where they are not known."""
    loss = window.statistics.loss
    if loss is None or not loss.rows:
        return math.nan
    if metric == "accuracy":
        return 1.0 - loss.errors / loss.rows
    return exact_sum(loss.loss) / loss.rows


def _misfit(window: Window) -> DecodeError:
    return DecodeError(
        Reason.MALFORMED,
        f"window {window.id}: scores do not fit version {window.version}'s profile",
    )

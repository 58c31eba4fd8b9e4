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
  the distance of the window's features from the profile's, and more for a feature that errors
  were seen to hang on.

A version that hardly erred on its held-out rows may yet err: half an error more than was seen is
taken to be possible (Jeffreys' prior, as Brown, Cai and DasGupta, Statistical Science, 2001, advise
for shares near 0), and the interval is skewed as sums of rare errors are.

It does not cover concept drift, nor shifts of a kind that the held-out rows do not show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

from driftloop.drift.calibration import Calibration, by_segment, of_errors, of_losses
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Estimate, Profile, Stream, Window
from driftloop.kernel.statistics.distance import distances, profile_counts, window_counts
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.statistics.layout import PREDICTED, Layout
from driftloop.kernel.statistics.segments import segments_of
from driftloop.models.shifts import own_key

CONFIDENCE = 0.95
CAVEAT = (
    "Blind to concept drift: it takes rows with these scores to be as often and as badly wrong as "
    "the version's held-out rows were."
)
_MOST_SKEW = 3.0
"""Skewness beyond which the expansion that uses it is no better than none."""
_STEPS = 30
"""Of raking; it has settled long before."""


class Estimator:
    """Estimates of one version's windows; ``metrics`` are the version's."""

    def __init__(self, profile: Profile, task: Task, metrics: Mapping[str, float]) -> None:
        names = [c.name for c in profile.numeric[:-1]]
        names += [c.name for c in profile.categorical if c.name != PREDICTED]
        self._features = profile_counts(profile)
        self._score = len(profile.numeric) - 1
        self._place = Layout(profile, Stream.PREDICTIONS).places[self._score].bins
        self._levels = segments_of(profile, Stream.PREDICTIONS)
        if self._levels != segments_of(profile, Stream.OUTCOMES):
            self._levels = ()
        self._reference = by_segment(profile, self._levels, self._place)
        bins = self._reference.shape[1]
        loss = profile.loss
        self._calibrations: list[Calibration] = []
        if len(loss.score_errors) == bins and task is not Task.REGRESSION and loss.rows:
            self._calibrations.append(of_errors(profile, self._levels, self._reference))
        if len(loss.score_losses) == bins and loss.rows:
            self._calibrations.append(of_losses(profile, task, self._levels, self._reference))
        self._slopes = [_slopes(metrics, one.shift, names) for one in self._calibrations]
        """Of each calibration the one of all features, and what each one's own is above it."""

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
            far = distances(window_counts(window.statistics), self._features)
        except ValueError as error:
            raise _misfit(window) from error
        return [
            self._estimate(window, calibration, slopes, counts, far)
            for calibration, slopes in zip(self._calibrations, self._slopes, strict=True)
        ]

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
        self,
        window: Window,
        calibration: Calibration,
        slopes: tuple[float, F64],
        counts: F64,
        far: F64,
    ) -> Estimate:
        """``far``: distance of each feature, shape (F,)."""
        rows = float(counts.sum())
        mean = float((counts * calibration.mean).sum()) / rows
        labels = float((counts * calibration.variance).sum())
        clumps = calibration.clumps
        labels *= float(clumps.among(np.array([rows])).item())
        known = float(clumps.least.item()) * self._uncertainty(calibration, counts)
        shift, own = slopes
        usual = shift * float(far.sum())
        variance = (labels + known) / rows**2 + usual
        # Held-out rows without any loss say of none that it could be another.
        part = usual / variance if variance > 0.0 else 0.0
        bias = float(own @ far)
        spread = _reach(_quantile(len(far), part), variance, bias)
        skewed = _skewed(calibration.jump / rows, labels / rows**2, known / rows**2, variance)
        if calibration.metric == "accuracy":
            # Labels are whole rows: a normal interval of a count reaches half a row further.
            spread += 0.5 / rows
        lower, upper = mean - spread + skewed, mean + spread + skewed
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
            lower=max(0.0, min(mean, lower)),
            upper=max(mean, min(calibration.most, upper)),
            confidence=CONFIDENCE,
            realised=_realised(window, calibration.metric),
            caveat=CAVEAT,
        )

    def _uncertainty(self, calibration: Calibration, counts: F64) -> float:
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


def _slopes(metrics: Mapping[str, float], shift: str, names: Sequence[str]) -> tuple[float, F64]:
    usual = metrics.get(shift, 0.0)
    own = np.array([metrics.get(own_key(shift, name), usual) for name in names], dtype=np.float64)
    return usual, np.maximum(own - usual, 0.0)


def _reach(quantile: float, variance: float, bias: float) -> float:
    """Of the interval to either side. ``bias``: square of the largest there may be. That is a
    bound and no spread: no more than it is added to what chance reaches."""
    return min(
        quantile * math.sqrt(variance + bias), quantile * math.sqrt(variance) + math.sqrt(bias)
    )


def _skewed(jump: float, labels: float, known: float, variance: float) -> float:
    """How far the ends of an interval are moved up for skewness (Cornish and Fisher, Revue de
    l'Institut International de Statistique, 1938), in the unit of the mean.

    ``variance`` holds that of the ``labels`` and of the calibration, ``known``. Third cumulant: of
    rare jumps whose rate is known but for a gamma distribution, which half an error gives.
    """
    if labels <= 0.0 or variance <= 0.0:
        return 0.0
    third = jump * (labels + 3.0 * known + 2.0 * known**2 / labels)
    skewness = max(-_MOST_SKEW, min(_MOST_SKEW, third / (variance * math.sqrt(variance))))
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    return (z * z - 1.0) / 6.0 * skewness * math.sqrt(variance)


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

"""How often, and how badly, a version's held-out rows went wrong, per segment and score bin.

What ``drift.labelfree`` takes the rows of windows to be like. Where few or none went wrong, half an
error more is taken to be possible (Jeffreys' prior, as Brown, Cai and DasGupta, Statistical
Science, 2001, advise for shares near 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from driftloop.drift.clumps import Clumps
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import Task
from driftloop.kernel.records import LossBaseline, Profile, Stream
from driftloop.kernel.statistics.layout import Layout
from driftloop.kernel.statistics.losses import CLIP
from driftloop.models.shifts import ERROR_SHIFT, LOSS_SHIFT

_ODDS_SPREAD = 0.5
"""Standard deviation of the shifts of log odds among segments that is thought usual."""
_LOSS_ROWS = 30.0
"""A segment's mean loss is its own from about so many rows on."""
_UNSEEN = 0.5
"""Errors that a version may have made beyond those seen."""
_STEPS = 30
"""Of Newton's method; it has settled long before."""


@dataclass(frozen=True, slots=True)
class Calibration:
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
    jump: float
    """Third central moment of a row's error or loss, by its variance."""
    most: float
    """Largest possible mean."""
    shift: str
    """Key of the version's metrics: variance of the bias per unit of the features' distance."""


def by_segment(profile: Profile, levels: tuple[str, ...], place: slice) -> F64:
    """Held-out rows by segment (the last: none) and score bin, shape (G, K); ``place``: of the
    score in the layout of predictions."""
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


def of_errors(profile: Profile, levels: tuple[str, ...], reference: F64) -> Calibration:
    """Of a classifier's errors; ``reference`` as :func:`by_segment` gives it for ``levels``."""
    loss = profile.loss
    rows = reference.sum(axis=0)
    usual = (loss.errors + 0.5) / (loss.rows + 1.0)
    # A row per bin at the usual rate, and what may be unseen over all of them.
    unseen = rows / (loss.rows + 1.0)
    share = (np.array(loss.score_errors) + usual + _UNSEEN * unseen) / (rows + 1.0 + unseen)
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
    return Calibration(
        "accuracy",
        "cbpe",
        mean,
        variance,
        variance,
        base,
        prior,
        _clumps(loss, loss.error_dispersion),
        1.0 - 2.0 * usual,
        1.0,
        ERROR_SHIFT,
    )


def of_losses(profile: Profile, task: Task, levels: tuple[str, ...], reference: F64) -> Calibration:
    """Of bounded losses, as :func:`of_errors`."""
    loss = profile.loss
    rows = reference.sum(axis=0)
    average = (np.array(loss.score_losses) + loss.mean) / (rows + 1.0)
    if task is not Task.REGRESSION:
        average = average + _UNSEEN / (loss.rows + 1.0) * _unseen(profile, task)
    ratio = np.ones(len(reference))
    prior = np.full(len(reference), _LOSS_ROWS * loss.mean)
    if levels and loss.mean > 0:
        sums = _by_outcome(profile, levels, np.array([*loss.means, 0.0]))
        ratio = (sums + prior) / ((reference * average).sum(axis=1) + prior)
    mean = ratio[:, None] * average[None, :]
    variance = ratio[:, None] ** 2 * _loss_variance(profile, task, average)[None, :]
    follow = np.maximum(average, 1e-6 * loss.bound)
    return Calibration(
        "loss",
        "dle",
        mean,
        variance,
        ratio[:, None] * follow[None, :],
        follow,
        prior * ratio,
        _clumps(loss, loss.dispersion),
        _loss_jump(profile, task),
        loss.bound,
        LOSS_SHIFT,
    )


def _clumps(loss: LossBaseline, dispersion: float) -> Clumps:
    return Clumps.of(np.array([[dispersion]]), np.array([loss.window_rows]))


def _loss_variance(profile: Profile, task: Task, average: F64) -> F64:
    """Variance of a row's loss per score bin, shape (K,).

    The profile knows only the variance over all bins (from the bins of the loss). What the bins'
    means do not explain of it is spread over the bins: of a classification as a loss has that is
    one value where the prediction is right and another where it is wrong; of a regression like the
    square of the mean. To it comes that of errors which may be unseen.
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
    seen = shape * (within / scale) if scale > 0 else np.full(len(rows), within)
    return np.asarray(seen + _UNSEEN / (loss.rows + 1.0) * _unseen(profile, task) ** 2)


def _unseen(profile: Profile, task: Task) -> F64:
    """How far a loss may be from the usual that no held-out row had, shape (K,), per score bin: of
    a classification that of a wrong row from that of a right one (less than 0 where most rows are
    wrong), of a regression as much again as the largest."""
    loss = profile.loss
    if task is Task.REGRESSION:
        largest = 2.0 * loss.means[-1] if loss.means and loss.mean > 0.0 else loss.bound
        return np.full(len(profile.numeric[-1].counts), min(loss.bound, largest) - loss.mean)
    rows = np.array(profile.numeric[-1].counts, dtype=np.float64)
    known = len(loss.score_errors) == len(rows)
    errors = np.array(loss.score_errors if known else np.zeros(len(rows)), dtype=np.float64)
    mostly = np.where(2.0 * errors > rows, -1.0, 1.0)
    ends = _ends(profile)
    surest = np.maximum(ends[1:], 1.0 - ends[:-1] if task is Task.BINARY else ends[:-1])
    right = np.clip(surest, 0.5, 1.0 - CLIP)
    return np.asarray(mostly * np.log(right / (1.0 - right)))


def _loss_jump(profile: Profile, task: Task) -> float:
    """Third central moment of a row's loss by its variance, over all bins, with what may be
    unseen."""
    loss = profile.loss
    counts, means = np.array(loss.counts, dtype=np.float64), np.array(loss.means)
    if not len(counts) or not counts.sum():
        return 0.0
    rows = np.array(profile.numeric[-1].counts, dtype=np.float64)
    apart, unseen = means - loss.mean, _unseen(profile, task)
    second, third = (
        float(counts @ apart**power) / float(counts.sum())
        + _UNSEEN / (loss.rows + 1.0) * float(rows @ unseen**power) / max(float(rows.sum()), 1.0)
        for power in (2, 3)
    )
    return third / second if second > 0.0 else 0.0


def _confidence(profile: Profile, task: Task) -> F64:
    """Probability of the most probable class in the middle of each score bin."""
    ends = _ends(profile)
    middle = (ends[:-1] + ends[1:]) / 2
    return np.maximum(middle, 1.0 - middle) if task is Task.BINARY else np.asarray(middle)


def _ends(profile: Profile) -> F64:
    """Of the score's bins, shape (K + 1,)."""
    score = profile.numeric[-1]
    return np.array([score.minimum, *score.edges, score.maximum])

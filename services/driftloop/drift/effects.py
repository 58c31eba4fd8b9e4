"""How large a change is, in units people know, against what is worth an alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from driftloop.drift.streams import Measure, Watched
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import AlertPolicy

SHIFT = "standardised_shift"
LEAST_CONSTANT_ROWS = 30
"""Rows in a row with one and the same value before a feature is told to stand still."""


@dataclass(frozen=True, slots=True)
class Effect:
    """``size`` and ``floor`` have the unit that ``name`` says."""

    name: str
    size: float
    floor: float

    @property
    def ratio(self) -> float:
        """Of size to floor: from 1 on it is worth an alert."""
        if self.floor > 0.0:
            return self.size / self.floor
        return 1.0 if self.size >= 0.0 else 0.0


def effect(
    stream: Watched,
    counts: F64,
    expected: F64,
    reference_rows: float,
    dispersion: float,
    policy: AlertPolicy,
    means: Sequence[float] = (),
) -> Effect:
    """Of one stream: ``counts`` (B,) of the rows looked at against the shares ``expected`` (B,),
    known from ``reference_rows`` rows. ``means``: of the loss bins, the mean loss of each.

    Where two measures apply, the one that is larger by its floor.
    """
    rows = float(counts.sum())
    share = float(counts[-1] / rows) if rows else 0.0
    match stream.measure:
        case Measure.DISTRIBUTION:
            psi = Effect(
                Measure.DISTRIBUTION.value,
                stability_index(counts, expected, reference_rows, dispersion),
                policy.psi_floor,
            )
            if not stream.ordered:
                return psi
            shift = Effect(SHIFT, abs(standardised_shift(counts, expected)), policy.shift_floor)
            return max(psi, shift, key=lambda found: found.ratio)
        case Measure.LOSS:
            loss = mean_loss(counts, means) - float((expected * means).sum()) if rows else 0.0
            return Effect(stream.measure.value, loss, policy.loss_floor)
        case Measure.ERRORS:
            floor = policy.error_floor
        case Measure.MISSING:
            floor = policy.missing_floor
        case Measure.UNSEEN:
            floor = policy.unseen_floor
        case Measure.OUTSIDE:
            floor = policy.outside_floor
        case Measure.CONSTANT:
            return Effect(stream.measure.value, rows, float(LEAST_CONSTANT_ROWS))
    return Effect(stream.measure.value, share - float(expected[-1]) if rows else 0.0, floor)


def stability_index(
    counts: F64, expected: F64, reference_rows: float, dispersion: float = 1.0
) -> float:
    """Population stability index, less what sampling alone adds to it on average, (bins - 1) x
    dispersion x (1/rows + 1/reference rows); at least 0."""
    rows = float(counts.sum())
    if rows <= 0.0 or reference_rows <= 0.0:
        return 0.0
    bins = len(counts)
    now = (counts + 0.5) / (rows + 0.5 * bins)
    then = (expected * reference_rows + 0.5) / (reference_rows + 0.5 * bins)
    index = float(((now - then) * np.log(now / then)).sum())
    return max(0.0, index - (bins - 1) * dispersion * (1.0 / rows + 1.0 / reference_rows))


def standardised_shift(counts: F64, expected: F64) -> float:
    """Mean of the rows' normal scores under the reference, over the scores' standard deviation: of
    a normal feature, the shift of its mean in standard deviations; of any, one of its ranks."""
    rows = float(counts.sum())
    if rows <= 0.0 or float(expected.sum()) <= 0.0:
        return 0.0
    ends = np.clip(np.concatenate([[0.0], np.cumsum(expected)]), 0.0, 1.0)
    ends[-1] = 1.0
    quantiles = ndtri(ends)
    densities = np.exp(-0.5 * quantiles**2) / np.sqrt(2.0 * np.pi)
    width = np.maximum(np.diff(ends), 1e-12)
    scores = (densities[:-1] - densities[1:]) / width
    # A bin that the reference does not have lies where it would begin.
    scores = np.where(expected > 0.0, scores, np.clip(quantiles[:-1], -4.0, 4.0))
    spread = float(np.sqrt((expected * scores**2).sum()))
    return float((counts * scores).sum() / rows / spread) if spread > 0.0 else 0.0


def mean_loss(counts: F64, means: Sequence[float]) -> float:
    """Of rows on the loss bins, whose means are those of the reference's rows in them."""
    rows = float(counts.sum())
    return float((counts * np.asarray(means)).sum() / rows) if rows else 0.0

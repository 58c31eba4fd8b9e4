"""How large a change is, in units people know, against what is worth an alert.

Streams lie side by side as in ``drift.groups``: T of them, with G bins in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from driftloop.drift.groups import Group
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


def effects(
    group: Group,
    counts: F64,
    expected: F64,
    known: F64,
    dispersions: F64,
    policy: AlertPolicy,
    means: Sequence[float],
) -> list[Effect]:
    """Of every stream of a group: ``counts`` (G,) of the rows looked at against the shares
    ``expected`` (G,), known from ``known`` (T,) rows. ``means``: of the loss bins, the mean loss of
    each. Where two measures apply, the one that is larger by its floor."""
    shares = group.shares(counts)
    last = group.starts + group.sizes - 1
    increase = shares[last] - expected[last]
    # Whether one stream is of distributions all of its group are.
    two_sided = any(stream.measure is Measure.DISTRIBUTION for stream in group.streams)
    psi = shift = increase
    if two_sided:
        psi = stability_index(group, counts, expected, known, dispersions)
        shift = np.abs(standardised_shift(group, shares, expected))
    found = []
    for index, stream in enumerate(group.streams):
        if stream.measure is Measure.DISTRIBUTION:
            best = Effect(stream.measure.value, float(psi[index]), policy.psi_floor)
            if stream.ordered:
                other = Effect(SHIFT, float(shift[index]), policy.shift_floor)
                best = max(best, other, key=lambda effect: effect.ratio)
            found.append(best)
            continue
        size = float(increase[index])
        if stream.measure is Measure.LOSS:
            span = group.span(index)
            size = float(((shares[span] - expected[span]) * means).sum())
        empty = shares[group.span(index)].sum() <= 0.0
        found.append(Effect(stream.measure.value, 0.0 if empty else size, _floor(stream, policy)))
    return found


def stability_index(group: Group, counts: F64, expected: F64, known: F64, dispersions: F64) -> F64:
    """Population stability index per stream, (T,), less what sampling alone adds to it on average,
    (bins - 1) x dispersion x (1/rows + 1/reference rows); at least 0."""
    rows = group.totals(counts)
    some = (rows > 0.0) & (known > 0.0)
    rows, known = np.where(some, rows, 1.0), np.where(some, known, 1.0)
    sizes = group.sizes
    now = (counts + 0.5) / (rows + 0.5 * sizes)[group.owner]
    then = (expected * known[group.owner] + 0.5) / (known + 0.5 * sizes)[group.owner]
    index = group.totals((now - then) * np.log(now / then))
    index -= (sizes - 1) * dispersions * (1.0 / rows + 1.0 / known)
    return np.asarray(np.where(some, np.maximum(index, 0.0), 0.0), dtype=np.float64)


def standardised_shift(group: Group, shares: F64, expected: F64) -> F64:
    """Per stream, (T,), the mean of the rows' normal scores under the reference, over the scores'
    standard deviation: of a normal feature, the shift of its mean in standard deviations; of any,
    one of its ranks."""
    low, high, _ = group.ends(expected)
    bounds = ndtri(np.stack([low, high]))
    densities = np.exp(-0.5 * bounds**2) / np.sqrt(2.0 * np.pi)
    scores = (densities[0] - densities[1]) / np.maximum(high - low, 1e-12)
    # A bin that the reference does not have lies where it would begin.
    scores = np.where(high > low, scores, np.clip(bounds[0], -4.0, 4.0))
    spread = np.sqrt(group.totals(expected * scores**2))
    moved = group.totals(shares * scores)
    return np.asarray(moved / np.maximum(spread, 1e-12) * (spread > 0.0), dtype=np.float64)


def _floor(stream: Watched, policy: AlertPolicy) -> float:
    match stream.measure:
        case Measure.DISTRIBUTION:
            return policy.psi_floor
        case Measure.LOSS:
            return policy.loss_floor
        case Measure.ERRORS:
            return policy.error_floor
        case Measure.MISSING:
            return policy.missing_floor
        case Measure.UNSEEN:
            return policy.unseen_floor
        case Measure.OUTSIDE:
            return policy.outside_floor
        case Measure.CONSTANT:
            return float(LEAST_CONSTANT_ROWS)

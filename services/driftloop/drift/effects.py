"""How large a change is, in units people know, against what is worth an alert.

Streams lie side by side as in ``drift.groups``: T of them, with G bins in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from driftloop.drift import bets
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


@dataclass(frozen=True, slots=True)
class Expected:
    """What the reference gives for some rows."""

    shares: F64
    """(G,)."""
    known: F64
    """How many rows it has of each stream, (T,)."""
    scores: F64
    """Of each bin the mean of the normal scores in it, (G,)."""
    spread: F64
    """Their standard deviation within each stream, (T,)."""

    @classmethod
    def of(cls, group: Group, shares: F64, known: F64) -> Expected:
        high, _ = group.ends(shares)
        width = bets.widths(high, group.starts)
        bounds = ndtri(high)
        densities = np.exp(-0.5 * bounds**2) / np.sqrt(2.0 * np.pi)
        scores = -bets.widths(densities, group.starts) / np.maximum(width, 1e-12)
        # A bin that the reference does not have lies where it would end, which is where it begins.
        scores = np.where(width > 0.0, scores, np.clip(bounds, -4.0, 4.0))
        return cls(shares, known, scores, np.sqrt(group.totals(shares * scores**2)))


@dataclass(frozen=True, slots=True)
class Effects:
    """Of every stream of a group: the larger, by its floor, of the measures that apply."""

    names: Sequence[str]
    sizes: F64
    floors: F64
    shifts: F64 | None
    """Of a group of distributions, the standardised shifts; NaN where the order means nothing."""
    shift_floor: float

    def ratios(self) -> F64:
        """Of size to floor, (T,)."""
        ratios = _ratios(self.sizes, self.floors)
        if self.shifts is None:
            return ratios
        return np.fmax(ratios, _ratios(self.shifts, np.full(len(self.shifts), self.shift_floor)))

    def __getitem__(self, index: int) -> Effect:
        own = Effect(self.names[index], float(self.sizes[index]), float(self.floors[index]))
        if self.shifts is None or np.isnan(self.shifts[index]):
            return own
        shift = Effect(SHIFT, float(self.shifts[index]), self.shift_floor)
        return max(own, shift, key=lambda effect: effect.ratio)


def effects(
    group: Group,
    counts: F64,
    expected: Expected,
    dispersions: F64,
    floors: F64,
    shift_floor: float,
    means: Sequence[float],
) -> Effects:
    """Of every stream of a group: ``counts`` (G,) of the rows looked at against what is
    ``expected`` of them; ``floors`` as :func:`least` gives them. ``means``: of the loss bins, the
    mean loss of each."""
    names = [stream.measure.value for stream in group.streams]
    shares = group.shares(counts)
    # If one stream is of distributions all of its group are.
    if group.streams[0].measure is Measure.DISTRIBUTION:
        psi = stability_index(group, counts, expected, dispersions)
        shift = np.abs(standardised_shift(group, shares, expected))
        ordered = np.array([stream.ordered for stream in group.streams])
        shifts: F64 = np.where(ordered, shift, np.nan)
        return Effects(names, psi, floors, shifts, shift_floor)
    last = group.starts + group.sizes - 1
    sizes: F64 = np.where(group.totals(counts) > 0.0, shares[last] - expected.shares[last], 0.0)
    for index, stream in enumerate(group.streams):
        if stream.measure is Measure.LOSS and counts[group.span(index)].any():
            span = group.span(index)
            sizes[index] = ((shares[span] - expected.shares[span]) * means).sum()
    return Effects(names, sizes, floors, None, 0.0)


def _ratios(sizes: F64, floors: F64) -> F64:
    some = floors > 0.0
    divided = sizes / np.where(some, floors, 1.0)
    return np.asarray(np.where(some, divided, np.where(sizes >= 0.0, 1.0, 0.0)), dtype=np.float64)


def stability_index(group: Group, counts: F64, expected: Expected, dispersions: F64) -> F64:
    """Population stability index per stream, (T,), less what sampling alone adds to it on average,
    (bins - 1) x dispersion x (1/rows + 1/reference rows); at least 0."""
    rows, known = group.totals(counts), expected.known
    some = (rows > 0.0) & (known > 0.0)
    rows, known = np.where(some, rows, 1.0), np.where(some, known, 1.0)
    sizes = group.sizes
    now = (counts + 0.5) / (rows + 0.5 * sizes)[group.owner]
    then = (expected.shares * known[group.owner] + 0.5) / (known + 0.5 * sizes)[group.owner]
    index = group.totals((now - then) * np.log(now / then))
    index -= (sizes - 1) * dispersions * (1.0 / rows + 1.0 / known)
    return np.asarray(np.where(some, np.maximum(index, 0.0), 0.0), dtype=np.float64)


def standardised_shift(group: Group, shares: F64, expected: Expected) -> F64:
    """Per stream, (T,), the mean of the rows' normal scores under the reference, over the scores'
    standard deviation: of a normal feature, the shift of its mean in standard deviations; of any,
    one of its ranks."""
    moved = group.totals(shares * expected.scores)
    spread = expected.spread
    return np.asarray(moved / np.maximum(spread, 1e-12) * (spread > 0.0), dtype=np.float64)


def least(group: Group, policy: AlertPolicy) -> F64:
    """Of every stream the least effect that is worth an alert, (T,)."""
    return np.array([_floor(stream, policy) for stream in group.streams])


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

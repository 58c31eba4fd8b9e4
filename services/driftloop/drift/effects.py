"""How large a change is, in units people know, against what is worth an alert.

Streams lie side by side as in ``drift.groups``: T of them, with G bins in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import gammaln, ndtri

from driftloop.drift import bets
from driftloop.drift.groups import Group
from driftloop.drift.streams import Measure, Watched
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import AlertPolicy

SHIFT = "standardised_shift"
_LEAST_MEAN = 1e-6
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
    """Population stability index per stream, (T,), less what sampling alone adds to it on average;
    at least 0.

    Half a row is added to what each bin has, and to what it would have. Sampling then adds
    ``_noise`` per bin, times the dispersion x (1/rows + 1/reference rows): 1 where some rows are
    expected, and less where hardly one is, as with hundreds of levels.
    """
    rows, known = group.totals(counts), expected.known
    some = (rows > 0.0) & (known > 0.0)
    rows, known = np.where(some, rows, 1.0), np.where(some, known, 1.0)
    usual = expected.shares * rows[group.owner]
    index = group.totals((counts - usual) * np.log((counts + 0.5) / (usual + 0.5))) / rows
    sampled = group.totals((1.0 - expected.shares) * _noise(usual))
    index -= sampled * dispersions * (1.0 / rows + 1.0 / known)
    return np.asarray(np.where(some, np.maximum(index, 0.0), 0.0), dtype=np.float64)


def _noise(usual: F64) -> F64:
    """E (X - x) log((X + 1/2) / (x + 1/2)) for a Poisson variable X with the mean x."""
    return np.asarray(np.interp(np.log(np.maximum(usual, _LEAST_MEAN)), *_noises()))


@cache
def _noises() -> tuple[F64, F64]:
    """Logarithms of means, and the noise of each."""
    means = np.geomspace(_LEAST_MEAN, 100.0, 200)[:, None]
    found = np.arange(300.0)
    logs = np.log((found + 0.5) / (means + 0.5))
    chances = np.exp(found * np.log(means) - means - gammaln(found + 1.0))
    noises = ((found - means) * logs * chances).sum(axis=1)
    return np.log(means[:, 0]), np.asarray(noises, dtype=np.float64)


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

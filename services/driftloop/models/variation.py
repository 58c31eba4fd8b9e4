"""What few windows show of how much the counts of a stream vary.

Few windows may all be alike by luck, so a dispersion measured on them (``models.dispersion``) is no
ground to rely on. ``drift.luck`` says how large it may be, for the evidence that a test asks for;
here is what it needs to know of the windows, small enough for a version to keep. No SciPy, for
training loads this.
"""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records.training import Variation
from driftloop.models.deviations import (
    LEAST_BLOCKS,
    Deviations,
    compared,
    directions,
    together,
)
from driftloop.models.dispersion import block_lengths, some_rows, tabled
from driftloop.models.fairness import fair, fair_mixture
from driftloop.models.payoffs import MIXTURE_WEIGHT, Betting

ENOUGH_WINDOWS = 400
"""So many show how large the clumps are that rows come in; of fewer there is a bound."""
_ROUNDING = 1e-9
"""A ratio that is nothing but rounding."""


def variation(
    bins: I64,
    count: int,
    windows: I64,
    betting: Betting = Betting.ORDERED,
    *,
    slots: I64 | None = None,
) -> Variation:
    """Of n rows in ``bins``, shape (n,), of 0 to ``count`` - 1, in windows of these numbers, (n,);
    what is measured is left out where they are enough. ``betting`` and ``slots`` as of
    ``models.dispersion.dispersion``."""
    held = len(np.unique(windows))
    if held >= ENOUGH_WINDOWS or held < LEAST_BLOCKS:
        return Variation(held, len(bins))
    return table_variation(*tabled(bins, count, windows, slots), betting)


def table_variation(numbers: I64, table: I64, betting: Betting = Betting.ORDERED) -> Variation:
    """Of counts, shape (windows, slots, bins), in windows of these ascending numbers, (windows,),
    however many."""
    rows = int(table.sum())
    numbers, table = some_rows(numbers, table)
    held = len(numbers)
    if table.shape[2] < 2:
        return Variation(held, rows, 1.0)
    if held < LEAST_BLOCKS:
        return Variation(held, rows)
    windows = compared(table)
    along = directions(windows.table.sum(axis=(0, 1)), betting)
    least = 2.0 * math.sqrt(held)
    starts = [starts for starts in block_lengths(numbers) if len(starts) >= least][-1:]
    found = [_measured(windows.along(along), along.stakes)]
    found.append(_lasting(windows.along(along), along.stakes))
    longer = [one for start in starts if (one := windows.longer(start)) is not None]
    found += [_measured(one.along(along), along.stakes) for one in longer]
    surely = fair(windows.winnings(betting)[0])
    if betting is Betting.UNORDERED:
        found.append(np.array([(*together(one), MIXTURE_WEIGHT) for one in (windows, *longer)]))
        surely = max(surely, fair_mixture(windows))
    told = np.concatenate(found)
    if not np.isfinite(told).all() or surely > rows:
        # Nothing is known of how long it lasts, or of what has won without bounds.
        return Variation(held, rows)
    ratios, freedoms, stakes = _telling(told).T.tolist()
    return Variation(held, rows, surely, tuple(ratios), tuple(freedoms), tuple(stakes))


def _measured(found: Deviations, stakes: F64) -> F64:
    """Ratio, freedom and stake of each direction that shows anything, (D, 3)."""
    ratio = found.ratio
    firm = np.full(len(ratio), found.firm)
    return np.stack([ratio, firm, stakes], axis=1)[ratio > _ROUNDING]


def _lasting(found: Deviations, stakes: F64) -> F64:
    """The same with the covariances of windows one after another; where these are negative, that is
    taken for luck. Infinite where they are as many as the windows."""
    long_run, covariances = found.lasting(together=True)
    # Each covariance, but that of lag 0, is too low by the part of the long-run variance that goes
    # into the mean of all blocks.
    left = 1.0 - (covariances - 1) / len(found.found)
    ratio = np.where(left > 0.0, long_run / np.maximum(left, _ROUNDING), math.inf)
    shown = found.ratio > _ROUNDING
    return np.stack([ratio, found.firm / covariances, stakes], axis=1)[shown]


def _telling(told: F64) -> F64:
    """Those that no other one exceeds whatever evidence is asked for. Luck is worth the more, the
    less freedom there is, and the more is staked."""
    kept: list[F64] = []
    for one in sorted(np.unique(told, axis=0), key=lambda one: (-one[0], one[1], -one[2])):
        if not any(k[0] >= one[0] and k[1] <= one[1] and k[2] >= one[2] for k in kept):
            kept.append(one)
    return np.array(kept).reshape(-1, 3)

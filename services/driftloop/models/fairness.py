"""The dispersion under which no bet would have won on the blocks of a reference, on average: the
drift tests' own condition, looked at where it must hold (``models.dispersion``)."""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64
from driftloop.models.deviations import Blocks

LARGEST = 700.0
"""Of an exponent."""
_STEPS = 20
"""Halvings when a dispersion is looked for."""
_MIXED_STEPS = 12
"""The same for mixtures, which take longer, of its logarithm."""


def fair(won: F64) -> float:
    """The least dispersion under which no bet would have won on these blocks, on average: the
    least D from 1 with a mean of exp(won / D) of at most 1 for each bet. ``won`` as of
    :meth:`Blocks.winnings`."""
    won = won[:, _mean(won, np.ones(won.shape[1])) > 0.0]
    if not won.shape[1]:
        return 1.0
    least: F64 = np.zeros(won.shape[1])
    most: F64 = np.ones(won.shape[1])
    # The mean is convex in 1 / D, 1 at 0 and below 1 right after it.
    for _ in range(_STEPS):
        middle = 0.5 * (least + most)
        low = _mean(won, middle) <= 0.0
        least, most = np.where(low, middle, least), np.where(low, most, middle)
    lowest = float(least.min())
    return 1.0 / lowest if lowest > 0.0 else math.inf


def fair_mixture(blocks: Blocks) -> float:
    """The same of the bets on all directions together; at most the number of rows, for then nothing
    is known."""
    least, most = 0.0, math.log(max(1.0, float(blocks.rows.sum())))
    if _mean(blocks.mixed()[:, None], np.ones(1))[0] <= 0.0:
        return 1.0
    for _ in range(_MIXED_STEPS):
        middle = 0.5 * (least + most)
        if _mean(blocks.mixed(math.exp(-middle))[:, None], np.ones(1))[0] <= 0.0:
            most = middle
        else:
            least = middle
    return math.exp(most)


def _mean(won: F64, power: F64) -> F64:
    """Mean over the blocks of winnings to this power, (bets,), less 1."""
    return np.asarray(np.expm1(np.minimum(won * power, LARGEST)).mean(axis=0), dtype=np.float64)

"""The bets of the drift tests: how strong they are, what is staked on each, and what they pay on
the bins of one stream.

What they mean is told where they are made (``drift.bets``). They are here because a dispersion is
measured in the directions that bets go in. No SciPy: training loads this, and SciPy waits for ever
where a worker's memory does not suffice to load it.
"""

from __future__ import annotations

import enum
import math
from statistics import NormalDist

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64


class Betting(enum.Enum):
    """Which bets are on a stream."""

    ORDERED = "ordered"
    """On both ends of its bins, and on single ones."""
    UNORDERED = "unordered"
    """The same, and half of what is staked on ends is on all directions instead
    (``models.mixtures``): the order of the bins means nothing."""
    UPPER = "upper"
    """On the upper end alone."""


SHIFTS: F64 = np.array([-1.0, -0.5, -0.25, -0.12, 0.12, 0.25, 0.5, 1.0])
"""Standard deviations."""
SCALES: F64 = np.array([0.6, 0.8, 1.25, 1.6])
SHIFT_WEIGHT = 0.6
"""Of all the bets on shifts together."""
SCALE_WEIGHT = 0.25
TILTS = len(SHIFTS) + len(SCALES)
TILT_WEIGHTS: F64 = np.concatenate(
    [
        np.full(len(SHIFTS), SHIFT_WEIGHT / len(SHIFTS)),
        np.full(len(SCALES), SCALE_WEIGHT / len(SCALES)),
    ]
)
BIN_WEIGHT = 0.15
"""Of all the bets on single bins of a stream together."""
MIXTURE_PART = 0.5
"""Of what is staked on shifts and scales: on all directions, where bins have no order."""
MIXTURE_WEIGHT = MIXTURE_PART * (SHIFT_WEIGHT + SCALE_WEIGHT)
GROWTH = 0.6
"""A bin of share s is bet to have s ** GROWTH."""
MOST_GROWTH = 64
"""Bins of a stream that are bet on one by one: the largest."""
POWERS: F64 = np.array([0.35, 0.58, 0.75, 0.88])
POWER_WEIGHTS: F64 = np.array([0.1, 0.3, 0.3, 0.3])
"""The strongest is for shares that leap."""

_NORMAL = NormalDist()
_ERFC = np.frompyfunc(math.erfc, 1, 1)
_TINY = 1e-300


def largest_bins(counts: F64 | I64) -> I64:
    """Which of a stream's bins are bet on one by one, ascending."""
    order = np.argsort(-counts, kind="stable")[:MOST_GROWTH]
    return np.sort(order).astype(np.int64)


def tilt_weights(betting: Betting) -> F64:
    """What is staked on each of a stream's tilts."""
    return TILT_WEIGHTS * (1.0 - MIXTURE_PART if betting is Betting.UNORDERED else 1.0)


def payoffs(share: F64, betting: Betting) -> tuple[F64, F64]:
    """Log payoffs, shape (bets, K), of the bins of one stream that have these shares, (K,), and
    what is staked on each bet, (bets,); without those on all directions."""
    high = np.minimum(np.cumsum(share), 1.0)
    high[-1] = 1.0
    if betting is Betting.UPPER:
        below = 1.0 - (1.0 - high) ** POWERS[:, None]
        return _logs(below, high), POWER_WEIGHTS
    ends = np.array([_quantile(end) for end in high.tolist()])
    below = _below(np.concatenate([ends - SHIFTS[:, None], ends / SCALES[:, None]]))
    chosen = largest_bins(share)
    own = share[chosen, None]
    grown = own**GROWTH
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(own < 1.0, np.log((1.0 - grown) / (1.0 - own)), 0.0)
        won = np.where(own > 0.0, (GROWTH - 1.0) * np.log(own), 0.0)
    single = np.where(np.arange(len(share)) == chosen[:, None], won, left)
    weights = np.concatenate(
        [tilt_weights(betting), np.full(len(chosen), BIN_WEIGHT / len(chosen))]
    )
    return np.concatenate([_logs(below, high), single]), weights


def _logs(below: F64, high: F64) -> F64:
    mass, width = np.diff(below, prepend=0.0), np.diff(high, prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.maximum(mass, _TINY)) - np.log(width)
    return np.asarray(np.where(width > 0.0, logs, 0.0), dtype=np.float64)


def _quantile(share: float) -> float:
    if share <= 0.0:
        return -math.inf
    return _NORMAL.inv_cdf(share) if share < 1.0 else math.inf


def _below(z: F64) -> F64:
    """The normal distribution function."""
    return np.asarray(0.5 * _ERFC(-z / math.sqrt(2.0)), dtype=np.float64)

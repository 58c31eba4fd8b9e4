"""Bounded losses, and the bets that sequential tests place on them.

Sequential tests need losses in a known interval, so log loss is taken of scores clipped to
[CLIP, 1 - CLIP]. Everything here is elementwise and deterministic.
"""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64

CLIP = 0.01
LOSS_BOUND = -math.log(CLIP)
"""Largest bounded log loss of a row, nats."""

BETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions of wealth staked per row: a test averages its wealth over them (Waudby-Smith and
Ramdas, arXiv 2010.09686, section 4: a grid of constant bets)."""


def bounded_log_loss(score: F64, label: F64) -> F64:
    """Binary log loss per row in [0, LOSS_BOUND]. ``score`` is the probability of class 1."""
    clipped = np.clip(score, CLIP, 1.0 - CLIP)
    return np.asarray(-np.log(np.where(label > 0.5, clipped, 1.0 - clipped)), dtype=np.float64)


def baseline_payoffs(loss: F64, upper: float) -> tuple[F64, ...]:
    """Log payoff per row, for each bet of BETS, on the mean loss being above ``upper``.

    The payoff 1 + bet (loss / upper - 1) is positive and has mean at most 1 while the mean loss is
    at most ``upper`` (> 0).
    """
    relative = loss / upper - 1.0
    return tuple(np.asarray(np.log1p(bet * relative), dtype=np.float64) for bet in BETS)


def paired_payoffs(difference: F64) -> tuple[tuple[F64, ...], tuple[F64, ...]]:
    """Log payoffs per row, for each bet, on the mean of ``difference`` (in [-1, 1]) being positive,
    and on its being negative."""
    better = tuple(np.asarray(np.log1p(bet * difference), dtype=np.float64) for bet in BETS)
    worse = tuple(np.asarray(np.log1p(-bet * difference), dtype=np.float64) for bet in BETS)
    return better, worse

"""Bounded losses, and the bets that sequential tests place on them.

Sequential tests need losses in a known interval, so log loss is taken of scores clipped to
[CLIP, 1 - CLIP], and the error of a number is cut. Everything here is elementwise and
deterministic.
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


def bounded_class_loss(scores: F64, label: F64) -> F64:
    """Multiclass log loss per row in [0, LOSS_BOUND]. ``scores`` (n, C) are the probabilities of
    the classes, ``label`` (n,) their indices."""
    chosen = scores[np.arange(len(label)), label.astype(np.int64)]
    return np.asarray(-np.log(np.clip(chosen, CLIP, 1.0 - CLIP)), dtype=np.float64)


def bounded_error(value: F64, label: F64, bound: float) -> F64:
    """Absolute error per row, in [0, bound]."""
    return np.asarray(np.minimum(np.abs(label - value), bound), dtype=np.float64)


def paired_payoffs(difference: F64) -> tuple[tuple[F64, ...], tuple[F64, ...]]:
    """Log payoffs per row, for each bet, on the mean of ``difference`` (in [-1, 1]) being positive,
    and on its being negative."""
    better = tuple(np.asarray(np.log1p(bet * difference), dtype=np.float64) for bet in BETS)
    worse = tuple(np.asarray(np.log1p(-bet * difference), dtype=np.float64) for bet in BETS)
    return better, worse

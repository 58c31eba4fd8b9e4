"""The loss baseline of a version: what it loses on rows it was not trained on."""

from __future__ import annotations

import math

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records.training import LossBaseline
from driftloop.kernel.statistics.losses import LOSS_BOUND

CONFIDENCE = 0.95


def loss_baseline(losses: F64, confidence: float = CONFIDENCE) -> LossBaseline:
    """Mean of losses in [0, LOSS_BOUND] and the upper confidence bound of their expectation.

    Empirical Bernstein bound: Maurer and Pontil, arXiv 0907.3740, theorem 4. It takes the rows to
    be independent. Without two rows the bound is LOSS_BOUND.
    """
    rows = len(losses)
    mean = float(losses.mean()) if rows else 0.0
    upper = LOSS_BOUND
    if rows >= 2:
        log_term = math.log(2.0 / (1.0 - confidence))
        spread = math.sqrt(2.0 * float(losses.var(ddof=1)) * log_term / rows)
        slack = 7.0 * LOSS_BOUND * log_term / (3.0 * (rows - 1))
        upper = min(LOSS_BOUND, mean + spread + slack)
    return LossBaseline(rows=rows, mean=mean, upper=upper, bound=LOSS_BOUND)

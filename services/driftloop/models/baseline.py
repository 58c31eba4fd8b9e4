"""The loss baseline of a version: what it loses on rows it was not trained on."""

from __future__ import annotations

import math

import numpy as np

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.records.training import LossBaseline, NumericProfile
from driftloop.kernel.statistics.criterion import Judged

CONFIDENCE = 0.95


def loss_baseline(
    judged: Judged, bound: float, edges: F64, score: NumericProfile, scores: F64
) -> LossBaseline:
    """Of m held-out rows, whose losses lie in [0, bound].

    ``edges``: inner edges of the losses' bins; ``score``: the profile of ``scores``, shape (m,), by
    whose bins errors and losses are counted too.
    """
    bins = np.searchsorted(edges, judged.loss, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    sums = np.bincount(bins, weights=judged.loss, minlength=len(edges) + 1)
    by_score = np.searchsorted(np.array(score.edges), scores, side="left")
    width = len(score.counts)
    return LossBaseline(
        rows=len(judged.loss),
        mean=float(judged.loss.mean()) if len(judged.loss) else 0.0,
        upper=upper_bound(judged.loss, bound),
        bound=bound,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        means=tuple((sums / np.maximum(counts, 1)).tolist()),
        errors=int(judged.wrong.sum()),
        score_errors=tuple(np.bincount(by_score[judged.wrong], minlength=width).tolist()),
        score_losses=tuple(np.bincount(by_score, weights=judged.loss, minlength=width).tolist()),
    )


def upper_bound(losses: F64, bound: float, confidence: float = CONFIDENCE) -> float:
    """Upper confidence bound of the expectation of losses in [0, bound].

    Empirical Bernstein bound: Maurer and Pontil, arXiv 0907.3740, theorem 4. It takes the rows to
    be independent. Without two rows it is ``bound``.
    """
    rows = len(losses)
    if rows < 2:
        return bound
    log_term = math.log(2.0 / (1.0 - confidence))
    spread = math.sqrt(2.0 * float(losses.var(ddof=1)) * log_term / rows)
    slack = 7.0 * bound * log_term / (3.0 * (rows - 1))
    return min(bound, float(losses.mean()) + spread + slack)

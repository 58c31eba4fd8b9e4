"""Metrics of binary scores: ``score`` the probability of class 1, ``label`` 0 or 1, both (n,)."""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.statistics.losses import bounded_log_loss

SMALLEST = 1e-15
"""Scores are taken to lie in [SMALLEST, 1 - SMALLEST] by the log loss."""
BINS = 10


def log_loss(score: F64, label: F64) -> float:
    """Mean negative log likelihood, nats."""
    p = np.clip(score, SMALLEST, 1.0 - SMALLEST)
    return float(-np.mean(np.where(label > 0.5, np.log(p), np.log1p(-p))))


def auc(score: F64, label: F64) -> float:
    """Area under the ROC curve: the chance that a row of class 1 scores above one of class 0, ties
    counting half (the Mann-Whitney statistic). NaN where only one class is present."""
    positive = label > 0.5
    ones = int(positive.sum())
    zeros = len(label) - ones
    if not ones or not zeros:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2.0)[inverse]
    return float((ranks[positive].sum() - ones * (ones + 1) / 2.0) / (ones * zeros))


def brier(score: F64, label: F64) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((score - label) ** 2))


def calibration(score: F64, label: F64) -> tuple[I64, F64, F64]:
    """Per bin of BINS equal ones over [0, 1]: rows, sum of scores, sum of labels."""
    bins = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(bins, minlength=BINS).astype(np.int64)
    return (
        rows,
        np.bincount(bins, weights=score, minlength=BINS).astype(np.float64),
        np.bincount(bins, weights=label, minlength=BINS).astype(np.float64),
    )


def calibration_error(score: F64, label: F64) -> float:
    """Expected calibration error: mean distance of mean score and share of class 1 over the bins,
    weighted by rows (Naeini et al., AAAI 2015)."""
    _, scores, labels = calibration(score, label)
    return float(np.abs(scores - labels).sum() / len(score))


def evaluate(score: F64, label: F64) -> dict[str, float]:
    """All metrics; ``auc`` is absent where it is undefined (rows of one class only)."""
    metrics = {
        "log_loss": log_loss(score, label),
        "bounded_log_loss": float(bounded_log_loss(score, label).mean()),
        "brier": brier(score, label),
        "calibration_error": calibration_error(score, label),
        "mean_score": float(score.mean()),
        "base_rate": float(label.mean()),
        "rows": float(len(score)),
    }
    area = auc(score, label)
    if not np.isnan(area):
        metrics["auc"] = area
    return metrics

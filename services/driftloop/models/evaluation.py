"""Metrics of scores on labelled rows, by task.

Binary: ``score`` is the probability of class 1, ``label`` 0 or 1, both (n,). Multiclass: ``scores``
(n, C) are the probabilities of the classes, ``label`` (n,) their indices. Regression: ``score`` is
the value, ``label`` any number, both (n,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.declaration import Task
from driftloop.kernel.statistics.criterion import BINARY, Criterion

SMALLEST = 1e-15
"""Scores are taken to lie in [SMALLEST, 1 - SMALLEST] by the log loss."""
BINS = 10

CHOSEN_BY: Mapping[Task, str] = MappingProxyType(
    {Task.BINARY: "log_loss", Task.MULTICLASS: "log_loss", Task.REGRESSION: "mae"}
)
"""The metric by which the best candidate is chosen; the less, the better."""


def evaluate(scores: F64, label: F64, criterion: Criterion = BINARY) -> dict[str, float]:
    """All metrics of the task; those that the rows leave undefined are absent. ``scores`` have the
    shape (n, C), n > 0."""
    bounded = float(criterion.judge(scores, label).loss.mean())
    common = {"rows": float(len(label))}
    match criterion.task:
        case Task.BINARY:
            return {**_binary(scores[:, 0], label), "bounded_log_loss": bounded, **common}
        case Task.MULTICLASS:
            found = _multiclass(scores, label, criterion.classes)
            return {**found, "bounded_log_loss": bounded, **common}
        case Task.REGRESSION:
            return {**_regression(scores[:, 0], label), "bounded_error": bounded, **common}


def _binary(score: F64, label: F64) -> dict[str, float]:
    """``auc`` needs rows of both classes."""
    metrics = {
        "log_loss": log_loss(score, label),
        "brier": brier(score, label),
        "calibration_error": calibration_error(score, label),
        "mean_score": float(score.mean()),
        "base_rate": float(label.mean()),
    }
    area = auc(score, label)
    if not np.isnan(area):
        metrics["auc"] = area
    return metrics


def _multiclass(scores: F64, label: F64, classes: Sequence[str]) -> dict[str, float]:
    """``recall_CLASS`` needs rows of the class."""
    truth = label.astype(np.int64)
    predicted = scores.argmax(axis=1)
    right = predicted == truth
    rows = np.bincount(truth, minlength=len(classes))
    hits = np.bincount(truth[right], minlength=len(classes))
    metrics = {
        "log_loss": class_log_loss(scores, truth),
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1(predicted, truth, len(classes)),
        "calibration_error": calibration_error(scores.max(axis=1), right.astype(np.float64)),
    }
    for name, count, hit in zip(classes, rows.tolist(), hits.tolist(), strict=True):
        metrics[f"base_rate_{name}"] = count / len(label)
        if count:
            metrics[f"recall_{name}"] = hit / count
    return metrics


def _regression(score: F64, label: F64) -> dict[str, float]:
    """``r2`` needs labels that differ."""
    error = score - label
    squares = float(np.mean(error**2))
    metrics = {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(squares)),
        "mean_score": float(score.mean()),
        "mean_label": float(label.mean()),
    }
    variance = float(np.var(label))
    if variance > 0.0:
        metrics["r2"] = 1.0 - squares / variance
    return metrics


def log_loss(score: F64, label: F64) -> float:
    """Binary: mean negative log likelihood, nats."""
    p = np.clip(score, SMALLEST, 1.0 - SMALLEST)
    return float(-np.mean(np.where(label > 0.5, np.log(p), np.log1p(-p))))


def class_log_loss(scores: F64, label: I64) -> float:
    """Multiclass: mean negative log likelihood, nats."""
    p = np.clip(scores[np.arange(len(label)), label], SMALLEST, 1.0 - SMALLEST)
    return float(-np.mean(np.log(p)))


def macro_f1(predicted: I64, label: I64, classes: int) -> float:
    """Mean over the classes that occur, predicted or as labels, of the harmonic mean of precision
    and recall; both (n,)."""
    right = np.bincount(label[predicted == label], minlength=classes)
    either = np.bincount(label, minlength=classes) + np.bincount(predicted, minlength=classes)
    occur = either > 0
    return float(np.mean(2.0 * right[occur] / either[occur]))


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
    """Expected calibration error: mean distance of mean score and share of label 1 over the bins,
    weighted by rows (Naeini et al., AAAI 2015). Of several classes: of the top probability, and
    label 1 where that class is the row's (Guo et al., ICML 2017, section 2)."""
    _, scores, labels = calibration(score, label)
    return float(np.abs(scores - labels).sum() / len(score))

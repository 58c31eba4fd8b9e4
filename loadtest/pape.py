"""PAPE: accuracy without labels from rows, for comparison with what windows' counts allow.

Bialek, Kuberski, Perrakis, Bifet: Estimating Model Performance Under Covariate Shift Without Labels
(arXiv 2401.08348), section 4: the density ratio of the rows to be judged to known ones comes from a
classifier that tells them apart; the scores are calibrated on the known rows under these weights;
the calibrated scores say how often the prediction will be right.
"""

from __future__ import annotations

import lightgbm
import numpy as np
from scipy.optimize import isotonic_regression

from driftloop.kernel.codec.blocks import F64
from loadtest.covariates import Labelled

_FOLDS = 3
_ROUNDS = 60
_PARAMETERS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "num_threads": 1,
    "verbosity": -1,
    "deterministic": True,
}
_LEAST, _MOST = 0.01, 0.99
"""Of the classifier's probability: weights are at most 99 to 1."""


def pape(known: Labelled, known_scores: F64, rows: Labelled, scores: F64) -> float:
    """Accuracy of ``rows``, whose labels are not looked at. ``known_scores`` (N,) and ``scores``
    (n,): probabilities of label 1."""
    weights = _ratio(_matrix(known), _matrix(rows))
    order = np.argsort(known_scores, kind="stable")
    fitted = isotonic_regression(known.labels[order], weights=weights[order]).x
    calibrated = np.interp(scores, known_scores[order], fitted)
    return float(np.where(scores > 0.5, calibrated, 1.0 - calibrated).mean())


def _ratio(known: F64, rows: F64) -> F64:
    """Of the densities, at each known row; the classifier has not seen the row it is asked for."""
    columns = np.concatenate([known, rows])
    which = np.repeat([0.0, 1.0], [len(known), len(rows)])
    fold = np.arange(len(columns)) % _FOLDS
    ratio = np.empty(len(known))
    for out in range(_FOLDS):
        seen = fold != out
        data = lightgbm.Dataset(columns[seen], which[seen])
        made = lightgbm.train(_PARAMETERS, data, _ROUNDS)
        asked = np.flatnonzero(fold[: len(known)] == out)
        chance = np.clip(np.asarray(made.predict(known[asked])), _LEAST, _MOST)
        ratio[asked] = chance / (1.0 - chance) * len(known) / len(rows)
    return ratio


def _matrix(rows: Labelled) -> F64:
    """Categories by their codes."""
    codes = rows.features.categories.codes.astype(np.float64)
    return np.concatenate([rows.features.numeric, codes], axis=1)

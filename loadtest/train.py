"""Training a linear model: the compiled descent against River's ``learn_one``, row by row.

``learn_many`` is no peer: it makes one step per batch, which is another model. River gets dicts
that were made beforehand, and numbers only, which spares it the one-hot encoder.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
from river import linear_model, optim, preprocessing

from driftloop.kernel.codec.blocks import F64, Categories, Features
from driftloop.kernel.declaration import Task
from driftloop.models import registry
from driftloop.models.ports import BINARY, REGRESSION, Target
from loadtest.measure import interleaved, plain, ratio, setting

_ROWS = 5_000
_NUMERIC = 20
_REPEATS = 20
"""Trainings per round of the compiled side: one is too short to be timed."""
_RATE = 0.02
_PARAMETERS = {"learning_rate": _RATE, "power": 0.0, "epochs": 1, "average": 0}
_LARGEST_DIFFERENCE = 1e-12


def run() -> dict[str, Any]:
    """Weights are compared before anything is timed."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(_ROWS, _NUMERIC)) * 3 + 1
    signal = x @ rng.normal(size=_NUMERIC) + rng.normal(size=_ROWS)
    binary = (signal > signal.mean()).astype(np.float64)
    difference = max(_difference(x, binary, BINARY), _difference(x, signal, REGRESSION))
    if difference > _LARGEST_DIFFERENCE:
        raise AssertionError(f"the weights differ by {difference:g}")
    sys.stderr.write(f"weights differ by {difference:.1e}; timing\n")
    rows = _dicts(x)
    labels = [bool(label) for label in binary]
    features = _features(x)
    trainer = registry.trainer("river_logistic")

    def by_river() -> None:
        model = _pipeline(BINARY)
        for row, label in zip(rows, labels, strict=True):
            model.learn_one(row, label)

    def compiled() -> None:
        for _ in range(_REPEATS):
            trainer.train(features, binary, _PARAMETERS, 0)

    seconds = interleaved({"river": by_river, "compiled": compiled})
    each = {
        "river": [s / _ROWS for s in seconds["river"]],
        "compiled": [s / _ROWS / _REPEATS for s in seconds["compiled"]],
    }
    return {
        "name": "train",
        "rows": _ROWS,
        "features": _NUMERIC,
        **plain(linear=ratio(each["river"], each["compiled"])),
        "max_weight_difference": difference,
        "us_per_row": {name: statistics.median(s) * 1e6 for name, s in each.items()},
        "setting": setting("river", "numpy", "numba"),
    }


def _pipeline(target: Target) -> Any:
    optimizer = optim.SGD(_RATE)
    if target.task is Task.REGRESSION:
        return preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer)
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer)


def _difference(x: F64, labels: F64, target: Target) -> float:
    """The largest of a weight, or of the intercept."""
    model = _pipeline(target)
    for row, label in zip(_dicts(x), labels.tolist(), strict=True):
        model.learn_one(row, label if target is REGRESSION else bool(label))
    last = list(model.steps.values())[-1]
    arrays = (
        registry.trainer("river_logistic")
        .train(_features(x), labels, _PARAMETERS, 0, target)
        .arrays
    )
    expected = np.array([last.weights[f"n{i}"] for i in range(_NUMERIC)])
    return max(
        float(np.abs(arrays["weights"] - expected).max()),
        abs(float(arrays["bias"][0]) - last.intercept),
    )


def _dicts(x: F64) -> list[dict[str, float]]:
    names = [f"n{i}" for i in range(_NUMERIC)]
    return [dict(zip(names, row, strict=True)) for row in x.tolist()]


def _features(x: F64) -> Features:
    return Features(x, Categories(np.zeros((len(x), 0), dtype=np.int32), ()))

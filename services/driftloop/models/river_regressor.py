"""Freezes River's ``HoeffdingTreeRegressor``, ``HoeffdingAdaptiveTreeRegressor`` and
``ARFRegressor`` into the family ``hoeffding_regressor``.

They must have been trained on rows of ``models.river_rows``. A leaf's model must be a
``LinearRegression``, alone or after ``SelectType(float)`` and a ``StandardScaler``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.errors import TrainingError
from driftloop.models import hoeffding_regressor
from driftloop.models.encoding import Encoding
from driftloop.models.ports import TrainedModel
from driftloop.models.river_rows import column_of, numeric_name
from driftloop.models.river_structure import freeze_trees


def freeze_regressor(model: Any, encoding: Encoding, numeric: int) -> TrainedModel:
    """Raises ``TrainingError``."""
    # Here, not above: a process that only scores does not load River.
    from river import forest

    members, median = [model], False
    weights = [1.0]
    if isinstance(model, forest.ARFRegressor):
        members, median = list(model), model.aggregation_method == "median"
        weights = _votes(model)
    if not members:
        raise TrainingError("a forest without trees cannot be frozen")
    leaves = _Leaves(numeric)
    roots = [member._root for member in members]
    arrays = freeze_trees(roots, encoding, weights, leaves.take)
    return TrainedModel(
        hoeffding_regressor.FAMILY,
        {**arrays, **leaves.arrays()},
        {
            "vocabularies": [list(vocabulary) for vocabulary in encoding.vocabularies],
            "numeric": numeric,
            "median": median,
        },
    )


def _votes(model: Any) -> list[float]:
    """What each member's answer counts in the mean."""
    count = len(model)
    if model.disable_weighted_vote or model.aggregation_method == "median":
        return [1.0 / count] * count
    errors = np.array([metric.get() for metric in model._metrics], dtype=np.float64)
    total = float(errors.sum())
    if total == 0.0:
        return [1.0 / count] * count
    shares = total - errors
    if not shares.sum() > 0.0:
        raise TrainingError("one tree's error is all there is: its weight is not defined")
    votes: list[float] = (shares / shares.sum() / count).tolist()
    return votes


class _Leaves:
    """Collects leaves."""

    def __init__(self, numeric: int) -> None:
        self._numeric = numeric
        self._value: list[float] = []
        self._model: list[int] = []
        self._models: list[tuple[F64, F64, F64, float]] = []

    def take(self, leaf: Any) -> int:
        from river.tree.nodes.htr_nodes import LeafAdaptive, LeafModel

        self._value.append(0.0 if leaf is None else float(leaf.stats.mean.get()))
        linear = isinstance(leaf, LeafModel)
        if isinstance(leaf, LeafAdaptive):
            linear = not leaf._fmse_mean < leaf._fmse_model
        self._model.append(len(self._models) if linear else -1)
        if linear:
            self._models.append(self._linear(leaf._leaf_model))
        return len(self._model) - 1

    def _linear(self, model: Any) -> tuple[F64, F64, F64, float]:
        """Mean, scale and weights of the features, and the intercept."""
        from river import compose, linear_model, preprocessing

        steps = list(model.steps.values()) if isinstance(model, compose.Pipeline) else [model]
        mean, scale = np.zeros(self._numeric), np.ones(self._numeric)
        for step in steps[:-1]:
            if isinstance(step, preprocessing.StandardScaler) and step.window_size is None:
                names = [numeric_name(i) for i in range(self._numeric)]
                mean = np.array([step.means.get(name, 0.0) for name in names])
                if step.with_std:
                    scale = np.array([math.sqrt(step.vars.get(name, 0.0)) for name in names])
            elif not (isinstance(step, compose.SelectType) and step.types == (float,)):
                raise TrainingError(f"a leaf's {type(step).__name__} cannot be frozen")
        if not isinstance(steps[-1], linear_model.LinearRegression):
            raise TrainingError(f"a leaf's {type(steps[-1]).__name__} cannot be frozen")
        weights = np.zeros(self._numeric)
        for name, weight in steps[-1].weights.items():
            nominal, column = column_of(name)
            if nominal:
                raise TrainingError("a leaf's model that takes categories cannot be frozen")
            weights[column] = weight
        return mean, scale, weights, float(steps[-1].intercept)

    def arrays(self) -> dict[str, Any]:
        rows = [np.concatenate([m[i] for m in self._models] or [np.zeros(0)]) for i in range(3)]
        return {
            "value": np.array(self._value, dtype=np.float64),
            "model": np.array(self._model, dtype=np.int32),
            "mean": rows[0],
            "scale": rows[1],
            "slope": rows[2],
            "bias": np.array([m[3] for m in self._models], dtype=np.float64),
        }

"""Trainers ``hoeffding_tree``, ``adaptive_tree`` and ``adaptive_forest``: River's own trees,
learnt row after row by River itself and frozen.

Only the training worker loads River, and only for these. With the same seed the same rows give the
same tree: rows go in one order, and columns and categories are named so that no set of strings is
gone through (``models.river_rows``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.models.encoding import Encoding
from driftloop.models.parameters import resolve
from driftloop.models.ports import BINARY, Target, TrainedModel
from driftloop.models.river_classifier import freeze_classifier
from driftloop.models.river_regressor import freeze_regressor
from driftloop.models.river_rows import nominal_names, river_rows

TREE, ADAPTIVE_TREE, ADAPTIVE_FOREST = "hoeffding_tree", "adaptive_tree", "adaptive_forest"
_CLASS_LEAVES = ("mc", "nb", "nba")
_VALUE_LEAVES = ("mean", "model", "adaptive")
_ANY_DEPTH = 60
"""Deeper trees are not worth their time; and each level of a multi-way branch costs several."""

Maker = Callable[[Mapping[str, float], Mapping[str, Any], int, bool], Any]
"""A River model from parameters, settings that all of them take, seed, whether it classifies."""


@dataclass(frozen=True, slots=True)
class RiverTrees:
    """One of the trainers; see the module."""

    name: str
    make: Maker

    def train(
        self,
        features: Features,
        labels: F64,
        parameters: Mapping[str, float],
        seed: int,
        target: Target = BINARY,
    ) -> TrainedModel:
        """Raises ``TrainingError``."""
        encoding = Encoding.fit(features.categories)
        model = fit(self, features, labels, parameters, seed, target, encoding)
        numeric = features.numeric.shape[1]
        if target.task is Task.REGRESSION:
            return freeze_regressor(model, encoding, numeric)
        return freeze_classifier(model, encoding, numeric, target)


def fit(
    trainer: RiverTrees,
    features: Features,
    labels: F64,
    parameters: Mapping[str, float],
    seed: int,
    target: Target,
    encoding: Encoding,
) -> Any:
    """River's own model."""
    if not len(labels):
        raise TrainingError(f"{trainer.name}: no rows to learn from")
    chosen = resolve(trainer.name, parameters)
    classifies = target.task is not Task.REGRESSION
    answers: list[Any] = (target.class_of(labels) if classifies else labels).tolist()
    shared = {
        "grace_period": int(chosen["grace_period"]),
        "delta": chosen["delta"],
        "tau": chosen["tau"],
        "max_depth": int(chosen["depth"]) or _ANY_DEPTH,
        "binary_split": chosen["binary_split"] > 0.5,
        "leaf_prediction": (_CLASS_LEAVES if classifies else _VALUE_LEAVES)[int(chosen["leaf"])],
        "nominal_attributes": nominal_names(encoding),
    }
    if not classifies:
        shared["leaf_model"] = _leaf_model()
    model = trainer.make(chosen, shared, seed, classifies)
    try:
        with np.errstate(all="ignore"):
            for row, answer in zip(river_rows(features, encoding), answers, strict=True):
                model.learn_one(row, answer)
    except (ArithmeticError, ValueError) as error:
        # River's trees raise where a number is too large to be squared.
        raise TrainingError(
            f"{trainer.name}: {type(error).__name__}: {error}; narrow the limits of the features"
        ) from error
    return model


def _leaf_model() -> Any:
    """What a leaf fits: standardised, so that it does not diverge; numbers only."""
    from river import compose, linear_model, preprocessing

    return (
        compose.SelectType(float) | preprocessing.StandardScaler() | linear_model.LinearRegression()
    )


def _tree(
    chosen: Mapping[str, float], shared: Mapping[str, Any], seed: int, classifies: bool
) -> Any:
    from river import tree

    kind = tree.HoeffdingTreeClassifier if classifies else tree.HoeffdingTreeRegressor
    return kind(**shared)


def _adaptive_tree(
    chosen: Mapping[str, float], shared: Mapping[str, Any], seed: int, classifies: bool
) -> Any:
    from river import tree

    kind = (
        tree.HoeffdingAdaptiveTreeClassifier if classifies else tree.HoeffdingAdaptiveTreeRegressor
    )
    return kind(**shared, drift_window_threshold=int(chosen["drift_window"]), seed=seed)


def _adaptive_forest(
    chosen: Mapping[str, float], shared: Mapping[str, Any], seed: int, classifies: bool
) -> Any:
    from river import forest

    kind = forest.ARFClassifier if classifies else forest.ARFRegressor
    return kind(
        **shared,
        n_models=int(chosen["trees"]),
        lambda_value=int(chosen["resampling"]),
        max_features=int(chosen["features"]) or "sqrt",
        seed=seed,
    )


TRAINERS = (
    RiverTrees(TREE, _tree),
    RiverTrees(ADAPTIVE_TREE, _adaptive_tree),
    RiverTrees(ADAPTIVE_FOREST, _adaptive_forest),
)

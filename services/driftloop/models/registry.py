"""The closed registries: what a recipe or an artifact may name. Nothing is imported by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.errors import ArtifactError, TrainingError
from driftloop.models import (
    boosting,
    constant,
    hoeffding_classifier,
    hoeffding_regressor,
    linear,
    river_trees,
    sgd,
    trees,
)
from driftloop.models.parameters import (
    TRAINER_PARAMETERS,
    Parameter,
    check_parameters,
    resolve,
)
from driftloop.models.ports import FrozenModel, TrainedModel, Trainer

__all__ = [
    "FAMILIES",
    "TRAINERS",
    "TRAINER_PARAMETERS",
    "Parameter",
    "check_parameters",
    "freeze",
    "load",
    "resolve",
    "trainer",
    "warm_up",
]

Loader = Callable[[Mapping[str, npt.NDArray[Any]], Mapping[str, Any]], FrozenModel]

TRAINERS: Mapping[str, Trainer] = MappingProxyType(
    {
        constant.NAME: constant.ConstantTrainer(),
        boosting.NAME: boosting.LightGbm(),
        sgd.NAME: sgd.RiverLogistic(),
        **{trainer.name: trainer for trainer in river_trees.TRAINERS},
    }
)
FAMILIES: Mapping[str, Loader] = MappingProxyType(
    {
        constant.FAMILY: constant.load,
        hoeffding_classifier.FAMILY: hoeffding_classifier.load,
        hoeffding_regressor.FAMILY: hoeffding_regressor.load,
        linear.FAMILY: linear.load,
        trees.FAMILY: trees.load,
    }
)


def trainer(name: str) -> Trainer:
    """Raises ``TrainingError`` for a name that is not registered."""
    found = TRAINERS.get(name)
    if found is None:
        raise TrainingError(f"unknown trainer {name!r}; known are {', '.join(sorted(TRAINERS))}")
    return found


def load(
    family: str, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]
) -> FrozenModel:
    """A scorer from what an artifact holds, all of it checked: whatever an artifact says, scoring
    ends, and reads nothing outside the arrays. Raises ``ArtifactError``."""
    loader = FAMILIES.get(family)
    if loader is None:
        raise ArtifactError(
            f"unknown model family {family!r:.100}; known are {', '.join(sorted(FAMILIES))}: "
            "the artifact was made by another version of driftloop, or is hostile"
        )
    return loader(arrays, attributes)


def freeze(model: TrainedModel) -> FrozenModel:
    """What a trained model will be when its artifact is loaded. Raises ``ArtifactError``."""
    return load(model.family, model.arrays, model.attributes)


def warm_up() -> None:
    """Compiles the scoring kernels of all families, or reads them from the cache on disk."""
    features = Features(
        np.zeros((1, 1)), Categories(np.zeros((1, 1), dtype=np.int32), (("warm",),))
    )
    named: dict[str, Any] = {"vocabularies": [["warm"]], "numeric": 1}
    one, none = np.ones(1), np.zeros(0)
    weights = ("mean", "scale", "weights", "level_weights", "bias")
    linked: dict[str, Any] = {"link": "logistic", "classes": 1}
    linear_attributes: dict[str, Any] = {"vocabularies": [["warm"]], **linked}
    load(linear.FAMILY, dict.fromkeys(weights, one), linear_attributes).score(features)

    integer = np.zeros(1, dtype=np.int32)
    byte = np.zeros(1, dtype=np.uint8)
    tree: dict[str, npt.NDArray[Any]] = {
        "roots": integer,
        "feature": integer,
        "threshold": one,
        "left": integer - 1,
        "right": integer - 1,
        "default_left": byte,
        "missing_type": byte,
        "bitset": integer - 1,
        "bitset_bounds": integer,
        "bitset_words": np.zeros(0, dtype=np.uint32),
    }
    load(trees.FAMILY, {**tree, "leaf": one}, {**named, **linked, "sigmoid": 1.0}).score(features)
    forest: dict[str, npt.NDArray[Any]] = {
        **tree,
        "weights": one,
        "also": np.zeros(0, dtype=np.int32),
        "also_bounds": np.zeros(2, dtype=np.int32),
    }
    leaves: dict[str, npt.NDArray[Any]] = {
        "base": np.array([0.5, 0.5]),
        "bayes": integer,
        "error": np.zeros(1),
        "observers": np.zeros(2, dtype=np.int32),
        "observed": np.zeros(0, dtype=np.int32),
        "nominal": np.zeros(0, dtype=np.int32),
        "mean": none,
        "spread": none,
        "offset": none,
        "level_bounds": integer,
        "levels": np.zeros(0, dtype=np.int32),
        "level_logs": none,
    }
    settings = {"classes": 2, "binary": True, "normalise": False}
    load(hoeffding_classifier.FAMILY, {**forest, **leaves}, {**named, **settings}).score(features)
    values: dict[str, npt.NDArray[Any]] = {
        "value": one,
        "model": integer - 1,
        "mean": none,
        "scale": none,
        "slope": none,
    }
    load(hoeffding_regressor.FAMILY, {**forest, **values}, {**named, "median": True}).score(
        features
    )

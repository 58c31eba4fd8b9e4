"""The closed registries: what a recipe or an artifact may name. Nothing is imported by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.errors import ArtifactError, TrainingError
from driftloop.models import boosting, constant, linear, sgd, trees
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
    }
)
FAMILIES: Mapping[str, Loader] = MappingProxyType(
    {constant.FAMILY: constant.load, linear.FAMILY: linear.load, trees.FAMILY: trees.load}
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
    vocabularies = {"vocabularies": [["warm"]]}
    one = np.ones(1)
    weights = ("mean", "scale", "weights", "level_weights", "bias")
    load(linear.FAMILY, dict.fromkeys(weights, one), vocabularies).score(features)
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
        "leaf": one,
    }
    load(trees.FAMILY, tree, {**vocabularies, "numeric": 1, "sigmoid": 1.0}).score(features)

"""The constant model: what version 0 answers before anything was trained.

Array: ``prior``, shape (C,). Attribute: ``task``, which a binary model leaves out; binary and
multiclass priors are in [0, 1]. Takes rows of any features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import ArtifactError, TrainingError
from driftloop.models import checks
from driftloop.models.parameters import resolve
from driftloop.models.ports import BINARY, Target, TrainedModel

FAMILY = "constant"
NAME = "constant"


@dataclass(frozen=True, slots=True)
class ConstantModel:
    """The same scores for every row."""

    prior: float | tuple[float, ...]
    """One score, or one of each class."""

    def score(self, features: Features) -> F64:
        """Shape (n, C)."""
        scores = np.empty((len(features.numeric), np.size(self.prior)), dtype=np.float64)
        scores[:] = self.prior
        return scores


def trained(prior: npt.ArrayLike, task: Task = Task.BINARY) -> TrainedModel:
    """Version 0 of a declared prior."""
    array = np.array(prior, dtype=np.float64).reshape(-1)
    return TrainedModel(
        FAMILY, {"prior": array}, {} if task is Task.BINARY else {"task": task.value}
    )


def load(arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> ConstantModel:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ("prior",))
    task = Task.BINARY
    if attributes:
        checks.names("attributes", attributes, ("task",))
        task = Task(checks.choice(attributes, "task", [task.value for task in Task]))
    single = task is not Task.MULTICLASS
    prior = checks.array(arrays, "prior", np.float64, 1 if single else -1)
    if not 1 <= len(prior) <= checks.MAX_CLASSES:
        raise ArtifactError(f"array 'prior' has {len(prior)} classes")
    if task is not Task.REGRESSION and not ((prior >= 0.0) & (prior <= 1.0)).all():
        raise ArtifactError(f"array 'prior' must be in [0, 1], found {prior.tolist()!r:.100}")
    return ConstantModel(float(prior[0]) if single else tuple(prior.tolist()))


class ConstantTrainer:
    """The mean label (of classes, their shares), or the parameter ``prior``: a baseline among
    candidates."""

    def train(
        self,
        features: Features,
        labels: F64,
        parameters: Mapping[str, float],
        seed: int,
        target: Target = BINARY,
    ) -> TrainedModel:
        """Raises ``TrainingError``."""
        prior = resolve(NAME, parameters)["prior"]
        if prior >= 0.0 and target.task is Task.BINARY:
            return trained(prior)
        if not len(labels):
            raise TrainingError("constant: no rows to take the mean label of; declare a prior")
        if target.task is Task.MULTICLASS:
            counts = np.bincount(target.class_of(labels), minlength=target.classes)
            return trained(counts / len(labels), target.task)
        return trained(float(np.mean(labels)), target.task)

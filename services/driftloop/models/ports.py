"""What the services need of models: frozen scorers, trainers, and a place for artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I64, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.statistics.criterion import Criterion

Arrays = Mapping[str, npt.NDArray[Any]]
Attributes = Mapping[str, Any]
"""JSON values only: null, booleans, finite numbers, strings, lists and objects."""


class FrozenModel(Protocol):
    """Arrays and a pure function of them; never code from an artifact."""

    def score(self, features: Features) -> F64:
        """Scores, shape (n, C): binary, C = 1, the probability of class 1; multiclass, the
        probabilities of C classes; regression, C = 1, the value. A row's scores do not depend on
        the rows it comes with. Raises ``ArtifactError`` for rows of other columns."""
        ...


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a trainer makes and an artifact holds; ``models.registry.load`` makes it score."""

    family: str
    arrays: Mapping[str, npt.NDArray[Any]]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What is learnt: labels are 0 or 1 (binary), 0 to classes - 1, or any number (regression)."""

    task: Task
    classes: int = 2
    """Of a multiclass task; binary has 2, and a regression none."""

    @classmethod
    def of(cls, criterion: Criterion) -> Target:
        return cls(criterion.task, criterion.label_classes)

    @property
    def scores(self) -> int:
        """Length of a score vector."""
        return self.classes if self.task is Task.MULTICLASS else 1

    def class_of(self, labels: F64) -> I64:
        """The class of each label. Raises ``TrainingError`` for labels of no class."""
        if len(labels) and not (np.isin(labels, np.arange(self.classes))).all():
            raise TrainingError(
                f"labels of a {self.task} task are 0 to {self.classes - 1}; these rows have others"
            )
        return labels.astype(np.int64)


BINARY = Target(Task.BINARY)
REGRESSION = Target(Task.REGRESSION, 0)


class Trainer(Protocol):
    """Makes a model from rows. Deterministic: the same arguments give the same bytes."""

    def train(
        self,
        features: Features,
        labels: F64,
        parameters: Mapping[str, float],
        seed: int,
        target: Target = BINARY,
    ) -> TrainedModel:
        """``labels`` has shape (n,); rows are in order of outcome time. Parameters that are absent
        take their defaults. Raises ``TrainingError``."""
        ...


class ArtifactStore(Protocol):
    """Where artifacts lie: a directory, or an object store (keys are relative paths, values are
    whole files, nothing is changed in place)."""

    def put(
        self, model: str, version: str, family: str, arrays: Arrays, attributes: Attributes
    ) -> tuple[str, str]:
        """Keeps an artifact and gives its path below the store's root and its digest.

        ``version`` names a version or a run. The same content gives the same digest and path, and
        may be put again. Raises ``ArtifactError``.
        """
        ...

    def get(
        self, path: str, digest: str
    ) -> tuple[str, dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Family, arrays and attributes, once every byte has been checked against ``digest``.
        Raises ``ArtifactError``: missing, corrupt, of another digest, too large."""
        ...


def native(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A writable C-contiguous array: kernels are compiled once, for this layout only."""
    if isinstance(values, np.ndarray) and values.flags.carray and values.dtype == dtype:
        return values
    return np.require(values, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])

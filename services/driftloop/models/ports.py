"""What the services need of models: frozen scorers, trainers, and a place for artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, Features

Arrays = Mapping[str, npt.NDArray[Any]]
Attributes = Mapping[str, Any]
"""JSON values only: null, booleans, finite numbers, strings, lists and objects."""


class FrozenModel(Protocol):
    """Arrays and a pure function of them; never code from an artifact."""

    def score(self, features: Features) -> F64:
        """Scores, shape (n, C): binary, C = 1, the probability of class 1."""
        ...


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a trainer makes and an artifact holds; ``models.registry.load`` makes it score."""

    family: str
    arrays: Mapping[str, npt.NDArray[Any]]
    attributes: Mapping[str, Any]


class Trainer(Protocol):
    """Makes a model from rows. Deterministic: the same arguments give the same bytes."""

    def train(
        self, features: Features, labels: F64, parameters: Mapping[str, float], seed: int
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
    return np.require(values, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])

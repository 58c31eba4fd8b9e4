"""The constant model: what version 0 answers before anything was trained.

Array: ``prior``, shape (1,), in [0, 1]. No attributes; takes rows of any features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.errors import ArtifactError, TrainingError
from driftloop.models import checks
from driftloop.models.parameters import resolve
from driftloop.models.ports import TrainedModel

FAMILY = "constant"
NAME = "constant"


@dataclass(frozen=True, slots=True)
class ConstantModel:
    """The same probability for every row."""

    prior: float

    def score(self, features: Features) -> F64:
        """Shape (n, 1)."""
        return np.full((len(features.numeric), 1), self.prior, dtype=np.float64)


def trained(prior: float) -> TrainedModel:
    """Version 0 of a declared prior."""
    return TrainedModel(FAMILY, {"prior": np.array([prior], dtype=np.float64)}, {})


def load(arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> ConstantModel:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ("prior",))
    checks.names("attributes", attributes, ())
    prior = float(checks.array(arrays, "prior", np.float64, 1)[0])
    if not 0.0 <= prior <= 1.0:
        raise ArtifactError(f"array 'prior' must be in [0, 1], found {prior}")
    return ConstantModel(prior)


class ConstantTrainer:
    """The mean label, or the parameter ``prior``: a baseline among candidates."""

    def train(
        self, features: Features, labels: F64, parameters: Mapping[str, float], seed: int
    ) -> TrainedModel:
        """Raises ``TrainingError``."""
        prior = resolve(NAME, parameters)["prior"]
        if prior < 0.0:
            if not len(labels):
                raise TrainingError("constant: no rows to take the mean label of; declare a prior")
            prior = float(np.mean(labels))
        return trained(prior)

"""Frozen logistic regression over standardised numbers and one-hot categories.

Arrays: ``mean``, ``scale`` (standard deviation; 0 where the training rows had no variance) and
``weights``, shape (F,); ``level_weights``, the columns' one-hot weights end to end, shape (sum of
the vocabulary sizes,); ``bias``, shape (1,). Attribute: ``vocabularies``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, I64, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks
from driftloop.models.encoding import MAX_LEVELS, Encoding
from driftloop.models.ports import TrainedModel, native

FAMILY = "linear"
ARRAYS = ("mean", "scale", "weights", "level_weights", "bias")
_TERM_LIMIT = 1e12
"""Of one feature's contribution to the logit: keeps the sum of absurd values finite."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def linear_scores(
    numeric: F64, codes: I32, mean: F64, slope: F64, level_weights: F64, starts: I64, bias: float
) -> F64:
    """Probabilities, shape (n, 1). Missing numbers and codes of -1 contribute nothing."""
    rows, columns = numeric.shape
    out = np.empty((rows, 1), dtype=np.float64)
    for row in range(rows):
        logit = bias
        for column in range(columns):
            value = numeric[row, column]
            if slope[column] != 0.0 and not math.isnan(value):
                term = (value - mean[column]) * slope[column]
                logit += min(max(term, -_TERM_LIMIT), _TERM_LIMIT)
        for column in range(codes.shape[1]):
            code = codes[row, column]
            if code >= 0:
                logit += level_weights[starts[column] + code]
        out[row, 0] = 1.0 / (1.0 + math.exp(-logit))
    return out


@dataclass(frozen=True, slots=True)
class LinearModel:
    """See the module; a row's score does not depend on the batch it comes in."""

    encoding: Encoding
    mean: F64
    slope: F64
    """Weight over scale; 0 where the scale is 0."""
    level_weights: F64
    starts: I64
    bias: float

    def score(self, features: Features) -> F64:
        """Shape (n, 1)."""
        checks.shape(features, len(self.mean), len(self.encoding.vocabularies))
        scores: F64 = linear_scores(
            native(features.numeric, np.float64),
            self.encoding.encode(features.categories),
            self.mean,
            self.slope,
            self.level_weights,
            self.starts,
            self.bias,
        )
        return scores


def trained(
    mean: F64, scale: F64, weights: F64, level_weights: F64, bias: float, encoding: Encoding
) -> TrainedModel:
    """The arrays and attributes of this family."""
    return TrainedModel(
        FAMILY,
        {
            "mean": mean,
            "scale": scale,
            "weights": weights,
            "level_weights": level_weights,
            "bias": np.array([bias], dtype=np.float64),
        },
        {"vocabularies": [list(vocabulary) for vocabulary in encoding.vocabularies]},
    )


def load(arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> LinearModel:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ARRAYS)
    checks.names("attributes", attributes, ("vocabularies",))
    encoding = Encoding(checks.vocabularies(attributes, MAX_LEVELS))
    mean = checks.array(arrays, "mean", np.float64)
    scale = checks.array(arrays, "scale", np.float64, len(mean))
    weights = checks.array(arrays, "weights", np.float64, len(mean))
    level_weights = checks.array(arrays, "level_weights", np.float64, sum(encoding.sizes()))
    bias = checks.array(arrays, "bias", np.float64, 1)
    if (scale < 0.0).any():
        raise ArtifactError("array 'scale' holds negative standard deviations")
    largest = float(np.abs(level_weights).max(initial=0.0))
    if largest > _TERM_LIMIT or abs(float(bias[0])) > _TERM_LIMIT:
        raise ArtifactError(f"a weight or the bias is larger than {_TERM_LIMIT:g}")
    with np.errstate(over="ignore"):
        slope = np.divide(weights, scale, out=np.zeros_like(weights), where=scale > 0.0)
    if not np.isfinite(slope).all():
        raise ArtifactError("a weight over its scale is not finite")
    starts = np.concatenate(([0], np.cumsum(encoding.sizes()))).astype(np.int64)
    return LinearModel(encoding, mean, slope, level_weights, starts, float(bias[0]))

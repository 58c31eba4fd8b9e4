"""Frozen linear models over standardised numbers and one-hot categories: logistic regression,
multinomial (softmax) and linear regression.

Arrays: ``mean`` and ``scale`` (standard deviation; 0 where the training rows had no variance),
shape (F,); ``weights``, one row of F after another for C classes; ``level_weights``, per class the
columns' one-hot weights end to end (the sum of the vocabulary sizes); ``bias``, shape (C,).
Attributes: ``vocabularies``; ``link`` (``logistic``, ``softmax``, ``identity``); ``classes``, C, 1
unless the link is softmax.
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
from driftloop.models.inputs import inputs
from driftloop.models.link_kernels import LINKS, LOGISTIC, SOFTMAX, apply_link
from driftloop.models.ports import TrainedModel

FAMILY = "linear"
ARRAYS = ("mean", "scale", "weights", "level_weights", "bias")
_WEIGHT_LIMIT = 1e100
_TERM_LIMIT = 1e200
"""Of one feature's contribution, where the sum of absurd values would be no number."""


# The order of the sum is the compiler's: it is the same for every row, whatever its batch. Only in
# a function that calls no other: numba compiles callees by their caller's rules.
@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})  # type: ignore[untyped-decorator]
def _numeric_sums(numeric: F64, mean: F64, slope: F64, sums: F64) -> None:
    """Of one class, shape (n,)."""
    rows, columns = numeric.shape
    for row in range(rows):
        total = 0.0
        for column in range(columns):
            term = (numeric[row, column] - mean[column]) * slope[column]
            # Not itself: missing, or infinite where the slope is 0.
            total += term if term == term else 0.0
        sums[row] = total


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def linear_scores(numeric: F64, codes: I32, starts: I64, parameters: F64, link: int) -> F64:
    """Shape (n, C). Missing numbers and codes below 0 contribute nothing.

    ``parameters``, shape (C + 1, F + 1 + levels): a row of means, then per class the slopes, the
    bias and the level weights.
    """
    rows, columns = numeric.shape
    classes = len(parameters) - 1
    mean = parameters[0]
    out = np.empty((rows, classes), dtype=np.float64)
    sums = out.reshape(rows) if classes == 1 else np.empty(rows, dtype=np.float64)
    for c in range(classes):
        slope = parameters[c + 1]
        _numeric_sums(numeric, mean, slope, sums)
        bias = slope[columns]
        unbounded = 0
        for row in range(rows):
            unbounded += 0 if abs(sums[row]) < math.inf else 1
        if unbounded > 0:
            for row in range(rows):
                if not abs(sums[row]) < math.inf and (link != LOGISTIC or math.isnan(sums[row])):
                    sums[row] = _bounded(numeric[row], mean, slope)
        for column in range(codes.shape[1]):
            for row in range(rows):
                code = codes[row, column]
                if code >= 0:
                    sums[row] += slope[starts[column] + code]
        for row in range(rows):
            sums[row] += bias
        if classes > 1:
            out[:, c] = sums
    apply_link(out, link, 1.0)
    return out


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _bounded(numeric: F64, mean: F64, slope: F64) -> float:
    """The sum of terms some of which are so large that it would be infinite or no number."""
    total = 0.0
    for column in range(len(numeric)):
        term = (numeric[column] - mean[column]) * slope[column]
        if not math.isnan(term):
            total += min(max(term, -_TERM_LIMIT), _TERM_LIMIT)
    return total


@dataclass(frozen=True, slots=True)
class LinearModel:
    """See the module; a row's score does not depend on the batch it comes in."""

    encoding: Encoding
    numeric: int
    starts: I64
    """Where each column's level weights start in a row of ``parameters``."""
    parameters: F64
    """See ``linear_scores``."""
    link: int

    def score(self, features: Features) -> F64:
        """Shape (n, C)."""
        scores: F64 = linear_scores(
            *inputs(features, self.numeric, self.encoding), self.starts, self.parameters, self.link
        )
        return scores


def trained(
    mean: F64,
    scale: F64,
    weights: F64,
    level_weights: F64,
    bias: npt.ArrayLike,
    encoding: Encoding,
    link: str = "logistic",
) -> TrainedModel:
    """The arrays and attributes of this family; weights of shape (F,) or (C, F)."""
    biases = np.array(bias, dtype=np.float64).reshape(-1)
    return TrainedModel(
        FAMILY,
        {
            "mean": mean,
            "scale": scale,
            "weights": weights.reshape(-1),
            "level_weights": level_weights.reshape(-1),
            "bias": biases,
        },
        {
            "vocabularies": [list(vocabulary) for vocabulary in encoding.vocabularies],
            "link": link,
            "classes": len(biases),
        },
    )


def load(arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> LinearModel:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ARRAYS)
    checks.names("attributes", attributes, ("vocabularies", "link", "classes"))
    encoding = Encoding(checks.vocabularies(attributes, MAX_LEVELS))
    link = LINKS[checks.choice(attributes, "link", LINKS)]
    classes = checks.integer(attributes, "classes", 1, checks.MAX_CLASSES)
    if (classes > 1) != (link == SOFTMAX):
        raise ArtifactError(f"{classes} classes do not go with the link {attributes['link']!r}")
    mean = checks.array(arrays, "mean", np.float64)
    columns, levels = len(mean), sum(encoding.sizes())
    scale = checks.array(arrays, "scale", np.float64, columns)
    weights = checks.array(arrays, "weights", np.float64, classes * columns)
    level_weights = checks.array(arrays, "level_weights", np.float64, classes * levels)
    bias = checks.array(arrays, "bias", np.float64, classes)
    if (scale < 0.0).any():
        raise ArtifactError("array 'scale' holds negative standard deviations")
    checks.largest("level_weights", level_weights, _WEIGHT_LIMIT)
    checks.largest("bias", bias, _WEIGHT_LIMIT)
    rows = weights.reshape(classes, columns)
    with np.errstate(over="ignore"):
        slope = np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0.0)
    if not np.isfinite(slope).all():
        raise ArtifactError("a weight over its scale is not finite")
    parameters = np.zeros((classes + 1, columns + 1 + levels))
    parameters[0, :columns] = mean
    parameters[1:] = np.hstack([slope, bias[:, None], level_weights.reshape(classes, levels)])
    starts = columns + 1 + np.concatenate(([0], np.cumsum(encoding.sizes())))
    return LinearModel(encoding, columns, starts.astype(np.int64), parameters, link)

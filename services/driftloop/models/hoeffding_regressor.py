"""Frozen Hoeffding trees that predict a number: one, an adaptive one with alternates, or a forest.

Arrays beside those of ``models.forest``, for L leaves and Q linear models of F features:

- ``value`` float64 (L,): the leaf's answer, where it has no model
- ``model`` int32 (L,): its linear model, or -1
- ``mean``, ``scale``, ``slope`` float64 (Q * F), ``bias`` float64 (Q,): the model answers bias plus
  the sum of slope * (x - mean) / scale over what is not missing; a scale of 0 takes a feature out

Attributes: ``vocabularies``; ``numeric``, F; ``median``: the members' median is the score, not the
sum of their answers times their weights.

The rules are River's (``tree.HoeffdingTreeRegressor``, ``tree.HoeffdingAdaptiveTreeRegressor``,
``forest.ARFRegressor``): Ikonomovska, Gama, Dzeroski, Data Mining and Knowledge Discovery 23, 2011;
Gomes et al., ESANN 2018. A leaf answers at most 1e305, so that scores are finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I32, I64, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks, forest
from driftloop.models.encoding import MAX_LEVELS, Encoding
from driftloop.models.inputs import inputs
from driftloop.models.regressor_kernels import regressor_scores

FAMILY = "hoeffding_regressor"
ARRAYS = (*forest.ARRAYS, "value", "model", "mean", "scale", "slope", "bias")
ATTRIBUTES = ("vocabularies", "numeric", "median")
_LARGEST = 1e100


@dataclass(frozen=True, slots=True)
class HoeffdingRegressor:
    """See the module."""

    encoding: Encoding
    numeric: int
    forest: forest.Forest
    value: F64
    model: I32
    mean: F64
    """Shape (Q, F); as ``scale`` and ``slope``."""
    scale: F64
    slope: F64
    bias: F64
    median: bool

    def score(self, features: Features) -> F64:
        """Shape (n, 1)."""
        trees, walked = self.forest, self.forest.walk
        scores: F64 = regressor_scores(
            *inputs(features, self.numeric, self.encoding),
            walked.nodes,
            walked.words,
            walked.columns,
            walked.trees,
            trees.by_depth,
            walked.leaf_of,
            trees.weights,
            trees.also,
            trees.also_bounds,
            self.value,
            self.model,
            self.mean,
            self.scale,
            self.slope,
            self.bias,
            self.median,
        )
        return scores


def load(
    arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]
) -> HoeffdingRegressor:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ARRAYS)
    checks.names("attributes", attributes, ATTRIBUTES)
    encoding = Encoding(checks.vocabularies(attributes, MAX_LEVELS))
    numeric = checks.integer(attributes, "numeric", 0, checks.MAX_COLUMNS)
    median = checks.flag(attributes, "median")
    value = checks.array(arrays, "value", np.float64)
    bias = checks.array(arrays, "bias", np.float64)
    model = checks.array(arrays, "model", np.int32, len(value))
    checks.within("model", model, -1, len(bias) - 1)
    # A model looks at every number, and twice where infinities of both signs meet.
    answers: I64 = np.where(model >= 0, 1 + 2 * numeric, 1)
    trees = forest.load(arrays, numeric, len(encoding.vocabularies), answers)
    if float(trees.weights.sum()) > 1.0 + 1e-9:
        raise ArtifactError("array 'weights': a mean's weights add up to 1 at most")
    size = len(bias) * numeric
    mean, scale, slope = (
        checks.array(arrays, name, np.float64, size).reshape(len(bias), numeric)
        for name in ("mean", "scale", "slope")
    )
    if (scale < 0.0).any():
        raise ArtifactError("array 'scale' holds negative standard deviations")
    for name, values in (("value", value), ("bias", bias), ("slope", slope)):
        checks.largest(name, values, _LARGEST)
    return HoeffdingRegressor(
        encoding, numeric, trees, value, model, mean, scale, slope, bias, median
    )

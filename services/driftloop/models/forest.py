"""What frozen Hoeffding trees have in common, one or a forest, whether they classify or predict.

Arrays beside those of ``models.walk``, for M members among the T trees, L leaves:

- ``weights`` float64 (M,): of the members, which are the first trees; the others are *alternates*,
  which adaptive trees grow beside a branch
- ``also_bounds`` int32 (L + 1,), ``also`` int32: leaf i also asks the alternates
  [bounds[i], bounds[i + 1]), those of the branches on the way to it; an alternate's leaves may ask
  later ones only
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I32, I64
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks, forest_kernels, walk
from driftloop.models.bayes_kernels import MAX_FOUND

ARRAYS = (*walk.ARRAYS, "weights", "also", "also_bounds")
_MAX_WEIGHT = 1e12


@dataclass(frozen=True, slots=True)
class Forest:
    """Members and alternates, checked."""

    walk: walk.Walk
    by_depth: I64
    weights: F64
    also: I32
    also_bounds: I32


def load(
    arrays: Mapping[str, npt.NDArray[Any]], numeric: int, categorical: int, answers: I64
) -> Forest:
    """``answers``, shape (L,): how many steps of a walk each leaf's answer takes as long as. Raises
    ``ArtifactError``."""
    leaves = len(answers)
    walked = walk.load(arrays, numeric, categorical, leaves)
    trees = len(walked.trees)
    weights = checks.array(arrays, "weights", np.float64)
    if not 1 <= len(weights) <= trees:
        raise ArtifactError(f"{len(weights)} members among {trees} trees")
    if (weights < 0.0).any():
        raise ArtifactError("array 'weights' holds negative weights")
    checks.largest("weights", weights, _MAX_WEIGHT)
    also = checks.array(arrays, "also", np.int32)
    checks.within("also", also, len(weights), trees - 1)
    bounds = checks.bounds(arrays, "also_bounds", len(also), leaves)
    _check_work(walked, len(weights), also, bounds, answers)
    return Forest(walked, walked.by_depth(len(weights)), weights, also, bounds)


def _check_work(walked: walk.Walk, members: int, also: I32, bounds: I32, answers: I64) -> None:
    """No alternate asks an earlier one, no row ends in more than MAX_FOUND leaves, nor takes more
    than MAX_STEPS through all members and what they ask: few alternates that many members ask make
    a small artifact and a long time."""
    found, steps = np.zeros((2, len(walked.trees)), dtype=np.int64)
    fault = forest_kernels.reckon(
        walked.trees, members, walked.leaf_of, also, bounds, answers, found, steps
    )
    if fault == forest_kernels.ASKS_EARLIER:
        raise ArtifactError("array 'also': a tree asks an earlier one, or itself")
    if fault == forest_kernels.ASKS_TOO_MANY:
        raise ArtifactError(f"a row may end in more than {MAX_FOUND} leaves of one member")
    walk.check_steps(steps[:members])

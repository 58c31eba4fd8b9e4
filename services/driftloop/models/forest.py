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
from driftloop.models import checks, walk
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
    arrays: Mapping[str, npt.NDArray[Any]], numeric: int, categorical: int, leaves: int
) -> Forest:
    """Raises ``ArtifactError``."""
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
    if len(also):
        _check_found(walked, also, bounds)
    return Forest(walked, walked.by_depth(len(weights)), weights, also, bounds)


def _check_found(walked: walk.Walk, also: I32, bounds: I32) -> None:
    """No alternate asks an earlier one, and no row ends in more than MAX_FOUND leaves."""
    starts = np.append(walked.trees[:, 0], len(walked.leaf_of))
    found = np.ones(len(walked.trees), dtype=np.int64)
    for tree in range(len(found) - 1, -1, -1):
        ends = walked.leaf_of[starts[tree] : starts[tree + 1]]
        for leaf in ends[ends >= 0].tolist():
            asked = also[bounds[leaf] : bounds[leaf + 1]]
            if not len(asked):
                continue
            if int(asked.min()) <= tree:
                raise ArtifactError("array 'also': a tree asks an earlier one, or itself")
            if len(asked) > MAX_FOUND or int(found[asked].sum()) >= MAX_FOUND:
                raise ArtifactError(f"a row may end in more than {MAX_FOUND} leaves of one member")
            found[tree] = max(int(found[tree]), 1 + int(found[asked].sum()))

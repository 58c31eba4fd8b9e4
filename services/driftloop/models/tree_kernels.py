"""Compiled walks through tree ensembles. They read without bounds checks: ``models.trees.load``
has checked every index beforehand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]

MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
"""What a numeric node takes for missing; as LightGBM numbers them."""
ZERO = 1e-35
"""Numbers up to this size are zero (LightGBM's kZeroThreshold)."""
_ROWS = 256
"""Rows walked through one tree before the next: the tree stays in the nearest cache."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def ensemble_scores(
    numeric: F64,
    codes: I32,
    roots: I32,
    feature: I32,
    threshold: F64,
    left: I32,
    right: I32,
    default_left: U8,
    missing_type: U8,
    bitset: I32,
    bitset_bounds: I32,
    bitset_words: U32,
    leaf: F64,
    sigmoid: float,
) -> F64:
    """Probabilities, shape (n, 1): the logistic function of ``sigmoid`` times the sum of leaves.

    The sum runs over the trees in order, so a row's score does not depend on its batch.
    """
    rows = numeric.shape[0]
    out = np.zeros((rows, 1), dtype=np.float64)
    for first in range(0, rows, _ROWS):
        last = min(first + _ROWS, rows)
        for tree in range(len(roots)):
            for row in range(first, last):
                node = roots[tree]
                while node >= 0:
                    group = bitset[node]
                    if group >= 0:
                        code = codes[row, feature[node]]
                        word = bitset_bounds[group] + (code >> 5)
                        goes_left = (
                            code >= 0
                            and word < bitset_bounds[group + 1]
                            and (bitset_words[word] >> np.uint32(code & 31)) & np.uint32(1)
                            != np.uint32(0)
                        )
                    else:
                        value = numeric[row, feature[node]]
                        kind = missing_type[node]
                        missing = math.isnan(value)
                        if missing and kind != MISSING_NAN:
                            value = 0.0
                            missing = False
                        if abs(value) <= ZERO:
                            value = 0.0
                            missing = kind == MISSING_ZERO
                        goes_left = value <= threshold[node]
                        if missing:
                            goes_left = default_left[node] != 0
                    node = left[node] if goes_left else right[node]
                out[row, 0] += leaf[~node]
    for row in range(rows):
        out[row, 0] = 1.0 / (1.0 + math.exp(-sigmoid * out[row, 0]))
    return out


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def largest_depth(left: I32, right: I32) -> int:
    """Nodes on the longest path; children must have greater indices than their parents."""
    depth = np.ones(len(left), dtype=np.int64)
    largest = 0
    for node in range(len(left)):
        largest = max(largest, depth[node])
        for child in (left[node], right[node]):
            if child >= 0:
                depth[child] = max(depth[child], depth[node] + 1)
    return largest

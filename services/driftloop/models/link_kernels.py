"""Compiled link functions: from sums to scores, in place."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import F64

IDENTITY, LOGISTIC, SOFTMAX = 0, 1, 2
LINKS = {"identity": IDENTITY, "logistic": LOGISTIC, "softmax": SOFTMAX}
"""By the name that artifacts give."""
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUND = 6755399441055744.0
"""1.5 * 2^52: adding it leaves the nearest integer in the lowest bits."""
_LARGEST = 708.0
"""Beyond it the exponential is not a normal number."""
_EXPONENT = np.int64(52)


# The numpy error model: a division that may raise is not compiled to vectors.
@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _logistic(sums: F64, factor: float) -> None:
    """The exponential is a series after Cody and Waite's reduction of its argument, to within an
    ulp or two: several rows at a time, which the C library's does not do."""
    for i in range(len(sums)):
        x = -factor * sums[i]
        x = x if x > -_LARGEST else -_LARGEST
        x = x if x < _LARGEST else _LARGEST
        shifted = x * _LOG2_E + _ROUND
        whole = shifted - _ROUND
        r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        p = p * r + 1.0
        # Times 2^whole: added to the exponent.
        bits = np.float64(p).view(np.int64) + (np.float64(shifted).view(np.int64) << _EXPONENT)
        sums[i] = 1.0 / (1.0 + np.int64(bits).view(np.float64))


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def apply_link(scores: F64, link: int, factor: float) -> None:
    """``factor`` is on the sum, under the logistic function only. A row's scores do not depend on
    the others."""
    if link == LOGISTIC:
        _logistic(scores.reshape(scores.size), factor)
    elif link == SOFTMAX:
        rows, classes = scores.shape
        for row in range(rows):
            largest = scores[row, 0]
            for c in range(1, classes):
                largest = max(largest, scores[row, c])
            total = 0.0
            for c in range(classes):
                scores[row, c] = math.exp(scores[row, c] - largest)
                total += scores[row, c]
            for c in range(classes):
                scores[row, c] /= total

"""The compiled counting of rows by segment: counts of shape (segments, length), see ``layout``."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def count_values(  # type: ignore[no-untyped-def]
    values, rows, segment, edges, edge_counts, limits, starts, counts
):
    """Count ``values[rows]`` (float64, shape (n, F)) on the bins of each column.

    ``segment[i]`` is that of row i, -1: none. Column j has its bins from ``starts[j]`` on,
    ``edge_counts[j]`` + 1 of them, then missing, then outside ``limits[j]``; infinite values are
    counted nowhere.
    """
    for j in range(values.shape[1]):
        start = starts[j]
        n = edge_counts[j]
        for i in range(len(rows)):
            s = segment[i]
            if s < 0:
                continue
            x = values[rows[i], j]
            if x != x:
                counts[s, start + n + 1] += 1
            elif x - x == 0.0:
                position = 0
                for k in range(n):
                    position += edges[j, k] < x
                counts[s, start + position] += 1
                counts[s, start + n + 2] += (x < limits[j, 0]) | (x > limits[j, 1])


@njit(cache=True, nogil=True)
def count_slots(slots, segment, start, counts):  # type: ignore[no-untyped-def]
    """Count row i, where it has a segment, at ``start + slots[i]``."""
    for i in range(len(slots)):
        if segment[i] >= 0:
            counts[segment[i], start + slots[i]] += 1


def warm() -> None:
    """Compile both."""
    none = np.zeros(0, dtype=np.int64)
    numbers = np.zeros((0, 0))
    counts = np.zeros((0, 0), dtype=np.int64)
    count_values(numbers, none, none, numbers, none, numbers, none, counts)
    count_slots(none, none, 0, counts)

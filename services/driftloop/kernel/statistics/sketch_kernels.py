"""The compiled pass over numeric columns: everything a window keeps of a value, in one reading.

Log-buckets are read off a double's own bits: sign, exponent and the three highest mantissa bits, so
eight buckets per octave, a bucket at most 1/8 of its lower end wide (as HdrHistogram and DDSketch
have them, without a logarithm). Bucket k >= 0 holds values from :func:`bucket_floor` (k) up to that
of k + 1; the bucket of -x is -1 - k, so indices ascend with the values.
"""

from __future__ import annotations

import struct

import numpy as np
from numba import njit

from driftloop.kernel.statistics.exact import ADDS_PER_CARRY, add_bits, carry

BUCKET_SHIFT = 49
"""Bits of a double below sign, exponent and three mantissa bits."""

NO_KEY = 1 << 20
"""Marks a free slot of a bucket table; no bucket has this index."""

_SPREAD = 40503
"""Odd, near 2**16 divided by the golden ratio: neighbouring buckets land far apart."""

_LARGEST = float(np.finfo(np.float64).max)


@njit(cache=True, nogil=True)
def _outside(values, lowest, highest):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(len(values)):
        count += (values[i] < lowest) | (values[i] > highest)
    return count


@njit(cache=True, nogil=True)
def _column_pass(  # type: ignore[no-untyped-def]
    column, first, counts, extremes, limits, sums, squares, edges, bins, keys, tallies, used
):
    # One column at a time, so that its counters stay in registers and its tables in the L1 cache.
    finite = 0
    missing = 0
    infinite = 0
    least = np.inf
    greatest = -np.inf
    taken = used[0]
    mask = len(keys) - 1
    row = first
    while row < len(column) and 2 * taken < len(keys):
        if (row - first) % ADDS_PER_CARRY == 0:
            carry(sums)
            carry(squares)
        x = column[row]
        row += 1
        if x != x:
            missing += 1
            continue
        if x - x != 0.0:
            infinite += 1
            continue
        x += 0.0  # no negative zero: extremes must not depend on which zero came first
        finite += 1
        least = min(least, x)
        greatest = max(greatest, x)
        bits = np.float64(x).view(np.int64)
        add_bits(sums, bits)
        add_bits(squares, np.float64(min(x * x, _LARGEST)).view(np.int64))
        if len(bins) > 0:
            position = 0
            for k in range(len(edges)):  # no branch to mispredict: faster than bisection for tens
                position += edges[k] < x
            bins[position] += 1
        key = (bits & 0x7FFFFFFFFFFFFFFF) >> BUCKET_SHIFT
        if bits < 0:
            key = -1 - key
        slot = ((key * _SPREAD) >> 3) & mask
        while keys[slot] != key:
            if keys[slot] == NO_KEY:
                keys[slot] = key
                taken += 1
                break
            slot = (slot + 1) & mask
        tallies[slot] += 1
    counts[0] += finite
    counts[1] += missing
    if least < limits[0] or greatest > limits[1]:  # seldom: so most columns are not read again
        counts[2] += _outside(column[first:row], limits[0], limits[1]) - infinite
    extremes[0] = min(extremes[0], least)
    extremes[1] = max(extremes[1], greatest)
    used[0] = taken
    return row


@njit(cache=True, nogil=True)
def numeric_pass(  # type: ignore[no-untyped-def]
    values,
    rows,
    column0,
    start_column,
    start_row,
    counts,
    extremes,
    limits,
    sums,
    squares,
    edges,
    edge_counts,
    bins,
    keys,
    tallies,
    used,
):
    """Take in ``values[rows]`` (float64, shape (n, F)) as the state's columns ``column0``...

    Per column c of the state: ``counts[c]`` is (finite, missing, outside ``limits[c]``),
    ``extremes[c]`` (least, greatest; from (inf, -inf)), ``sums[c]`` and ``squares[c]`` are
    superaccumulators, ``bins[c]`` counts on the first ``edge_counts[c]`` of ``edges[c]`` (-1: no
    bins), ``keys[c]`` and ``tallies[c]`` are the bucket table with ``used[c]`` slots taken.
    Infinite values are counted nowhere; a square that overflows counts as the largest double.

    Returns (column, row) from where to go on when a bucket table is half full, after the caller
    has enlarged the tables; (F, 0) at the end.
    """
    column = np.empty(len(rows), dtype=np.float64)
    first = start_row
    for j in range(start_column, values.shape[1]):
        for i in range(first, len(rows)):
            column[i] = values[rows[i], j]
        c = column0 + j
        n = edge_counts[c]
        reached = _column_pass(
            column,
            first,
            counts[c],
            extremes[c],
            limits[c],
            sums[c],
            squares[c],
            edges[c, : max(n, 0)],
            bins[c, : n + 1],
            keys[c],
            tallies[c],
            used[c : c + 1],
        )
        if reached < len(rows):
            return j, reached
        first = 0
    return values.shape[1], 0


@njit(cache=True, nogil=True)
def insert_buckets(keys, tallies, indices, amounts):  # type: ignore[no-untyped-def]
    """Put (index, count) pairs into an empty bucket table that has room for them."""
    mask = len(keys) - 1
    for i in range(len(indices)):
        key = indices[i]
        slot = ((key * _SPREAD) >> 3) & mask
        while keys[slot] != NO_KEY:
            slot = (slot + 1) & mask
        keys[slot] = key
        tallies[slot] = amounts[i]


def bucket_floor(index: int) -> float:
    """The end of a bucket that is nearer to zero."""
    magnitude = index if index >= 0 else -1 - index
    value: float = struct.unpack("<d", struct.pack("<q", magnitude << BUCKET_SHIFT))[0]
    return value if index >= 0 else -value


def bucket_middle(index: int) -> float:
    """The middle of a bucket: no value in it is farther than 1/16 of its magnitude (for normal
    doubles)."""
    floor = bucket_floor(index)
    following = bucket_floor(index + 1 if index >= 0 else index - 1)
    return (floor + following) / 2.0 if abs(following) <= _LARGEST else floor

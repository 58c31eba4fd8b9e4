"""The compiled pass over numeric columns: everything a window keeps of a value, in one reading.

Log-buckets are read off a double's own bits: sign, exponent and the three highest mantissa bits, so
eight buckets per octave, a bucket at most 1/8 of its lower end wide (as HdrHistogram and DDSketch
have them, without a logarithm). Bucket k >= 0 holds values from :func:`bucket_floor` (k) up to that
of k + 1; the bucket of -x is -1 - k, so indices ascend with the values.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numba import njit

from driftloop.kernel.compiling import borrowed
from driftloop.kernel.statistics.exact import ADDS_PER_CARRY, add_bits, carry

BUCKET_SHIFT = 49
"""Bits of a double below sign, exponent and three mantissa bits."""

NO_KEY = 1 << 20
"""Marks a free slot of a bucket table; no bucket has this index."""

_SPREAD = 40503
"""Odd, near 2**16 divided by the golden ratio: neighbouring buckets land far apart."""

_LARGEST = float(np.finfo(np.float64).max)


_MANTISSA = 0xFFFFFFFFFFFFF
_LEADING = 1 << 52
"""Of a normal double's 53 bits the one that is not stored."""

_EXPONENTS = 2048

_FEW = 64
"""Up to so many rows are added to the sums one by one."""

_SEVERAL = -1
"""Place of a bucket with several edges within."""


@njit(cache=True, nogil=True)
def _outside(values, lowest, highest):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(len(values)):
        count += (values[i] < lowest) | (values[i] > highest)
    return count


@njit(cache=True, nogil=True, inline="always")
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """Where a bucket is, or would be put."""
    mask = len(keys) - 1
    slot = ((key * _SPREAD) >> 3) & mask
    while keys[slot] != key and keys[slot] != NO_KEY:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _place(key, edges):  # type: ignore[no-untyped-def]
    """How many edges lie below all of a bucket's values, where at most the next one of them lies
    within; else ``_SEVERAL``."""
    magnitude = key if key >= 0 else -1 - key
    near = np.int64(magnitude << BUCKET_SHIFT).view(np.float64)
    far = np.int64(((magnitude + 1) << BUCKET_SHIFT) - 1).view(np.float64)
    least, greatest = (near, far) if key >= 0 else (-far, -near)
    below = 0
    within = 0
    for k in range(len(edges)):
        below += edges[k] < least
        within += (edges[k] >= least) & (edges[k] < greatest)
    return below if within <= 1 else _SEVERAL


@njit(cache=True, nogil=True, inline="always")
def _position(x, place, edges):  # type: ignore[no-untyped-def]
    """The bin of a value in a bucket of this place."""
    if place == _SEVERAL:
        position = 0
        for k in range(len(edges)):  # no branch to mispredict: faster than bisection for tens
            position += edges[k] < x
        return position
    if place < len(edges):
        return place + (edges[place] < x)
    return place


@njit(cache=True, nogil=True)
def _add_part(limbs, part, exponent):  # type: ignore[no-untyped-def]
    """Add ``part`` units of the lowest bit of doubles with this exponent, below 2**63."""
    place = max(exponent - 1, 0)
    limb = place >> 5
    shift = place & 31
    low = (part << shift) & 0xFFFFFFFF
    rest = part >> (32 - shift)
    limbs[limb] += low
    limbs[limb + 1] += rest & 0xFFFFFFFF
    limbs[limb + 2] += rest >> 32


@njit(cache=True, nogil=True)
def _settle(  # type: ignore[no-untyped-def]
    keys, tallies, before, parts, sums, powers, lowest, highest, squares
):
    """Add what up to ``ADDS_PER_CARRY`` values have left behind to the sums."""
    for slot in range(len(keys)):
        n = tallies[slot] - before[slot]
        if n:
            before[slot] = tallies[slot]
            key = keys[slot]
            exponent = (key if key >= 0 else -1 - key) >> 3
            part = parts[slot] + (n << 52 if exponent else 0)
            parts[slot] = 0
            if key >= 0:
                _add_part(sums, part, exponent)
            else:
                _subtract_part(sums, part, exponent)
    for exponent in range(lowest, highest + 1):
        if powers[exponent]:
            _add_part(squares, powers[exponent], exponent)
            powers[exponent] = 0
    carry(sums)
    carry(squares)


@njit(cache=True, nogil=True)
def _subtract_part(limbs, part, exponent):  # type: ignore[no-untyped-def]
    place = max(exponent - 1, 0)
    limb = place >> 5
    shift = place & 31
    rest = part >> (32 - shift)
    limbs[limb] -= (part << shift) & 0xFFFFFFFF
    limbs[limb + 1] -= rest & 0xFFFFFFFF
    limbs[limb + 2] -= rest >> 32


@njit(cache=True, nogil=True)
def _column_pass(  # type: ignore[no-untyped-def]
    column,
    first,
    counts,
    extremes,
    limits,
    sums,
    squares,
    edges,
    bins,
    keys,
    tallies,
    places,
    used,
    before,
    parts,
    powers,
):
    # One column at a time, so that its counters stay in registers and its tables in the L1 cache.
    # A sum's doubles of one exponent are added as integers: a bucket's values have one, squares are
    # told apart by theirs. That is one addition each, where the place in the sum would be three.
    column = borrowed(column)
    sums = borrowed(sums)
    squares = borrowed(squares)
    edges = borrowed(edges)
    bins = borrowed(bins)
    keys = borrowed(keys)
    tallies = borrowed(tallies)
    places = borrowed(places)
    before = borrowed(before)
    parts = borrowed(parts)
    powers = borrowed(powers)
    finite = 0
    missing = 0
    infinite = 0
    least = np.inf
    greatest = -np.inf
    taken = used[0]
    binned = len(bins) > 0
    several = len(column) - first > _FEW
    lowest: Any = _EXPONENTS
    highest: Any = -1
    pending = 0
    carry(sums)
    carry(squares)
    if several:
        before[:] = tallies
    row = first
    while row < len(column) and 2 * taken < len(keys):
        x = column[row]
        row += 1
        if x - x != 0.0:
            missing += x != x
            infinite += x == x
            continue
        x += 0.0  # no negative zero: extremes must not depend on which zero came first
        finite += 1
        least = min(least, x)
        greatest = max(greatest, x)
        bits = np.float64(x).view(np.int64)
        square = np.float64(min(x * x, _LARGEST)).view(np.int64)
        key = (bits & 0x7FFFFFFFFFFFFFFF) >> BUCKET_SHIFT
        if bits < 0:
            key = -1 - key
        slot = _slot(keys, key)
        if keys[slot] == NO_KEY:
            keys[slot] = key
            places[slot] = _place(key, edges)
            taken += 1
        tallies[slot] += 1
        if binned:
            bins[_position(x, places[slot], edges)] += 1
        if several:
            if pending == ADDS_PER_CARRY:
                tallies[slot] -= 1
                _settle(keys, tallies, before, parts, sums, powers, lowest, highest, squares)
                tallies[slot] += 1
                pending = 0
            pending += 1
            parts[slot] += bits & _MANTISSA
            power = square >> 52
            powers[power] += (square & _MANTISSA) + (_LEADING if power else 0)
            lowest = min(lowest, power)
            highest = max(highest, power)
        else:
            add_bits(sums, bits)
            add_bits(squares, square)
    if several:
        _settle(keys, tallies, before, parts, sums, powers, lowest, highest, squares)
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
    places,
    used,
):
    """Take in ``values[rows]`` (float64, shape (n, F)) as the state's columns ``column0``...

    Per column c of the state: ``counts[c]`` is (finite, missing, outside ``limits[c]``),
    ``extremes[c]`` (least, greatest; from (inf, -inf)), ``sums[c]`` and ``squares[c]`` are
    superaccumulators, ``bins[c]`` counts on the first ``edge_counts[c]`` of ``edges[c]`` (-1: no
    bins), ``keys[c]``, ``tallies[c]`` and ``places[c]`` are the bucket table with ``used[c]`` slots
    taken. Infinite values are counted nowhere; a square that overflows counts as the largest
    double.

    Returns (column, row) from where to go on when a bucket table is half full, after the caller
    has enlarged the tables; (F, 0) at the end.
    """
    column = np.empty(len(rows), dtype=np.float64)
    before = np.empty(keys.shape[1], dtype=np.int64)
    parts = np.zeros(keys.shape[1], dtype=np.int64)
    powers = np.zeros(_EXPONENTS if len(rows) > _FEW else 0, dtype=np.int64)
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
            places[c],
            used[c : c + 1],
            before,
            parts,
            powers,
        )
        if reached < len(rows):
            return j, reached
        first = 0
    return values.shape[1], 0


@njit(cache=True, nogil=True)
def held_buckets(  # type: ignore[no-untyped-def]
    keys, tallies, smallest, largest, buckets, amounts, ends
):
    """Of all columns one after the other the buckets that are not empty, ascending, and their
    counts, into ``buckets`` and ``amounts`` (int64, with room for every slot); ``ends[c]`` is where
    those of column c end.

    Buckets below ``smallest`` are taken together with that of 0, those beyond ``largest`` with it,
    on both sides. It does not matter when that is done: of parts, or of the whole.
    """
    used = 0
    taken = np.empty(keys.shape[1], np.int64)
    for column in range(keys.shape[0]):
        count = 0
        for slot in range(keys.shape[1]):
            if keys[column, slot] != NO_KEY:
                taken[count] = slot
                count += 1
        own = keys[column][taken[:count]]
        first = used
        for i in np.argsort(own):
            key = np.int64(own[i])
            # The bucket of -x is -1 - k where that of x is k.
            size = key if key >= 0 else -1 - key
            within = np.int64(0) if size < smallest else min(size, largest)
            bounded = within if key >= 0 else -1 - within
            amount = tallies[column, taken[i]]
            if used > first and buckets[used - 1] == bounded:
                amounts[used - 1] += amount
            else:
                buckets[used] = bounded
                amounts[used] = amount
                used += 1
        ends[column] = used


@njit(cache=True, nogil=True)
def insert_buckets(keys, tallies, places, edges, indices, amounts):  # type: ignore[no-untyped-def]
    """Put (index, count) pairs into an empty bucket table that has room for them."""
    for i in range(len(indices)):
        slot = _slot(keys, indices[i])
        keys[slot] = indices[i]
        tallies[slot] = amounts[i]
        places[slot] = _place(indices[i], edges)


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

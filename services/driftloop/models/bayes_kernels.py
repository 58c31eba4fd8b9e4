"""Compiled scores of frozen Hoeffding trees and forests of them that classify.

A leaf answers a distribution, or a naive Bayes model over its observers (River's
``do_naive_bayes_prediction``). Its votes are summed in whatever order is quick. Only where log
likelihoods are so large that rounding shows, or a term of them overflows, River's operations are
repeated one by one in River's order, so that the scores agree there too.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, I64, U64
from driftloop.models.walk_kernels import (
    FEW_ROWS,
    LANES,
    ROOT,
    fill,
    tile_size,
    tiles_per_block,
    walk_lane,
    walk_row,
    walk_tiles,
)

MAX_FOUND = 1000
"""Leaves of one member that a row may end in; ``models.forest`` has checked that."""
NOT_QUICK = -2
_HALF_LOG_TAU = 0.5 * math.log(math.tau)
_ROUNDING_SHOWS = -1e5
"""Above this log likelihood every order of the same sum agrees to 1e-10."""


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def quick_layout(
    classes: int,
    observers: I32,
    observed: I32,
    nominal: I32,
    mean: F64,
    spread: F64,
    offset: F64,
) -> tuple[I32, I32, I32, F64]:
    """Numeric observers only: limits per leaf, features, and per leaf and class the means, the
    reciprocals of the spreads and the constants, each end to end. ``straight`` is the first feature
    of a leaf whose features follow one another, -1 of others, NOT_QUICK of one that needs River's
    order always."""
    leaves = len(observers) - 1
    limits = np.zeros(leaves + 1, dtype=np.int32)
    straight = np.full(leaves, -1, dtype=np.int32)
    feature = np.empty(len(observed), dtype=np.int32)
    table = np.empty(3 * len(mean), dtype=np.float64)
    end = 0
    for leaf in range(leaves):
        first = observers[leaf]
        count = observers[leaf + 1] - first
        start = end
        for i in range(count):
            if nominal[first + i] == 0:
                feature[end] = observed[first + i]
                end += 1
        limits[leaf + 1] = end
        size = end - start
        if size > 0:
            straight[leaf] = feature[start]
            for i in range(size):
                if feature[start + i] != feature[start] + i:
                    straight[leaf] = -1
        for c in range(classes):
            at = 3 * (start * classes + c * size)
            i = 0
            for j in range(count):
                if nominal[first + j] == 0:
                    source = first * classes + c * count + j
                    asked = offset[source] < math.inf
                    factor = 1.0 / spread[source] if asked else 0.0
                    if math.isinf(factor):
                        straight[leaf] = NOT_QUICK
                        factor = 0.0
                    table[at + i] = mean[source] if asked else 0.0
                    table[at + size + i] = factor
                    table[at + 2 * size + i] = _HALF_LOG_TAU + offset[source] if asked else 0.0
                    i += 1
    return limits, straight, feature[:end].copy(), table[: 3 * end * classes].copy()


# The order of the sum is the compiler's: it is the same for every row, whatever its batch. Only in
# functions that call no other: numba compiles callees by their caller's rules.
@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})  # type: ignore[untyped-decorator]
def _vote(values: F64, table: F64, at: int, size: int) -> float:
    """The sum of a class's log likelihoods."""
    # Slices: an index that may be negative keeps a loop from being compiled to vectors.
    means = table[at : at + size]
    factors = table[at + size : at + 2 * size]
    constants = table[at + 2 * size : at + 3 * size]
    vote = 0.0
    for i in range(size):
        distance = values[i] - means[i]
        term = distance * distance * factors[i] - constants[i]
        # Not itself: missing, or too large where the class does not ask.
        vote += term if term == term else 0.0
    return vote


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _level(observer: int, code: int, unseen: int, bounds: I32, levels: I32) -> int:
    """Where a category's log probabilities are, -1 for one that the observer has not seen."""
    wanted = code if code >= 0 else unseen
    low = int(bounds[observer])
    end = int(bounds[observer + 1])
    high = end
    while low < high:
        middle = (low + high) >> 1
        if levels[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return int(low) if low < end and levels[low] == wanted else -1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _exact_votes(
    leaf: int,
    row: int,
    numeric: F64,
    codes: I32,
    sizes: I32,
    base: F64,
    observers: I32,
    observed: I32,
    nominal: I32,
    mean: F64,
    spread: F64,
    offset: F64,
    bounds: I32,
    levels: I32,
    logs: F64,
    votes: F64,
) -> None:
    """Probabilities of the classes into ``votes``, by River's operations in River's order."""
    first = np.int64(observers[leaf])
    count = np.int64(observers[leaf + 1]) - first
    classes = len(votes)
    largest = -math.inf
    for c in range(classes):
        vote = base[leaf, c]
        at = first * classes + c * count
        for i in range(count):
            feature = observed[first + i]
            term = 0.0
            if nominal[first + i] == 0:
                distance = numeric[row, feature] - mean[at + i]
                term = distance * distance / spread[at + i] - _HALF_LOG_TAU - offset[at + i]
            elif codes[row, feature] != -1 and offset[at + i] < math.inf:
                found = _level(first + i, codes[row, feature], sizes[feature], bounds, levels)
                if found >= 0:
                    term = logs[found * classes + c]
            # Not so: a missing value, a class that does not ask the observer, an overflow.
            if term > -math.inf:
                vote += term
        votes[c] = vote
        largest = max(largest, vote)
    if largest == -math.inf:
        # The likelihood is less than any number: nothing but the priors is left to say.
        for c in range(classes):
            votes[c] = base[leaf, c]
            largest = max(largest, votes[c])
    total = 0.0
    for c in range(classes):
        total += math.exp(votes[c] - largest)
    largest += math.log(total)
    for c in range(classes):
        votes[c] = math.exp(votes[c] - largest)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def classifier_scores(
    numeric: F64,
    codes: I32,
    nodes: U64,
    words: U64,
    columns: I64,
    trees: I64,
    by_depth: I64,
    leaf_of: I32,
    weights: F64,
    also: I32,
    also_bounds: I32,
    sizes: I32,
    base: F64,
    bayes: I32,
    error: F64,
    observers: I32,
    observed: I32,
    nominal: I32,
    mean: F64,
    spread: F64,
    offset: F64,
    bounds: I32,
    levels: I32,
    logs: F64,
    limits: I32,
    straight: I32,
    feature: I32,
    table: F64,
    widest: int,
    normalise: bool,
    binary: bool,
) -> F64:
    """Shape (n, C), or the probability of class 1 (n, 1) where ``binary``."""
    rows, features = numeric.shape
    flat = numeric.reshape(rows * features)
    classes = base.shape[1]
    members = len(weights)
    sums = np.zeros((rows, classes), dtype=np.float64)
    votes = np.empty(classes, dtype=np.float64)
    values = np.empty(widest, dtype=np.float64)
    waiting = np.empty(MAX_FOUND, dtype=np.int64)
    few = rows <= FEW_ROWS
    lanes = 1 if few else LANES
    tile = tile_size(len(columns))
    count = 1 if few else tiles_per_block(len(columns), rows)
    tiles = np.zeros(count * tile, dtype=np.uint64)
    ends = np.empty(max(members, count * LANES), dtype=np.uint64)
    for first in range(0, rows, count * lanes):
        last = min(first + count * lanes, rows)
        used = (last - first + lanes - 1) // lanes
        fill(tiles, numeric, codes, first, last, columns, lanes)
        if few:
            walk_row(by_depth, nodes, tiles, words, ends)
        for member in range(members):
            if not few:
                walk_tiles(trees, member, nodes, tiles, tile, used, words, ends)
            for row in range(first, last):
                index = row - first
                leaf = np.int64(leaf_of[ends[member] if few else ends[index]])
                depth = 0
                while True:
                    if bayes[leaf] == 0:
                        for c in range(classes):
                            votes[c] = base[leaf, c]
                    else:
                        start = np.int64(limits[leaf])
                        size = np.int64(limits[leaf + 1]) - start
                        exact = straight[leaf] == NOT_QUICK
                        if straight[leaf] >= 0:
                            source = row * features + straight[leaf]
                            given = flat[source : source + size]
                            for i in range(size):
                                values[i] = given[i]
                        else:
                            for i in range(size):
                                values[i] = numeric[row, feature[start + i]]
                        for c in range(classes):
                            at = 3 * (start * classes + c * size)
                            vote = _vote(values, table, at, size)
                            votes[c] = base[leaf, c] + vote
                        seen = np.int64(observers[leaf])
                        everything = np.int64(observers[leaf + 1]) - seen
                        if everything > size:
                            for i in range(everything):
                                column = observed[seen + i]
                                if nominal[seen + i] == 0 or codes[row, column] == -1:
                                    continue
                                found = _level(
                                    seen + i, codes[row, column], sizes[column], bounds, levels
                                )
                                if found >= 0:
                                    at = seen * classes + i
                                    for c in range(classes):
                                        # A class that does not ask is left out.
                                        if offset[at + c * everything] < math.inf:
                                            votes[c] += logs[found * classes + c]
                        largest = -math.inf
                        for c in range(classes):
                            largest = max(largest, votes[c])
                            exact |= votes[c] == -math.inf and base[leaf, c] > -math.inf
                        if exact or not largest > _ROUNDING_SHOWS:
                            _exact_votes(
                                leaf, row, numeric, codes, sizes, base, observers, observed,
                                nominal, mean, spread, offset, bounds, levels, logs, votes,
                            )  # fmt: skip
                        else:
                            total = 0.0
                            for c in range(classes):
                                share = 1.0
                                if votes[c] != largest:
                                    share = math.exp(votes[c] - largest)
                                votes[c] = share
                                total += share
                            for c in range(classes):
                                votes[c] /= total
                    weight = weights[member]
                    if error[leaf] != 0.0:
                        mass = 0.0
                        for c in range(classes):
                            mass += votes[c]
                        factor = mass * error[leaf] * error[leaf]
                        if factor > 1e-250:
                            weight /= factor
                    for c in range(classes):
                        sums[row, c] += weight * votes[c]
                    # Alternate subtrees grown at the branches that the row has passed.
                    for j in range(also_bounds[leaf], also_bounds[leaf + 1]):
                        waiting[depth] = also[j]
                        depth += 1
                    if depth == 0:
                        break
                    depth -= 1
                    root = np.uint64(trees[waiting[depth], ROOT])
                    place = index // lanes * tile + index % lanes
                    leaf = np.int64(leaf_of[walk_lane(root, nodes, tiles, place, words)])
    if normalise:
        for row in range(rows):
            total = 0.0
            for c in range(classes):
                total += sums[row, c]
            if total > 0.0:
                for c in range(classes):
                    sums[row, c] /= total
    if not binary:
        return sums
    out = np.empty((rows, 1), dtype=np.float64)
    for row in range(rows):
        out[row, 0] = sums[row, 1]
    return out

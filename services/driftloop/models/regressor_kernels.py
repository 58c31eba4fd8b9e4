"""Compiled scores of frozen Hoeffding trees and forests of them that predict a number."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, I64, U64
from driftloop.models.bayes_kernels import MAX_FOUND
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

_LIMIT = 1e305
"""Of a leaf's answer: keeps the sum of absurd values finite."""
_TERM_LIMIT = 1e300


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _leaf_value(
    leaf: int,
    numeric: F64,
    row: int,
    value: F64,
    model: I32,
    mean: F64,
    scale: F64,
    weights: F64,
    bias: F64,
) -> float:
    """The leaf's mean, or its linear model's answer, within ``_LIMIT``."""
    answer = value[leaf]
    if model[leaf] < 0:
        return float(answer)
    at = model[leaf]
    columns = numeric.shape[1]
    total = 0.0
    for column in range(columns):
        x = numeric[row, column]
        if scale[at, column] != 0.0 and not math.isnan(x):
            total += (x - mean[at, column]) / scale[at, column] * weights[at, column]
    total += bias[at]
    if math.isnan(total):
        # Infinities of both signs: what is left of them when each is a number.
        total = 0.0
        for column in range(columns):
            x = numeric[row, column]
            if scale[at, column] != 0.0 and not math.isnan(x):
                term = (x - mean[at, column]) / scale[at, column] * weights[at, column]
                if not math.isnan(term):
                    total += min(max(term, -_TERM_LIMIT), _TERM_LIMIT)
    return min(max(total, -_LIMIT), _LIMIT)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def regressor_scores(
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
    value: F64,
    model: I32,
    mean: F64,
    scale: F64,
    slope: F64,
    bias: F64,
    median: bool,
) -> F64:
    """Shape (n, 1): weighted mean or median of the members; each the mean of the leaves found."""
    rows = numeric.shape[0]
    members = len(weights)
    out = np.zeros((rows, 1), dtype=np.float64)
    few = rows <= FEW_ROWS
    lanes = 1 if few else LANES
    size = tile_size(len(columns))
    count = 1 if few else tiles_per_block(len(columns), rows)
    answers = np.empty((count * lanes, members), dtype=np.float64)
    waiting = np.empty(MAX_FOUND, dtype=np.int64)
    tiles = np.zeros(count * size, dtype=np.uint64)
    ends = np.empty(max(members, count * LANES), dtype=np.uint64)
    for first in range(0, rows, count * lanes):
        last = min(first + count * lanes, rows)
        used = (last - first + lanes - 1) // lanes
        fill(tiles, numeric, codes, first, last, columns, lanes)
        if few:
            walk_row(by_depth, nodes, tiles, words, ends)
        for member in range(members):
            if not few:
                walk_tiles(trees, member, nodes, tiles, size, used, words, ends)
            for row in range(first, last):
                index = row - first
                leaf = np.int64(leaf_of[ends[member] if few else ends[index]])
                total = 0.0
                leaves = 0
                depth = 0
                while True:
                    total += _leaf_value(leaf, numeric, row, value, model, mean, scale, slope, bias)
                    leaves += 1
                    # Alternate subtrees grown at the branches that the row has passed.
                    for j in range(also_bounds[leaf], also_bounds[leaf + 1]):
                        waiting[depth] = also[j]
                        depth += 1
                    if depth == 0:
                        break
                    depth -= 1
                    root = np.uint64(trees[waiting[depth], ROOT])
                    place = index // lanes * size + index % lanes
                    leaf = np.int64(leaf_of[walk_lane(root, nodes, tiles, place, words)])
                answers[index, member] = total / leaves
        for row in range(first, last):
            found = answers[row - first]
            if median:
                found.sort()
                middle = members >> 1
                out[row, 0] = (
                    found[middle] if members & 1 else found[middle - 1] * 0.5 + found[middle] * 0.5
                )
            else:
                total = 0.0
                for member in range(members):
                    total += found[member] * weights[member]
                out[row, 0] = total
    return out

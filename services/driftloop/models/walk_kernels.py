"""Compiled walks through binary trees: eight rows through one tree, or one row through eight.

Nothing here reads out of bounds only because ``models.walk`` has checked and laid out the nodes.
A walk does not branch on the data: a step is two loads, a comparison of integers and an addition,
and a row that has reached its leaf stays there until the deepest leaf of the tree is reached. Eight
walks go on at a time, so that one's loads are waited for while the others compute.

Numbers become *keys*, unsigned integers in the same order, in which missing is the lowest or the
highest key, as the node sends it left or right. A *tile* is the keys of eight rows, column by
column. Two unsigned integers describe node n (siblings lie side by side):

- ``nodes[2 n]``: the threshold's key; or, of a set node, its first word and number of words
- ``nodes[2 n + 1]``: the left child in the upper half (a leaf is its own), in the lower the
  column's place in the tile, and ``SET`` for a set node
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, I64, U64

LANES = 8
MISSING_NONE, MISSING_ZERO, MISSING_NAN, CODE, EXACT = 0, 1, 2, 3, 4
"""How a node takes its value; see ``models.walk``."""
IN_SET = 5
ZERO = 1e-35
"""Numbers up to this size are zero (LightGBM's kZeroThreshold)."""
ROOT, DEPTH, MIXED, PLACE = 0, 1, 2, 3
"""Columns of ``trees``: root node, depth, whether there are set nodes, place in the artifact."""
SET = 1 << 31
FEW_ROWS = 3
"""Up to so many rows are walked one by one, each through eight trees at a time."""

_HALF = np.uint64(32)
_SET_SHIFT = np.uint64(31)
_COLUMN = np.uint64(SET - 1)
_LOW = np.uint64(2**32 - 1)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_SIGN = np.uint64(2**63)
_HIGHEST = np.uint64(2**64 - 1)
_LOWEST = np.uint64(0)
_WORD = np.uint64(6)
_BIT = np.uint64(63)
_BLOCK_BYTES = 20_000
"""Of tiles that are walked through one tree before the next: they and the tree fit the nearest
cache."""


@njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def key(value: float) -> np.uint64:
    """In the order of the numbers; -0.0 and 0.0 have one key. Not for NaN."""
    bits = np.float64(value + 0.0).view(np.uint64)
    ordered: np.uint64 = bits ^ (np.uint64(np.int64(bits) >> np.int64(63)) | _SIGN)
    return ordered


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def keys(values: F64) -> U64:
    out = np.empty(len(values), dtype=np.uint64)
    for i in range(len(values)):
        out[i] = key(values[i])
    return out


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def tile_size(columns: int) -> int:
    """Keys in a tile; at least one column, which the leaves read."""
    return max(columns, 1) * LANES


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def fill(
    tiles: U64, numeric: F64, codes: I32, first: int, last: int, columns: I64, lanes: int
) -> None:
    """The keys of the rows [first, last), ``lanes`` of them in a tile; lanes beyond the last row
    repeat it."""
    size = tile_size(len(columns))
    for column in range(len(columns)):
        source = columns[column, 0]
        kind = columns[column, 1]
        absent = _LOWEST if columns[column, 2] != 0 else _HIGHEST
        start = column * LANES
        for row in range(first, last):
            index = row - first
            place = start + index // lanes * size + index % lanes
            if kind == IN_SET:
                code = codes[row, source]
                # Bit 0 is missing, bit 1 unseen; codes are -1 and -2 then.
                tiles[place] = np.uint64(code + 2 if code >= 0 else -1 - code)
            elif kind == CODE:
                code = codes[row, source]
                tiles[place] = key(float(code)) if code >= 0 else absent
            else:
                value = numeric[row, source]
                missing = math.isnan(value)
                if kind != EXACT:
                    if missing and kind != MISSING_NAN:
                        value = 0.0
                        missing = False
                    if abs(value) <= ZERO:
                        value = 0.0
                        missing = kind == MISSING_ZERO
                tiles[place] = absent if missing else key(value)
        rest = (last - first) % lanes
        if rest != 0:
            place = start + (last - first) // lanes * size
            for lane in range(rest, lanes):
                tiles[place + lane] = tiles[place + rest - 1]


@njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def _step(node: np.uint64, nodes: U64, tile: U64, lane: np.uint64) -> np.uint64:
    link = nodes[node * _TWO + _ONE]
    above = np.uint64(nodes[node * _TWO] < tile[(link & _LOW) + lane])
    child: np.uint64 = (link >> _HALF) + above
    return child


@njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def _step_mixed(node: np.uint64, nodes: U64, tile: U64, lane: np.uint64, words: U64) -> np.uint64:
    """Both kinds of test are made, and one is taken: no branch to mispredict."""
    link = nodes[node * _TWO + _ONE]
    bound = nodes[node * _TWO]
    value = tile[(link & _COLUMN) + lane]
    is_set = (link >> _SET_SHIFT) & _ONE
    word = value >> _WORD
    inside = is_set & np.uint64(word < (bound & _LOW))
    # Word 0 is empty.
    bit = (words[inside * ((bound >> _HALF) + word)] >> (value & _BIT)) & _ONE
    above = np.uint64(bound < value)
    child: np.uint64 = (link >> _HALF) + (above ^ (is_set * (above ^ bit ^ _ONE)))
    return child


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def walk_tiles(
    trees: I64, tree: int, nodes: U64, tiles: U64, size: int, used: int, words: U64, ends: U64
) -> None:
    """The nodes where the rows of ``used`` tiles end in one tree, into ``ends``."""
    root = np.uint64(trees[tree, ROOT])
    depth = trees[tree, DEPTH]
    mixed = trees[tree, MIXED] != 0
    for tile in range(used):
        a = b = c = d = e = f = g = h = root
        a_lane = np.uint64(tile * size + 0)
        b_lane = np.uint64(tile * size + 1)
        c_lane = np.uint64(tile * size + 2)
        d_lane = np.uint64(tile * size + 3)
        e_lane = np.uint64(tile * size + 4)
        f_lane = np.uint64(tile * size + 5)
        g_lane = np.uint64(tile * size + 6)
        h_lane = np.uint64(tile * size + 7)
        if mixed:
            for _ in range(depth):
                a = _step_mixed(a, nodes, tiles, a_lane, words)
                b = _step_mixed(b, nodes, tiles, b_lane, words)
                c = _step_mixed(c, nodes, tiles, c_lane, words)
                d = _step_mixed(d, nodes, tiles, d_lane, words)
                e = _step_mixed(e, nodes, tiles, e_lane, words)
                f = _step_mixed(f, nodes, tiles, f_lane, words)
                g = _step_mixed(g, nodes, tiles, g_lane, words)
                h = _step_mixed(h, nodes, tiles, h_lane, words)
        else:
            for _ in range(depth):
                a = _step(a, nodes, tiles, a_lane)
                b = _step(b, nodes, tiles, b_lane)
                c = _step(c, nodes, tiles, c_lane)
                d = _step(d, nodes, tiles, d_lane)
                e = _step(e, nodes, tiles, e_lane)
                f = _step(f, nodes, tiles, f_lane)
                g = _step(g, nodes, tiles, g_lane)
                h = _step(h, nodes, tiles, h_lane)
        ends[tile * LANES + 0] = a
        ends[tile * LANES + 1] = b
        ends[tile * LANES + 2] = c
        ends[tile * LANES + 3] = d
        ends[tile * LANES + 4] = e
        ends[tile * LANES + 5] = f
        ends[tile * LANES + 6] = g
        ends[tile * LANES + 7] = h


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def walk_lane(root: np.uint64, nodes: U64, tile: U64, lane: int, words: U64) -> np.uint64:
    """One row through one tree."""
    node = root
    while True:
        link = nodes[node * _TWO + _ONE]
        if link >> _HALF == node:
            return node
        node = _step_mixed(node, nodes, tile, np.uint64(lane), words)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def walk_row(trees: I64, nodes: U64, tile: U64, words: U64, out: U64) -> None:
    """The nodes where the first row of a tile ends in every tree, in the artifact's order.

    ``trees`` ascends by depth, so that the eight trees walked together end together.
    """
    zero = np.uint64(0)
    count = len(trees)
    full = count - count % LANES
    for at in range(0, full, LANES):
        a = np.uint64(trees[at, ROOT])
        b = np.uint64(trees[at + 1, ROOT])
        c = np.uint64(trees[at + 2, ROOT])
        d = np.uint64(trees[at + 3, ROOT])
        e = np.uint64(trees[at + 4, ROOT])
        f = np.uint64(trees[at + 5, ROOT])
        g = np.uint64(trees[at + 6, ROOT])
        h = np.uint64(trees[at + 7, ROOT])
        mixed = np.int64(0)
        for i in range(LANES):
            mixed |= trees[at + i, MIXED]
        if mixed != 0:
            for _ in range(trees[at + 7, DEPTH]):
                a = _step_mixed(a, nodes, tile, zero, words)
                b = _step_mixed(b, nodes, tile, zero, words)
                c = _step_mixed(c, nodes, tile, zero, words)
                d = _step_mixed(d, nodes, tile, zero, words)
                e = _step_mixed(e, nodes, tile, zero, words)
                f = _step_mixed(f, nodes, tile, zero, words)
                g = _step_mixed(g, nodes, tile, zero, words)
                h = _step_mixed(h, nodes, tile, zero, words)
        else:
            for _ in range(trees[at + 7, DEPTH]):
                a = _step(a, nodes, tile, zero)
                b = _step(b, nodes, tile, zero)
                c = _step(c, nodes, tile, zero)
                d = _step(d, nodes, tile, zero)
                e = _step(e, nodes, tile, zero)
                f = _step(f, nodes, tile, zero)
                g = _step(g, nodes, tile, zero)
                h = _step(h, nodes, tile, zero)
        out[trees[at, PLACE]] = a
        out[trees[at + 1, PLACE]] = b
        out[trees[at + 2, PLACE]] = c
        out[trees[at + 3, PLACE]] = d
        out[trees[at + 4, PLACE]] = e
        out[trees[at + 5, PLACE]] = f
        out[trees[at + 6, PLACE]] = g
        out[trees[at + 7, PLACE]] = h
    for at in range(full, count):
        root = np.uint64(trees[at, ROOT])
        out[trees[at, PLACE]] = walk_lane(root, nodes, tile, 0, words)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def tiles_per_block(columns: int, rows: int) -> int:
    """How many tiles of rows are walked through one tree before the next."""
    wanted = (rows + LANES - 1) // LANES
    return int(max(1, min(wanted, 16, _BLOCK_BYTES // (tile_size(columns) * 8))))


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def lay_out(roots: I32, left: I32, right: I32, threshold: U64, column: U64) -> tuple[U64, I32, I64]:
    """Nodes, leaf of each node (-1 within a tree), and (root, depth) per tree.

    ``threshold`` and ``column`` are the lower and upper descriptions of the artifact's nodes. Every
    node has one parent at most, so the layout is no larger than the artifact allows.
    """
    size = len(roots) + 2 * len(left) + 1
    nodes = np.zeros(2 * size, dtype=np.uint64)
    leaf_of = np.full(size, -1, dtype=np.int32)
    source = np.zeros(size, dtype=np.int32)
    depth_of = np.zeros(size, dtype=np.int32)
    trees = np.zeros((len(roots), 2), dtype=np.int64)
    end = 0
    for tree in range(len(roots)):
        trees[tree, 0] = end
        at = end
        source[at] = roots[tree]
        depth_of[at] = 0
        end += 1
        while at < end:
            node = source[at]
            if node < 0:
                leaf_of[at] = ~node
                # Nothing is above the highest key: a leaf goes left, to itself.
                nodes[2 * at] = _HIGHEST
                nodes[2 * at + 1] = np.uint64(at) << _HALF
                trees[tree, 1] = max(trees[tree, 1], depth_of[at])
            else:
                nodes[2 * at] = threshold[node]
                nodes[2 * at + 1] = (np.uint64(end) << _HALF) | column[node]
                source[end] = left[node]
                source[end + 1] = right[node]
                depth_of[end] = depth_of[at] + 1
                depth_of[end + 1] = depth_of[at] + 1
                end += 2
            at += 1
    return nodes[: 2 * end], leaf_of[:end], trees


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
    return int(largest)

"""Compiled sums over trees of few leaves, without walking them: QuickScorer (Lucchese, Nardini,
Orlando, Perego, Tonellotto, Venturini: QuickScorer, SIGIR 2015).

A tree's leaves are bits, the leftmost the lowest. A test that sends the row right rules out the
leaves on its left: a mask. Once all such masks are applied, the lowest bit left is the leaf where
the row ends. Tests of one column are sorted by threshold, so those that send a row right are the
first ones: their masks are applied in a stream, without a step waiting for the one before. Beyond
the paper: what is left after every so many masks of a column is kept, so that only the rest is
applied one by one; and tests on sets of categories are made one by one.

Nothing here reads out of bounds only because ``models.walk`` has checked and laid out the nodes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from driftloop.kernel.codec.blocks import F64, I64, U64
from driftloop.models.walk_kernels import LANES, ROOT

U32 = npt.NDArray[np.uint32]
Word = U32 | U64
"""A column of masks."""
WORDS = (np.uint32, np.uint64)
"""Of as many bits as the largest tree may have leaves."""
_HALF = np.uint64(32)
_LOW = np.uint64(2**32 - 1)
_ONE, _TWO, _THREE, _FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_LANES = np.uint64(LANES)
_ALL = np.uint64(2**64 - 1)
_WORD = np.uint64(6)
_BIT = np.uint64(63)


@intrinsic
def _lowest_bit(context, word):  # type: ignore[no-untyped-def]
    """Its place; of a word that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def describe(trees: I64, nodes: U64, leaf: F64, tests: U64, values: F64) -> int:
    """Every test as (column's place and ``SET``, threshold or set, tree, mask) in a row of
    ``tests``, and the leaves' values, left to right, in a row of ``values`` per tree. Returns how
    many tests there are; -1 where a tree has more leaves than ``values`` has columns.

    ``trees`` and ``nodes`` as in ``walk_kernels``, trees in order; ``leaf`` by node."""
    used = 0
    size = len(nodes) // 2
    count = np.zeros(size, np.int64)
    first = np.zeros(size, np.int64)
    for tree in range(len(trees)):
        root = trees[tree, ROOT]
        end = trees[tree + 1, ROOT] if tree + 1 < len(trees) else size
        # Children lie behind their parents.
        for at in range(end - 1, root - 1, -1):
            child = np.int64(nodes[2 * at + 1] >> _HALF)
            count[at] = 1 if child == at else count[child] + count[child + 1]
        if count[root] > values.shape[1]:
            return -1
        first[root] = 0
        for at in range(root, end):
            child = np.int64(nodes[2 * at + 1] >> _HALF)
            if child == at:
                values[tree, first[at]] = leaf[at]
                continue
            first[child] = first[at]
            first[child + 1] = first[at] + count[child]
            tests[used, 0] = nodes[2 * at + 1] & _LOW
            tests[used, 1] = nodes[2 * at]
            tests[used, 2] = np.uint64(tree)
            ruled_out = ((_ONE << np.uint64(count[child])) - _ONE) << np.uint64(first[at])
            tests[used, 3] = ~ruled_out
            used += 1
    return used


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def keep(
    starts: I64, bound: U64, tree: U64, mask: U64, stride: int, first: I64, marks: U64, kept: U64
) -> None:
    """What is left of all trees before a column's masks and after every ``stride`` of them, in rows
    of ``kept``, with the last threshold of these in ``marks``. ``first``: where each column's rows
    start, and the last one's end."""
    bits = np.empty(kept.shape[1], np.uint64)
    row = 0
    for column in range(len(starts) - 1):
        first[column] = row
        bits[:] = _ALL
        kept[row] = bits
        row += 1
        for i in range(starts[column], starts[column + 1]):
            bits[np.int64(tree[i])] &= mask[i]
            if (i + 1 - starts[column]) % stride == 0:
                kept[row] = bits
                marks[row] = bound[i]
                row += 1
    first[len(starts) - 1] = row


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def rule_out(
    tile: U64,
    columns: np.uint64,
    stride: np.uint64,
    packed: U64,
    starts: np.uint64,
    bound: np.uint64,
    first: np.uint64,
    marks: np.uint64,
    halves: U32,
    tree: np.uint64,
    masks: Word,
    mask: np.uint64,
    kept: np.uint64,
    bits: Word,
) -> None:
    """What is left of every tree for the first row of a tile, into ``bits``, but for the sets.

    The columns of ``Masks`` lie in one array that is seen as ``packed``, ``halves`` and ``masks``;
    given is where each begins, as an array takes time to make. Masks of 32 bits where no tree has
    more leaves, else of 64: how much is read decides the time. All is unsigned: an index that may
    be negative keeps a loop from being vectorised.
    """
    trees = np.uint64(len(bits))
    for column in range(columns):
        value = tile[column * _LANES]
        low = packed[first + column]
        passed = np.uint64(0)
        for i in range(low + _ONE, packed[first + column + _ONE]):
            passed += np.uint64(packed[marks + i] < value)
        # Lanes of rows that are not there hold what is found.
        tile[column * _LANES + _ONE] = kept + (low + passed) * trees
        tile[column * _LANES + _TWO] = packed[starts + column] + passed * stride
    for i in range(trees):
        bits[i] = ~bits.dtype.type(0)
    at = np.uint64(0)
    # Four at a time, which saves three loads and stores of the bits.
    while at + _FOUR <= columns:
        a = tile[at * _LANES + _ONE]
        b = tile[(at + _ONE) * _LANES + _ONE]
        c = tile[(at + _TWO) * _LANES + _ONE]
        d = tile[(at + _THREE) * _LANES + _ONE]
        for i in range(trees):
            bits[i] &= masks[a + i] & masks[b + i] & masks[c + i] & masks[d + i]
        at += _FOUR
    while at < columns:
        a = tile[at * _LANES + _ONE]
        for i in range(trees):
            bits[i] &= masks[a + i]
        at += _ONE
    for column in range(columns):
        value = tile[column * _LANES]
        test = tile[column * _LANES + _TWO]
        end = packed[starts + column + _ONE]
        while test < end and packed[bound + test] < value:
            bits[np.uint64(halves[tree + test])] &= masks[mask + test]
            test += _ONE


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def rule_out_sets(
    tile: U64, column: U64, bound: U64, tree: U32, mask: Word, words: U64, bits: Word
) -> None:
    """The same of tests on sets."""
    for i in range(len(column)):
        value = tile[column[i]]
        word = value >> _WORD
        inside = np.uint64(word < (bound[i] & _LOW))
        # Word 0 is empty.
        bit = (words[inside * ((bound[i] >> _HALF) + word)] >> (value & _BIT)) & _ONE
        # Outside: to the right.
        bits[np.uint64(tree[i])] &= mask[i] | bits.dtype.type(np.uint64(0) - bit)


@njit(nogil=True, cache=True, inline="always")  # type: ignore[untyped-decorator]
def leaf_place(left: np.uint32 | np.uint64) -> np.uint64:
    """The leaf where the row ends, counted from the left."""
    place: np.uint64 = _lowest_bit(np.uint64(left))
    return place

"""Tests of all trees sorted by column and threshold, for ``models.mask_kernels``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, U64
from driftloop.models import mask_kernels, walk_kernels
from driftloop.models.mask_kernels import U32, Word
from driftloop.models.walk import Walk

_LEAST_STRIDE = 8
_MOST_COLUMNS = 128
"""What is kept is read for every column, however few tests ask it: beyond, walking is quicker."""
_MOST_KEPT = 1 << 25
"""Words, 256 MiB: some 30,000 trees of 64 leaves. More take memory that their artifact does not
suggest, and are walked about as quickly."""


@dataclass(frozen=True, slots=True)
class Masks:
    """See ``mask_kernels.rule_out`` and ``describe``."""

    starts: I64
    """Shape (J + 1,): of each column's tests."""
    bound: U64
    tree: U32
    mask: Word
    stride: int
    first: I64
    marks: U64
    kept: Word
    set_column: U64
    """Its place in the tile."""
    set_bound: U64
    set_tree: U32
    set_mask: Word
    values: F64
    """Of the leaves, shape (T, bits of a mask)."""

    @classmethod
    def of(cls, walked: Walk, leaf: F64) -> Masks | None:
        """``leaf`` by node. None where trees are better walked: some have too many leaves, or all
        together ask too many columns."""
        trees, nodes = walked.trees, walked.nodes
        if len(walked.columns) > _MOST_COLUMNS:
            return None
        # Kept states then take about four times the tests' own memory.
        stride = max(_LEAST_STRIDE, len(trees) // 16)
        # Of the nodes that are laid out all but the leaves, and there is one leaf more per tree.
        most_tests = (len(nodes) // 2 - len(trees)) // 2
        if (most_tests // stride + len(walked.columns)) * len(trees) > _MOST_KEPT:
            return None
        tests: U64 = np.zeros((len(nodes) // 2, 4), np.uint64)
        for word in mask_kernels.WORDS:
            values = np.zeros((len(trees), 8 * np.dtype(word).itemsize))
            used = mask_kernels.describe(trees, nodes, leaf, tests, values)
            if used >= 0:
                break
        else:
            return None
        tests = tests[:used]
        is_set = (tests[:, 0] & np.uint64(walk_kernels.SET)) != 0
        sets, plain = tests[is_set], tests[~is_set]
        plain = plain[np.lexsort((plain[:, 1], plain[:, 0]))]
        column = (plain[:, 0] // np.uint64(walk_kernels.LANES)).astype(np.int64)
        starts = np.searchsorted(column, np.arange(len(walked.columns) + 1)).astype(np.int64)
        rows = int((np.diff(starts) // stride + 1).sum())
        kept: U64 = np.zeros((rows, len(trees)), np.uint64)
        marks: U64 = np.zeros(rows, np.uint64)
        first: I64 = np.zeros(len(starts), np.int64)
        bound, tree, mask = (np.ascontiguousarray(plain[:, i]) for i in (1, 2, 3))
        mask_kernels.keep(starts, bound, tree, mask, stride, first, marks, kept)
        return cls(
            starts,
            bound,
            tree.astype(np.uint32),
            _of_width(mask, word),
            stride,
            first,
            marks,
            _of_width(kept, word),
            sets[:, 0] & np.uint64(walk_kernels.SET - 1),
            sets[:, 1],
            sets[:, 2].astype(np.uint32),
            _of_width(sets[:, 3], word),
            values,
        )


def _of_width(masks: U64, word: Any) -> Word:
    narrowed: Word = masks.astype(word, copy=False)
    return narrowed

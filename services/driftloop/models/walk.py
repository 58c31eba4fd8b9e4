"""Binary trees with numeric splits and splits on sets of categories: what all tree families share.

Nodes of all trees lie end to end; a child is a node's index, greater than its parent's, or ``~i``
for leaf ``i``. No node has two parents; a leaf may have. Arrays, for T trees, N nodes, G sets:

- ``roots`` int32 (T,): node, or ``~leaf`` for a tree that is one leaf
- ``feature`` int32 (N,): index among the numeric features; among the categorical ones where the
  node compares codes or asks for a set
- ``threshold`` float64 (N,): values up to it go left (inf: all but missing ones); unused (0) in
  set nodes
- ``left``, ``right`` int32 (N,)
- ``default_left`` uint8 (N,): 1 when missing values go left
- ``missing_type`` uint8 (N,): LightGBM's 0 none (a missing number is taken for 0), 1 zero, 2 NaN,
  for all of which numbers up to 1e-35 are zero; 3 the threshold is for the category's code, and
  what has none is missing; 4 NaN, and numbers are taken as they are
- ``bitset`` int32 (N,): which set of categories goes left, -1 in nodes with a threshold
- ``bitset_bounds`` int32 (G + 1,), ``bitset_words`` uint32: set g is the bits of the words
  [bounds[g], bounds[g + 1]), lowest first. Bit 0 is a missing category, bit 1 one that is not in
  the vocabulary, bit i + 2 the vocabulary's category i
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import I32, I64, U64
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks, walk_kernels

NODE_ARRAYS: Mapping[str, type[np.generic]] = {
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "default_left": np.uint8,
    "missing_type": np.uint8,
    "bitset": np.int32,
}
ARRAYS = (*NODE_ARRAYS, "roots", "bitset_bounds", "bitset_words")
MAX_TREES = 100_000
MAX_DEPTH = 1024
MAX_NODES = 20_000_000
MAX_STEPS = 4_000_000
"""Of one row in the worst case: tens of milliseconds. As many trees as there may be can be 39 deep;
10,000 of 31 leaves take 310,000 at most, and 200 Hoeffding trees as deep as they are trained, with
naive Bayes over a hundred numbers and ten classes, less than 400,000."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Checked trees in the layout of ``models.walk_kernels``."""

    nodes: U64
    words: U64
    """Sets, in words of 64 bits; word 0 is empty."""
    columns: I64
    """Shape (J, 3): feature, how its value is taken, whether missing goes left."""
    trees: I64
    """Shape (T, 4), in order of the artifact."""
    leaf_of: I32
    """Per node, the leaf it is; -1 where it is none."""

    def by_depth(self, count: int) -> I64:
        """The first ``count`` trees, shallow ones first."""
        trees = self.trees[:count]
        return np.ascontiguousarray(trees[np.argsort(trees[:, walk_kernels.DEPTH], kind="stable")])


def load(
    arrays: Mapping[str, npt.NDArray[Any]], numeric: int, categorical: int, leaves: int
) -> Walk:
    """Raises ``ArtifactError``: nothing out of range, no cycle, no node of two parents, no path so
    long that scoring would seem to hang."""
    count = len(checks.array(arrays, "left", np.int32))
    if count > MAX_NODES:
        raise ArtifactError(f"{count} nodes, at most {MAX_NODES}")
    nodes = {
        name: checks.array(arrays, name, kind, count, infinite=name == "threshold")
        for name, kind in NODE_ARRAYS.items()
    }
    roots = checks.array(arrays, "roots", np.int32)
    if len(roots) > MAX_TREES:
        raise ArtifactError(f"{len(roots)} trees, at most {MAX_TREES}")
    _check_links(roots, nodes["left"], nodes["right"], leaves)
    checks.within("default_left", nodes["default_left"], 0, 1)
    checks.within("missing_type", nodes["missing_type"], 0, walk_kernels.EXACT)

    words = checks.array(arrays, "bitset_words", np.uint32)
    bounds = checks.bounds(arrays, "bitset_bounds", len(words))
    checks.within("bitset", nodes["bitset"], -1, len(bounds) - 2)
    sets = nodes["bitset"] >= 0
    coded = sets | (nodes["missing_type"] == walk_kernels.CODE)
    checks.within("feature", nodes["feature"][~coded], 0, numeric - 1)
    checks.within("feature", nodes["feature"][coded], 0, categorical - 1)
    return _laid_out(roots, nodes, sets, words, bounds.astype(np.int64))


def check_steps(steps: I64) -> None:
    """``steps``: of one row in the worst case, per tree that every row is sent through, whatever
    that tree asks included. Raises ``ArtifactError`` where they are more than MAX_STEPS."""
    total = int(steps.sum(dtype=np.float64))
    if total > MAX_STEPS:
        most = int(steps.argmax())
        raise ArtifactError(
            f"a row may take {total} steps through {len(steps)} trees and what they ask, "
            f"{int(steps[most])} of them from tree {most} on; at most {MAX_STEPS}"
        )


def _check_links(roots: I32, left: I32, right: I32, leaves: int) -> None:
    count = len(left)
    checks.within("roots", roots, -leaves, count - 1)
    parents = np.arange(count)
    for name, child in (("left", left), ("right", right)):
        checks.within(name, child, -leaves, count - 1)
        if ((child >= 0) & (child <= parents)).any():
            raise ArtifactError(
                f"array {name!r}: a child must have a greater index than its parent"
            )
    references = np.concatenate([roots, left, right])
    if len(references) and np.bincount(references[references >= 0], minlength=1).max() > 1:
        raise ArtifactError("a node has two parents")
    depth = walk_kernels.largest_depth(left, right)
    if depth > MAX_DEPTH:
        raise ArtifactError(f"a tree is {depth} deep, at most {MAX_DEPTH}")


def _laid_out(
    roots: I32,
    nodes: Mapping[str, npt.NDArray[Any]],
    sets: npt.NDArray[np.bool_],
    words: npt.NDArray[np.uint32],
    bounds: I64,
) -> Walk:
    # A column of its own for each way in which a feature is taken: then a step need not ask. Told
    # apart as one number each: rows of three take far longer to sort.
    kind = np.where(sets, walk_kernels.IN_SET, nodes["missing_type"]).astype(np.int64)
    default = np.where(sets | (kind == walk_kernels.MISSING_NONE), 0, nodes["default_left"])
    shape = (checks.MAX_COLUMNS, walk_kernels.IN_SET + 1, 2)
    ways = np.ravel_multi_index((nodes["feature"], kind, default), shape)
    distinct, column = np.unique(ways, return_inverse=True)
    columns = np.stack(np.unravel_index(distinct, shape), axis=1)
    place: U64 = column.reshape(-1).astype(np.uint64) * np.uint64(walk_kernels.LANES)
    place[sets] |= np.uint64(walk_kernels.SET)

    # Pairs of 32-bit words make one of 64; each set starts in a word of its own.
    sizes = (np.diff(bounds) + 1) // 2
    starts = np.concatenate(([0], np.cumsum(sizes))) + 1
    wide = np.zeros(int(starts[-1]), dtype=np.uint64)
    owner = np.repeat(np.arange(len(sizes)), np.diff(bounds))
    word = np.arange(len(words)) - bounds[owner]
    shift = (word % 2 * 32).astype(np.uint64)
    np.bitwise_or.at(wide, starts[owner] + word // 2, words.astype(np.uint64) << shift)
    threshold = walk_kernels.keys(np.where(sets, 0.0, nodes["threshold"]))
    group = nodes["bitset"][sets]
    threshold[sets] = (starts[group].astype(np.uint64) << np.uint64(32)) | sizes[group].astype(
        np.uint64
    )

    laid, leaf_of, trees = walk_kernels.lay_out(
        roots, nodes["left"], nodes["right"], threshold, place
    )
    # Leaves and dummies read the first column: there must be one.
    if not len(columns):
        columns = np.zeros((0, 3), dtype=np.int64)
    is_set = (laid[1::2] & np.uint64(walk_kernels.SET)) != 0
    ends = np.append(trees[1:, 0], len(leaf_of))
    before = np.concatenate(([0], np.cumsum(is_set)))
    mixed = before[ends] > before[trees[:, 0]]
    described = np.column_stack([trees, mixed, np.arange(len(trees))]).astype(np.int64)
    return Walk(
        laid,
        wide,
        np.ascontiguousarray(columns, dtype=np.int64),
        np.ascontiguousarray(described),
        leaf_of,
    )

"""Frozen sums of trees: gradient boosting, binary, multiclass and regression.

Arrays: those of ``models.walk``, whose trees go round the classes (tree i adds to class i modulo
C), and ``leaf`` float64 (L,). Attributes: ``vocabularies``; ``numeric``, the number of numeric
features; ``link`` (``logistic``, ``softmax``, ``identity``); ``classes``, C, 1 unless the link is
softmax; ``sigmoid``, the factor on the sum under the logistic function. The rules are LightGBM's
(``Tree::NumericalDecision``, ``Tree::CategoricalDecision`` in its ``tree.h``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from driftloop.kernel.codec.blocks import F64, I32, U64, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks, walk
from driftloop.models.encoding import MAX_LEVELS, Encoding
from driftloop.models.inputs import inputs
from driftloop.models.link_kernels import LINKS, SOFTMAX, apply_link
from driftloop.models.walk_kernels import (
    FEW_ROWS,
    LANES,
    fill,
    tile_size,
    tiles_per_block,
    walk_row,
    walk_tiles,
)

FAMILY = "trees"
ARRAYS = (*walk.ARRAYS, "leaf")
MAX_LEAF = 1e100
_HEAD = 8


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def ensemble_scores(numeric: F64, codes: I32, packed: U64) -> F64:
    """Shape (n, C). Every row sums over the trees in order, whatever its batch.

    ``packed``, as ``_packed`` makes it: a call takes time for each array it gets, and for a single
    row that is a good part of all the time there is.
    """
    classes = np.int64(packed[0])
    link = np.int64(packed[1])
    sigmoid = packed[2:3].view(np.float64)[0]
    count = np.int64(packed[3])
    used_columns = np.int64(packed[4])
    nodes_end = np.int64(packed[5])
    words_end = np.int64(packed[6])
    leaf_end = np.int64(packed[7])
    trees_end = leaf_end + 4 * count
    sorted_end = trees_end + 4 * count
    nodes = packed[_HEAD:nodes_end]
    words = packed[nodes_end:words_end]
    leaf = packed[words_end:leaf_end].view(np.float64)
    trees = packed[leaf_end:trees_end].view(np.int64).reshape(count, 4)
    by_depth = packed[trees_end:sorted_end].view(np.int64).reshape(count, 4)
    columns_end = sorted_end + 3 * used_columns
    columns = packed[sorted_end:columns_end].view(np.int64).reshape(used_columns, 3)
    rows = numeric.shape[0]
    out = np.zeros((rows, classes), dtype=np.float64)
    size = tile_size(len(columns))
    if rows <= FEW_ROWS:
        tiles = np.zeros(size, dtype=np.uint64)
        ends = np.empty(len(trees), dtype=np.uint64)
        for row in range(rows):
            fill(tiles, numeric, codes, row, row + 1, columns, 1)
            walk_row(by_depth, nodes, tiles, words, ends)
            for tree in range(len(trees)):
                out[row, tree % classes] += leaf[ends[tree]]
        apply_link(out, link, sigmoid)
        return out
    block = tiles_per_block(len(columns), rows)
    tiles = np.zeros(block * size, dtype=np.uint64)
    ends = np.empty(block * LANES, dtype=np.uint64)
    sums = np.empty((classes, block * LANES), dtype=np.float64)
    for first in range(0, rows, block * LANES):
        last = min(first + block * LANES, rows)
        used = (last - first + LANES - 1) // LANES
        fill(tiles, numeric, codes, first, last, columns, LANES)
        sums[:] = 0.0
        c = 0
        for tree in range(len(trees)):
            walk_tiles(trees, tree, nodes, tiles, size, used, words, ends)
            for i in range(used * LANES):
                sums[c, i] += leaf[ends[i]]
            c = c + 1 if c + 1 < classes else 0
        for row in range(first, last):
            for c in range(classes):
                out[row, c] = sums[c, row - first]
    apply_link(out, link, sigmoid)
    return out


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """See the module."""

    encoding: Encoding
    numeric: int
    packed: U64

    def score(self, features: Features) -> F64:
        """Shape (n, C)."""
        scores: F64 = ensemble_scores(*inputs(features, self.numeric, self.encoding), self.packed)
        return scores


def load(arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> TreeEnsemble:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ARRAYS)
    checks.names(
        "attributes", attributes, ("vocabularies", "numeric", "link", "classes", "sigmoid")
    )
    encoding = Encoding(checks.vocabularies(attributes, MAX_LEVELS))
    numeric = checks.integer(attributes, "numeric", 0, checks.MAX_COLUMNS)
    sigmoid = checks.number(attributes, "sigmoid", 1e-6, 1e6)
    link = LINKS[checks.choice(attributes, "link", LINKS)]
    classes = checks.integer(attributes, "classes", 1, checks.MAX_CLASSES)
    if (classes > 1) != (link == SOFTMAX):
        raise ArtifactError(f"{classes} classes do not go with the link {attributes['link']!r}")
    leaf = checks.array(arrays, "leaf", np.float64)
    checks.largest("leaf", leaf, MAX_LEAF)
    walked = walk.load(arrays, numeric, len(encoding.vocabularies), len(leaf))
    return TreeEnsemble(encoding, numeric, _packed(walked, leaf, classes, link, sigmoid))


def _packed(walked: walk.Walk, leaf: F64, classes: int, link: int, sigmoid: float) -> U64:
    """The whole model in one array: a head, then nodes, words, leaves by node, trees, trees by
    depth and columns, end to end."""
    by_node = np.zeros(len(walked.leaf_of))
    by_node[walked.leaf_of >= 0] = leaf[walked.leaf_of[walked.leaf_of >= 0]]
    count = len(walked.trees)
    parts = [
        np.ascontiguousarray(part).reshape(-1).view(np.uint64)
        for part in (
            walked.nodes,
            walked.words,
            by_node,
            walked.trees,
            walked.by_depth(count),
            walked.columns,
        )
    ]
    ends = _HEAD + np.cumsum([len(part) for part in parts[:3]])
    head = np.zeros(_HEAD, dtype=np.uint64)
    head[:2] = (classes, link)
    head[2] = np.array([sigmoid]).view(np.uint64)[0]
    head[3:8] = (count, len(walked.columns), *ends.tolist())
    return np.concatenate([head, *parts])

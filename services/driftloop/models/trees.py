"""Frozen sums of trees: gradient boosting, binary, multiclass and regression.

Arrays: those of ``models.walk``, whose trees go round the classes (tree i adds to class i modulo
C), and ``leaf`` float64 (L,). Attributes: ``vocabularies``; ``numeric``, the number of numeric
features; ``link`` (``logistic``, ``softmax``, ``identity``); ``classes``, C, 1 unless the link is
softmax; ``sigmoid``, the factor on the sum under the logistic function. The rules are LightGBM's
(``Tree::NumericalDecision``, ``Tree::CategoricalDecision`` in its ``tree.h``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray, njit

from driftloop.kernel.codec.blocks import F64, I32, I64, U64, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks, walk
from driftloop.models.encoding import MAX_LEVELS, Encoding
from driftloop.models.inputs import inputs
from driftloop.models.link_kernels import LINKS, SOFTMAX, apply_link
from driftloop.models.mask_kernels import Word, leaf_place, rule_out, rule_out_sets
from driftloop.models.masks import Masks
from driftloop.models.row_entry import quick_for_a_row
from driftloop.models.walk_kernels import (
    DEPTH,
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
_CLASSES, _LINK, _SIGMOID, _MASKED, _STRIDE, _NUMERIC, _CATEGORICAL, _STARTS = range(8)
"""Words of the head of a packed model; where its parts start comes last."""
NARROW, WIDE = 1, 2
"""Masks of 32 bits, or of 64; 0: none."""
_PARTS = (
    "nodes", "words", "leaf", "trees", "by_depth", "columns", "starts", "bound", "tree", "mask",
    "first", "marks", "kept", "set_column", "set_bound", "set_tree", "set_mask", "values",
)  # fmt: skip
_HEAD = _STARTS + len(_PARTS) + 1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _part(packed: U64, number: int) -> U64:
    return packed[np.int64(packed[_STARTS + number]) : np.int64(packed[_STARTS + number + 1])]


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def ensemble_scores(numeric: F64, codes: I32, packed: U64) -> F64:
    """Shape (n, C). Every row sums over the trees in order, whatever its batch.

    ``packed``, as ``_packed`` makes it: a call takes time for each array it gets, and for a single
    row that is a good part of all the time there is.
    """
    out = np.zeros((numeric.shape[0], np.int64(packed[_CLASSES])), dtype=np.float64)
    score_into(numeric, codes, packed, out)
    return out


def score_row(numeric, codes, model, out):  # type: ignore[no-untyped-def]
    """The scores of one row: a C function of four addresses, see ``models.row_entry``."""
    head = carray(model, (_HEAD,))
    packed = carray(model, (np.int64(head[_STARTS + len(_PARTS)]),))
    numbers = carray(numeric, (1, np.int64(head[_NUMERIC])))
    coded = carray(codes, (1, np.int64(head[_CATEGORICAL])))
    scores = carray(out, (1, np.int64(head[_CLASSES])))
    scores[:] = 0.0
    score_into(numbers, coded, packed, scores)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def score_into(numeric: F64, codes: I32, packed: U64, out: F64) -> None:
    """Adds to ``out``, which is zeros."""
    rows = len(out)
    trees = _part(packed, 3).view(np.int64).reshape(-1, 4)
    columns = _part(packed, 5).view(np.int64).reshape(-1, 3)
    words = _part(packed, 1)
    size = tile_size(len(columns))
    if rows <= FEW_ROWS and packed[_MASKED] != 0:
        if packed[_MASKED] == NARROW:
            bits = np.empty(len(trees), np.uint32)
            _mask_rows(numeric, codes, packed, words, columns, size, bits, out)
        else:
            wide = np.empty(len(trees), np.uint64)
            _mask_rows(numeric, codes, packed, words, columns, size, wide, out)
    elif rows <= FEW_ROWS:
        _walk_rows(numeric, codes, packed, words, columns, size, out)
    else:
        _walk_batch(numeric, codes, packed, words, columns, size, trees, out)
    apply_link(out, np.int64(packed[_LINK]), packed[_SIGMOID : _SIGMOID + 1].view(np.float64)[0])


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _mask_rows(
    numeric: F64,
    codes: I32,
    packed: U64,
    words: U64,
    columns: I64,
    size: int,
    bits: Word,
    out: F64,
) -> None:
    classes = out.shape[1]
    halves, masks, values = packed.view(np.uint32), packed.view(bits.dtype), packed.view(np.float64)
    two = np.uint64(2)
    wide = np.uint64(len(masks) // len(packed))
    leaves = packed[_STARTS + 17]
    width = np.uint64(8 * masks.itemsize)
    tile = np.empty(size, dtype=np.uint64)
    for row in range(len(numeric)):
        fill(tile, numeric, codes, row, row + 1, columns, 1)
        rule_out(
            tile,
            np.uint64(len(columns)),
            packed[_STRIDE],
            packed,
            packed[_STARTS + 6],
            packed[_STARTS + 7],
            packed[_STARTS + 10],
            packed[_STARTS + 11],
            halves,
            packed[_STARTS + 8] * two,
            masks,
            packed[_STARTS + 9] * wide,
            packed[_STARTS + 12] * wide,
            bits,
        )
        if packed[_STARTS + 13] != packed[_STARTS + 14]:
            set_tree, set_mask = _part(packed, 15).view(np.uint32), _part(packed, 16)
            rule_out_sets(
                tile,
                _part(packed, 13),
                _part(packed, 14),
                set_tree,
                set_mask.view(bits.dtype),
                words,
                bits,
            )
        if classes == 1:
            total = 0.0
            for i in range(np.uint64(len(bits))):
                total += values[leaves + i * width + leaf_place(bits[i])]
            out[row, 0] = total
        else:
            for i in range(np.uint64(len(bits))):
                value = values[leaves + i * width + leaf_place(bits[i])]
                out[row, np.int64(i) % classes] += value


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _walk_rows(
    numeric: F64, codes: I32, packed: U64, words: U64, columns: I64, size: int, out: F64
) -> None:
    classes = out.shape[1]
    nodes, leaf = _part(packed, 0), _part(packed, 2).view(np.float64)
    by_depth = _part(packed, 4).view(np.int64).reshape(-1, 4)
    tiles = np.zeros(size, dtype=np.uint64)
    ends = np.empty(len(by_depth), dtype=np.uint64)
    for row in range(len(numeric)):
        fill(tiles, numeric, codes, row, row + 1, columns, 1)
        walk_row(by_depth, nodes, tiles, words, ends)
        for tree in range(len(ends)):
            out[row, tree % classes] += leaf[ends[tree]]


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _walk_batch(
    numeric: F64,
    codes: I32,
    packed: U64,
    words: U64,
    columns: I64,
    size: int,
    trees: I64,
    out: F64,
) -> None:
    rows, classes = out.shape
    nodes, leaf = _part(packed, 0), _part(packed, 2).view(np.float64)
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


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """See the module."""

    encoding: Encoding
    numeric: int
    packed: U64
    score: Callable[[Features], F64]
    """Scores of shape (n, C)."""


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
    walk.check_steps(walked.trees[:, DEPTH] + 1)
    packed = _packed(walked, leaf, classes, link, sigmoid)
    categorical = len(encoding.vocabularies)
    packed[[_NUMERIC, _CATEGORICAL]] = (numeric, categorical)

    def batch(features: Features) -> F64:
        scores: F64 = ensemble_scores(*inputs(features, numeric, encoding), packed)
        return scores

    score = quick_for_a_row(score_row, packed, (numeric, classes), encoding, batch)
    return TreeEnsemble(encoding, numeric, packed, score)


def _packed(walked: walk.Walk, leaf: F64, classes: int, link: int, sigmoid: float) -> U64:
    """The whole model in one array: a head, then the parts, end to end. Those from ``starts`` on
    are empty where a tree has more leaves than a mask has bits."""
    by_node = np.zeros(len(walked.leaf_of))
    by_node[walked.leaf_of >= 0] = leaf[walked.leaf_of[walked.leaf_of >= 0]]
    masks = Masks.of(walked, by_node)
    parts: list[npt.NDArray[Any]] = [
        walked.nodes,
        walked.words,
        by_node,
        walked.trees,
        walked.by_depth(len(walked.trees)),
        walked.columns,
    ]
    if masks is not None:
        parts += [getattr(masks, name) for name in _PARTS[len(parts) :]]
    flat = [_words(part) for part in parts]
    head = np.zeros(_HEAD, dtype=np.uint64)
    head[[_CLASSES, _LINK]] = (classes, link)
    head[_SIGMOID] = np.array([sigmoid]).view(np.uint64)[0]
    if masks is not None:
        head[_MASKED] = NARROW if masks.mask.dtype == np.uint32 else WIDE
    head[_STRIDE] = 0 if masks is None else masks.stride
    ends = _HEAD + np.cumsum([0, *(len(part) for part in flat)])
    head[_STARTS : _STARTS + len(ends)] = ends
    head[_STARTS + len(ends) :] = ends[-1]
    return np.concatenate([head, *flat])


def _words(part: npt.NDArray[Any]) -> U64:
    """An array's bytes in words of 64 bits, zeros behind them."""
    raw = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    padded = np.zeros(-(-len(raw) // 8) * 8, np.uint8)
    padded[: len(raw)] = raw
    return padded.view(np.uint64)

"""Frozen tree ensembles with numeric splits and splits on sets of categories.

Nodes of all trees lie end to end; a child is a node's index, greater than its parent's, or ``~i``
for leaf ``i``. Arrays, for T trees, N nodes, L leaves, G sets of categories:

- ``roots`` int32 (T,): node, or ``~leaf`` for a tree that is one leaf
- ``feature`` int32 (N,): index among the numeric features, or, where ``bitset`` is not negative,
  among the categorical ones
- ``threshold`` float64 (N,): values up to it go left (inf: all but missing ones); unused (0) in
  categorical nodes
- ``left``, ``right`` int32 (N,)
- ``default_left`` uint8 (N,): 1 when missing numbers go left
- ``missing_type`` uint8 (N,): 0 none (a missing number is taken for 0), 1 zero, 2 NaN
- ``bitset`` int32 (N,): which set of categories goes left, -1 in numeric nodes; missing and unseen
  categories go right
- ``bitset_bounds`` int32 (G + 1,), ``bitset_words`` uint32: set g is the bits of the words
  [bounds[g], bounds[g + 1]), lowest first
- ``leaf`` float64 (L,)

Attributes: ``vocabularies``; ``numeric``, the number of numeric features; ``sigmoid``, the factor
on the sum of leaves. The rules are LightGBM's (``Tree::NumericalDecision``,
``Tree::CategoricalDecision`` in its ``tree.h``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I32, Features
from driftloop.kernel.errors import ArtifactError
from driftloop.models import checks
from driftloop.models.encoding import MAX_LEVELS, Encoding
from driftloop.models.ports import native
from driftloop.models.tree_kernels import U8, U32, ensemble_scores, largest_depth

FAMILY = "trees"
NODE_ARRAYS: Mapping[str, type[np.generic]] = {
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "default_left": np.uint8,
    "missing_type": np.uint8,
    "bitset": np.int32,
}
ARRAYS = (*NODE_ARRAYS, "roots", "bitset_bounds", "bitset_words", "leaf")
MAX_TREES = 100_000
MAX_DEPTH = 1024
MAX_LEAF = 1e12


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """See the module."""

    encoding: Encoding
    numeric: int
    roots: I32
    feature: I32
    threshold: F64
    left: I32
    right: I32
    default_left: U8
    missing_type: U8
    bitset: I32
    bitset_bounds: I32
    bitset_words: U32
    leaf: F64
    sigmoid: float

    def score(self, features: Features) -> F64:
        """Shape (n, 1)."""
        checks.shape(features, self.numeric, len(self.encoding.vocabularies))
        scores: F64 = ensemble_scores(
            native(features.numeric, np.float64),
            self.encoding.encode(features.categories),
            self.roots,
            self.feature,
            self.threshold,
            self.left,
            self.right,
            self.default_left,
            self.missing_type,
            self.bitset,
            self.bitset_bounds,
            self.bitset_words,
            self.leaf,
            self.sigmoid,
        )
        return scores


def load(arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> TreeEnsemble:
    """Raises ``ArtifactError``."""
    checks.names("arrays", arrays, ARRAYS)
    checks.names("attributes", attributes, ("vocabularies", "numeric", "sigmoid"))
    encoding = Encoding(checks.vocabularies(attributes, MAX_LEVELS))
    numeric = checks.integer(attributes, "numeric", 0, checks.MAX_COLUMNS)
    sigmoid = checks.number(attributes, "sigmoid", 1e-6, 1e6)

    leaf = checks.array(arrays, "leaf", np.float64)
    if float(np.abs(leaf).max(initial=0.0)) > MAX_LEAF:
        raise ArtifactError(f"array 'leaf' holds values larger than {MAX_LEAF:g}")
    leaves = len(leaf)
    count = len(checks.array(arrays, "left", np.int32))
    nodes = {
        name: checks.array(arrays, name, kind, count, infinite=name == "threshold")
        for name, kind in NODE_ARRAYS.items()
    }
    _check_links(nodes["left"], nodes["right"], count, leaves)
    roots = checks.array(arrays, "roots", np.int32)
    if len(roots) > MAX_TREES:
        raise ArtifactError(f"{len(roots)} trees, at most {MAX_TREES}")
    checks.within("roots", roots, -leaves, count - 1)
    checks.within("default_left", nodes["default_left"], 0, 1)
    checks.within("missing_type", nodes["missing_type"], 0, 2)

    words = checks.array(arrays, "bitset_words", np.uint32)
    bounds = checks.array(arrays, "bitset_bounds", np.int32)
    if not len(bounds) or bounds[0] != 0 or bounds[-1] != len(words) or (np.diff(bounds) < 0).any():
        raise ArtifactError("array 'bitset_bounds' must ascend from 0 to the number of words")
    checks.within("bitset", nodes["bitset"], -1, len(bounds) - 2)
    categorical = nodes["bitset"] >= 0
    checks.within("feature", nodes["feature"][~categorical], 0, numeric - 1)
    checks.within("feature", nodes["feature"][categorical], 0, len(encoding.vocabularies) - 1)
    return TreeEnsemble(
        encoding,
        numeric,
        roots,
        bitset_bounds=bounds,
        bitset_words=words,
        leaf=leaf,
        sigmoid=sigmoid,
        **nodes,
    )


def _check_links(left: I32, right: I32, count: int, leaves: int) -> None:
    """No cycles, nothing out of range, no path so long that scoring would seem to hang."""
    parents = np.arange(count)
    for name, child in (("left", left), ("right", right)):
        checks.within(name, child, -leaves, count - 1)
        if ((child >= 0) & (child <= parents)).any():
            raise ArtifactError(
                f"array {name!r}: a child must have a greater index than its parent"
            )
    depth = largest_depth(left, right)
    if depth > MAX_DEPTH:
        raise ArtifactError(f"a tree is {depth} deep, at most {MAX_DEPTH}")

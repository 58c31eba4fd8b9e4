"""Freezes the branches of River's Hoeffding trees; the leaves are the caller's.

Multi-way and nominal branches become binary nodes: a set that holds whatever goes to the branch's
most common child (missing values and categories it does not know go there), then a balanced tree
over the codes of the other children.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.errors import TrainingError
from driftloop.models.encoding import Encoding
from driftloop.models.river_rows import column_of
from driftloop.models.walk_builder import (
    FIRST_LEVEL,
    MISSING_BIT,
    UNSEEN_BIT,
    WalkBuilder,
    interval_tree,
)

Place = tuple[str, int]
_Pending = tuple[Any, Place, tuple[int, ...], int]
LeafTaker = Callable[[Any], int]
"""Takes a River leaf, None for a tree that has learnt nothing; gives its index. Indices count
from 0."""


def freeze_trees(
    roots: list[Any], encoding: Encoding, weights: list[float], take: LeafTaker
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of ``models.forest``. Raises ``TrainingError`` for what cannot be frozen."""
    builder = WalkBuilder()
    waiting = list(roots)
    asked: list[tuple[int, ...]] = []
    tree = 0
    while tree < len(waiting):
        builder.roots.append(0)
        pending: list[_Pending] = [(waiting[tree], ("roots", tree), (), 1)]
        while pending:
            node, place, also, times = pending.pop()
            if node is None or not hasattr(node, "children"):
                leaf = take(node)
                asked.append(also)
                if leaf != len(asked) - 1:
                    raise TrainingError("leaves must be taken in order")
                builder.link(place, ~leaf)
                continue
            if _alternate(node) is not None:
                also = (*also, *(len(waiting),) * times)
                waiting.append(_alternate(node))
            pending += [
                (child, at, also, again)
                for child, at, again in _branch(builder, encoding, node, place)
            ]
        tree += 1
    return {
        **builder.arrays(),
        "weights": np.array(weights, dtype=np.float64),
        "also": np.array([i for also in asked for i in also], dtype=np.int32),
        "also_bounds": np.cumsum([0, *(len(also) for also in asked)]).astype(np.int32),
    }


def _alternate(node: Any) -> Any:
    return getattr(node, "_alternate_tree", None)


def _branch(
    builder: WalkBuilder, encoding: Encoding, node: Any, place: Place
) -> list[tuple[Any, Place, int]]:
    """The branch's children, each with the place to link it, and how often its alternate is asked.

    A row whose value is missing, or leads nowhere, goes to the most common child. River then meets
    that child twice on the way, and asks its alternate twice; so there is a copy of the child for
    such rows where it has an alternate.
    """
    # Here, not above: a process that only scores does not load River.
    from river.tree.nodes import branch

    nominal, feature = column_of(node.feature)
    common, _ = node.most_common_path()
    multiway = isinstance(node, branch.NominalMultiwayBranch) and nominal
    apart = _alternate(node.children[common]) is not None
    found: list[tuple[Any, Place, int]] = []
    if apart:
        if nominal:
            known = {_bit(code, feature, encoding) for code in node._mapping} if multiway else None
            at = builder.in_set(feature, _others(known, feature, encoding))
            astray, rest = ("left", at), ("right", at)
        else:
            at = builder.threshold(feature, math.inf, default_left=False)
            astray, rest = ("right", at), ("left", at)
        builder.link(place, at)
        found.append((node.children[common], astray, 2))
        place = rest
    if multiway:
        return [*found, *_multiway(builder, encoding, node, place, feature, common, apart)]
    if isinstance(node, branch.NumericBinaryBranch) and not nominal:
        at = builder.threshold(feature, node.threshold, default_left=common == 0)
    elif isinstance(node, branch.NominalBinaryBranch) and nominal:
        missing = [MISSING_BIT] if common == 0 else []
        at = builder.in_set(feature, [_bit(node.value, feature, encoding), *missing])
    else:
        raise TrainingError(f"a branch of type {type(node).__name__} cannot be frozen")
    builder.link(place, at)
    left, right = node.children
    return [*found, (left, ("left", at), 1), (right, ("right", at), 1)]


def _multiway(
    builder: WalkBuilder,
    encoding: Encoding,
    node: Any,
    place: Place,
    feature: int,
    common: int,
    apart: bool,
) -> list[tuple[Any, Place, int]]:
    """``apart``: what leads nowhere has been sent elsewhere."""
    kept = [(code, child) for code, child in sorted(node._mapping.items()) if child != common]
    found: list[tuple[Any, Place, int]] = []
    if kept and not apart:
        known = {_bit(code, feature, encoding) for code, _ in kept}
        at = builder.in_set(feature, _others(known, feature, encoding))
        builder.link(place, at)
        found.append((node.children[common], ("left", at), 1))
        place = ("right", at)
    elif apart:
        kept = sorted(node._mapping.items())
    else:
        return [(node.children[common], place, 1)]
    places = interval_tree(builder, feature, [code for code, _ in kept], place)
    children = [node.children[child] for _, child in kept]
    return [*found, *((child, at, 1) for child, at in zip(children, places, strict=True))]


def _others(known: set[int] | None, feature: int, encoding: Encoding) -> set[int]:
    """The bits of what is missing or not among the known; None: of what is missing only."""
    if known is None:
        return {MISSING_BIT}
    return set(range(FIRST_LEVEL + len(encoding.vocabularies[feature]))) - known


def _bit(code: int, feature: int, encoding: Encoding) -> int:
    size = len(encoding.vocabularies[feature])
    return UNSEEN_BIT if code >= size else FIRST_LEVEL + code

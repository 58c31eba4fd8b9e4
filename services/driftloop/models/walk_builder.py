"""Makes the arrays of ``models.walk`` from nodes that are added one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.models import walk
from driftloop.models.walk_kernels import CODE, EXACT

MISSING_BIT, UNSEEN_BIT, FIRST_LEVEL = 0, 1, 2
"""Bits of a set of categories."""


class WalkBuilder:
    """Children get greater indices than their parents: a parent is added, then what is below it."""

    def __init__(self) -> None:
        self._nodes: dict[str, list[Any]] = {name: [] for name in walk.NODE_ARRAYS}
        self._words: list[int] = []
        self._bounds = [0]
        self.roots: list[int] = []

    def threshold(self, feature: int, threshold: float, *, default_left: bool) -> int:
        """A node that sends numbers up to a threshold left; its index."""
        return self._add(feature, threshold, default_left, EXACT, -1)

    def codes_up_to(self, feature: int, code: int) -> int:
        """A node that sends codes up to this one left, and what has no code right; its index."""
        return self._add(feature, float(code), False, CODE, -1)

    def in_set(self, feature: int, bits: Collection[int]) -> int:
        """A node that sends categories with these bits left; its index."""
        whole = sum(1 << bit for bit in set(bits))
        size = (whole.bit_length() + 31) // 32
        self._words += [whole >> 32 * i & 0xFFFFFFFF for i in range(size)]
        self._bounds.append(len(self._words))
        return self._add(feature, 0.0, False, 0, len(self._bounds) - 2)

    def link(self, parent: tuple[str, int], child: int) -> None:
        """``parent``: ("left" or "right", node), or ("roots", tree)."""
        name, index = parent
        (self.roots if name == "roots" else self._nodes[name])[index] = child

    def _add(
        self, feature: int, threshold: float, default_left: bool, missing_type: int, group: int
    ) -> int:
        values = (feature, threshold, 0, 0, int(default_left), missing_type, group)
        for name, value in zip(walk.NODE_ARRAYS, values, strict=True):
            self._nodes[name].append(value)
        return len(self._nodes["left"]) - 1

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            **{
                name: np.array(self._nodes[name], dtype=walk.NODE_ARRAYS[name])
                for name in walk.NODE_ARRAYS
            },
            "roots": np.array(self.roots, dtype=np.int32),
            "bitset_bounds": np.array(self._bounds, dtype=np.int32),
            "bitset_words": np.array(self._words, dtype=np.uint32),
        }


def interval_tree(
    builder: WalkBuilder, feature: int, codes: Sequence[int], parent: tuple[str, int]
) -> list[tuple[str, int]]:
    """Below ``parent``, a balanced tree that tells these ascending codes apart: for each of them
    the place to link what comes under it."""
    places: dict[int, tuple[str, int]] = {}
    pending = [(0, len(codes), parent)]
    while pending:
        low, high, place = pending.pop()
        if high - low == 1:
            places[low] = place
            continue
        middle = (low + high) // 2
        node = builder.codes_up_to(feature, codes[middle - 1])
        builder.link(place, node)
        pending += [(low, middle, ("left", node)), (middle, high, ("right", node))]
    return [places[i] for i in range(len(codes))]

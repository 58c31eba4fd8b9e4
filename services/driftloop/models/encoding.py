"""The frozen encoding of categories: a vocabulary per column, learned from training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import I32, Categories

MAX_LEVELS = 4096
"""Levels kept per column; rarer ones are encoded as unseen."""
MISSING, UNSEEN = -1, -2
_FEW_ROWS = 16


@dataclass(frozen=True, slots=True)
class Encoding:
    """Model codes of strings: the index in the column's vocabulary, MISSING or UNSEEN."""

    vocabularies: tuple[tuple[str, ...], ...]
    """Per column, ascending."""
    _lookups: tuple[dict[str, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lookups = tuple({level: i for i, level in enumerate(v)} for v in self.vocabularies)
        object.__setattr__(self, "_lookups", lookups)

    @classmethod
    def fit(cls, categories: Categories, max_levels: int = MAX_LEVELS) -> Encoding:
        """The levels that occur in the rows, the ``max_levels`` most frequent of each column (of
        equally frequent ones the first in order). Does not depend on the block's dictionary."""
        kept = []
        for column, levels in enumerate(categories.levels):
            counts = level_counts(categories, column)
            seen = sorted(
                (i for i in range(len(levels)) if counts[i]),
                key=lambda i, counts=counts, levels=levels: (-int(counts[i]), levels[i]),  # type: ignore[misc]
            )
            kept.append(tuple(sorted(levels[i] for i in seen[:max_levels])))
        return cls(tuple(kept))

    def encode(self, categories: Categories) -> I32:
        """Shape (n, K). One lookup per level of the block, then one gather per column; of few rows,
        one lookup per value."""
        given = categories.codes
        codes = np.empty(given.shape, dtype=np.int32)
        rows, columns = given.shape
        if rows * columns == 0:
            return codes
        levels = categories.levels
        if len(levels) != columns or len(self._lookups) != columns:
            raise ValueError(f"{columns} columns of codes, {len(levels)} of levels")
        if rows <= _FEW_ROWS:
            for row, values in enumerate(given.tolist()):
                for column, code in enumerate(values):
                    codes[row, column] = (
                        self._lookups[column].get(levels[column][code], UNSEEN)
                        if code >= 0
                        else MISSING
                    )
            return codes
        for column, lookup in enumerate(self._lookups):
            names = levels[column]
            places: np.ndarray[Any, Any] = given[:, column]
            if len(names) > rows:
                # Of a block of many models most levels are those of others.
                used, places = np.unique(places, return_inverse=True)
                known = [lookup.get(names[c], UNSEEN) if c >= 0 else MISSING for c in used.tolist()]
            else:
                # The last element answers index -1, which is missing.
                known = [*(lookup.get(level, UNSEEN) for level in names), MISSING]
            codes[:, column] = np.array(known, dtype=np.int32)[places]
        return codes

    def sizes(self) -> Sequence[int]:
        """Levels per column."""
        return [len(vocabulary) for vocabulary in self.vocabularies]


def level_counts(categories: Categories, column: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How often each level of the block's dictionary occurs in a column."""
    codes = categories.codes[:, column]
    counts = np.bincount(codes[codes >= 0], minlength=len(categories.levels[column]))
    return counts.astype(np.int64)

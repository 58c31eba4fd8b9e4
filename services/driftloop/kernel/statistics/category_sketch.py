"""The categorical columns of a window, while rows still come in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.kernel.codec.blocks import I64, Categories
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import CategoricalProfile, CategoricalStatistics


class CategorySketch:
    """Counts of one categorical column on a profile's levels."""

    __slots__ = ("_index", "_levels", "_name", "_tallies")

    def __init__(self, name: str, profile: CategoricalProfile | None) -> None:
        self._name = name
        self._index = None if profile is None else {v: i for i, v in enumerate(profile.levels)}
        self._levels = 0 if profile is None else len(profile.levels)
        self._tallies: I64 = np.zeros(self._levels + 2, dtype=np.int64)
        """Per level, then values that are none of them, then missing ones."""

    def update(self, categories: Categories, column: int, rows: I64) -> I64:
        """Take in the chosen rows of one column of a block. Returns for each of them where it was
        counted: its level, after them unseen, then missing."""
        # Code -1 (missing) indexes the last entry.
        slots = np.empty(len(categories.levels[column]) + 1, dtype=np.int64)
        unseen = self._levels
        if self._index is None:
            slots[:-1] = unseen
        else:
            find = self._index.get
            slots[:-1] = [find(level, unseen) for level in categories.levels[column]]
        slots[-1] = unseen + 1
        found: I64 = slots[categories.codes[rows, column]]
        self._tallies += np.bincount(found, minlength=len(self._tallies))
        return found

    def statistics(self) -> CategoricalStatistics:
        counts = self._tallies.tolist()
        return CategoricalStatistics(
            name=self._name,
            count=sum(counts[:-1]),
            missing=counts[-1],
            levels=tuple(counts[: self._levels]),
            unseen=counts[-2] if self._index is not None else 0,
        )

    def load(self, statistics: CategoricalStatistics) -> None:
        """Go on from a record of the same column and profile. Raises :class:`DecodeError`."""
        if statistics.name != self._name or len(statistics.levels) != self._levels:
            raise DecodeError(
                Reason.MALFORMED,
                f"statistics of {statistics.name!r} with {len(statistics.levels)} levels, "
                f"expected {self._name!r} with {self._levels}",
            )
        other = statistics.count - sum(statistics.levels)
        self._tallies[:] = [*statistics.levels, other, statistics.missing]


def category_sketches(
    names: Sequence[str], profiles: Sequence[CategoricalProfile] | None
) -> tuple[CategorySketch, ...]:
    """One per column; a column the profile does not know has no levels."""
    by_name = {} if profiles is None else {p.name: p for p in profiles}
    return tuple(CategorySketch(name, by_name.get(name)) for name in names)

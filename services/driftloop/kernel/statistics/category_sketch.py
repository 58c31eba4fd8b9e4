"""The categorical columns of a window, while rows still come in."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

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
        self._index = None if profile is None else _index_of(profile.levels)
        self._levels = 0 if profile is None else len(profile.levels)
        self._tallies: I64 = np.zeros(self._levels + 2, dtype=np.int64)
        """Per level, then values that are none of them, then missing ones."""

    def update(self, categories: Categories, column: int, rows: I64) -> I64:
        """Take in the chosen rows of one column of a block. Returns for each of them where it was
        counted: its level, after them unseen, then missing."""
        levels, codes = categories.levels[column], categories.codes[rows, column]
        used: I64 | None = None
        if len(levels) > len(codes):
            # Of a block of many models most levels are those of others.
            used, codes = np.unique(codes, return_inverse=True)
        slots = self._slots(levels, used)
        found: I64 = slots[codes]
        self._tallies += np.bincount(found, minlength=len(self._tallies))
        return found

    def _slots(self, levels: Sequence[str], used: I64 | None) -> I64:
        """Where the values of these codes are counted; None: of all and then, for code -1, of
        missing ones."""
        unseen, missing = self._levels, self._levels + 1
        find = (self._index.places if self._index is not None else {}).get
        if used is None:
            return np.array([*(find(level, unseen) for level in levels), missing], np.int64)
        return np.array(
            [find(levels[code], unseen) if code >= 0 else missing for code in used.tolist()],
            np.int64,
        )

    @property
    def nbytes(self) -> int:
        """Of its counts; where levels are counted is kept once for all windows of a profile."""
        return self._tallies.nbytes

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


class _Index:
    """Level to its place. One for all windows of a profile: of thousands of levels a dictionary
    takes ten times the memory of their counts, and a while to make."""

    __slots__ = ("__weakref__", "levels", "places")

    def __init__(self, levels: Sequence[str]) -> None:
        self.levels = levels
        self.places = {level: place for place, level in enumerate(levels)}


_INDICES: WeakValueDictionary[int, _Index] = WeakValueDictionary()
"""By the identity of levels, which an index holds; it goes with the last window that has it."""


def _index_of(levels: Sequence[str]) -> _Index:
    found = _INDICES.get(id(levels))
    if found is None:
        found = _INDICES[id(levels)] = _Index(levels)
    return found


def category_sketches(
    names: Sequence[str], profiles: Sequence[CategoricalProfile] | None
) -> tuple[CategorySketch, ...]:
    """One per column; a column the profile does not know has no levels."""
    by_name = {} if profiles is None else {p.name: p for p in profiles}
    return tuple(CategorySketch(name, by_name.get(name)) for name in names)

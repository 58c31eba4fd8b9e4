"""A window's counts as one vector of integers, and where in it everything lies.

What drift is looked for in is counts on the bins of a version's profile. Windows, segments and
references are laid out alike, so that they can be added and compared:

- predictions: per numeric column (the features, then ``score``) its bins, then missing, then
  outside; per categorical column its levels, then unseen, then missing;
- outcomes: the bins of the loss, then errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Profile, Stream, Window, WindowStatistics

SCORE = "score"
"""The numeric column of the champion's score: the probability of class 1; multiclass, that of the
most probable class; regression, the value."""
PREDICTED = "predicted"
"""Multiclass: the categorical column of the most probable class."""
LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one column's counts lie."""

    name: str
    bins: slice
    numeric: bool
    """Whether the bins are in the order of the values."""
    missing: int
    """Index; -1 where nothing can be missing."""
    other: int
    """Index of the count of values outside the reference's range or vocabulary; of the loss, of the
    errors."""


@dataclass(frozen=True)
class Layout:
    """Of one profile and stream."""

    profile: Profile
    stream: Stream

    @cached_property
    def places(self) -> tuple[Place, ...]:
        found: list[Place] = []
        at = 0
        if self.stream is Stream.OUTCOMES:
            end = len(self.profile.loss.counts)
            return (Place(LOSS, slice(0, end), True, -1, end),)
        for numeric in self.profile.numeric:
            end = at + len(numeric.counts)
            found.append(Place(numeric.name, slice(at, end), True, end, end + 1))
            at = end + 2
        for categorical in self.profile.categorical:
            end = at + len(categorical.counts)
            found.append(Place(categorical.name, slice(at, end), False, end + 1, end))
            at = end + 2
        return tuple(found)

    @cached_property
    def length(self) -> int:
        last = self.places[-1]
        return max(int(last.bins.stop), last.missing + 1, last.other + 1)

    def rows(self, counts: I64) -> I64:
        """How many rows these counts, (..., L), are of."""
        first = self.places[0]
        found: I64 = counts[..., first.bins].sum(axis=-1)
        return found if first.missing < 0 else found + counts[..., first.missing]

    def reference(self) -> I64:
        """Of all the rows of the profile."""
        counts: list[int] = []
        if self.stream is Stream.OUTCOMES:
            return np.array([*self.profile.loss.counts, self.profile.loss.errors], dtype=np.int64)
        for numeric in self.profile.numeric:
            # The extremes are the reference's own: with them, the next row is as likely outside as
            # any of the rows so far was.
            counts += [*numeric.counts, numeric.missing, min(2, sum(numeric.counts))]
        for categorical in self.profile.categorical:
            unknown = 0
            if categorical.name != PREDICTED:
                known = sum(categorical.counts) + categorical.missing
                unknown = max(0, self.profile.rows - known)
            counts += [*categorical.counts, unknown, categorical.missing]
        return np.array(counts, dtype=np.int64)

    def of_window(self, window: Window) -> I64:
        """Raises :class:`DecodeError` when the window does not fit the profile."""
        statistics = window.statistics
        if self.stream is Stream.OUTCOMES:
            return self._losses(window)
        counts: list[int] = []
        self._fits(window, statistics)
        for numeric in statistics.numeric:
            counts += [*numeric.bins, numeric.missing, numeric.outside]
        for categorical in statistics.categorical:
            counts += [*categorical.levels, categorical.unseen, categorical.missing]
        return np.array(counts, dtype=np.int64)

    def _losses(self, window: Window) -> I64:
        loss = window.statistics.loss
        if loss is None or len(loss.bins) != len(self.profile.loss.counts):
            raise _misfit(window, "losses")
        return np.array([*loss.bins, loss.errors], dtype=np.int64)

    def _fits(self, window: Window, statistics: WindowStatistics) -> None:
        numeric = [(c.name, len(c.bins)) for c in statistics.numeric]
        if numeric != [(p.name, len(p.counts)) for p in self.profile.numeric]:
            raise _misfit(window, "numeric columns")
        categorical = [(c.name, len(c.levels)) for c in statistics.categorical]
        if categorical != [(p.name, len(p.counts)) for p in self.profile.categorical]:
            raise _misfit(window, "categorical columns")


def _misfit(window: Window, what: str) -> DecodeError:
    return DecodeError(
        Reason.MALFORMED,
        f"window {window.id}: {what} do not fit version {window.version}'s profile",
    )

"""What is remembered of a model's windows on one stream."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from driftloop.drift.parts import Whole
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.decisions import merge_ranges
from driftloop.kernel.records import OffsetRange

_LEAST_ENTRIES = 64
_MOST_ENTRIES = 256
_ROWS = 4000
"""Independent rows that are kept for finding an onset."""
_MOST_ROWS = 1_000_000
"""Of any kind: what varies even more cannot be told from what it always does."""
_FINENESS = 8
"""Of windows together: they have at most this part of the rows since then."""

N = TypeVar("N", np.float64, np.int64)


def packed(values: npt.NDArray[N]) -> list[Any]:
    """An array of float64 or int64 for an entry: shape, and the bytes of it."""
    little = values.astype(values.dtype.newbyteorder("<"))
    return [list(values.shape), base64.b64encode(little.tobytes()).decode()]


def floats(plain: Sequence[Any]) -> F64:
    """From :func:`packed`."""
    shape, data = plain
    return np.frombuffer(base64.b64decode(data), dtype="<f8").astype(np.float64).reshape(shape)


def integers(plain: Sequence[Any]) -> I64:
    """From :func:`packed`."""
    shape, data = plain
    return np.frombuffer(base64.b64decode(data), dtype="<i8").astype(np.int64).reshape(shape)


@dataclass(frozen=True, slots=True)
class Kept:
    """A window as later windows need it, or several of one slot together."""

    number: int
    """Ascending over a model's windows of one stream; of several that of the first, as are ``ids``
    and ``start``."""
    ids: tuple[str, ...]
    """Of the window's parts: one, or one for each shadow."""
    start: int
    end: int
    """Of several the last."""
    rows: int
    slot: int
    """Of the season; -1 without one."""
    sources: tuple[OffsetRange, ...]
    counts: I64
    """Of the window and of its segments, (S, L), in the layout."""

    @classmethod
    def of(cls, number: int, whole: Whole, slot: int, counts: I64) -> Kept:
        window = whole.window
        return cls(
            number, whole.ids, window.start, window.end, window.rows, slot, window.sources, counts
        )

    def with_later(self, other: Kept) -> Kept:
        """Together with windows of the same slot that came later."""
        return replace(
            self,
            end=max(self.end, other.end),
            rows=self.rows + other.rows,
            sources=merge_ranges((*self.sources, *other.sources)),
            counts=self.counts + other.counts,
        )

    def to_plain(self) -> list[Any]:
        sources = [[s.topic, s.partition, s.start, s.end] for s in self.sources]
        counts = packed(self.counts)
        ids = list(self.ids)
        return [self.number, ids, self.start, self.end, self.rows, self.slot, sources, counts]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Kept:
        number, ids, start, end, rows, slot, sources, counts = plain
        ranges = tuple(OffsetRange(*part) for part in sources)
        # An older release kept the id of one part.
        ids = (ids,) if isinstance(ids, str) else tuple(ids)
        return cls(number, ids, start, end, rows, slot, ranges, integers(counts))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state that is an entry of its own."""

    name: str
    changed: bool
    """Whether it may differ from when it was kept last."""
    plain: Callable[[], Any]
    """Makes its value, which is large."""


def reach(dispersion: float) -> int:
    """Rows to keep, given how many tell as much as one."""
    return int(min(_ROWS * max(dispersion, 1.0), _MOST_ROWS))


@dataclass(slots=True)
class History:
    """The newest windows of the version being watched, oldest first: enough for finding an onset.

    There are never more than 256 entries. Where windows are small, old ones lie together in one
    entry, the older the more of them: at most an eighth as many rows as have come since, so that an
    onset is known to an eighth of its age. Such an entry counts as its first window: who asks for
    the windows since one in its middle does not get it.
    """

    windows: list[Kept] = field(default_factory=list)
    grown: set[int] = field(default_factory=set)
    """Numbers of entries that later windows went into since they were kept last."""

    def append(self, window: Kept, rows: int) -> None:
        """Take in a window; ``rows``: of the newest windows, to be there still."""
        self.windows.append(window)
        known = sum(kept.rows for kept in self.windows)
        gone = 0
        while len(self.windows) - gone > _LEAST_ENTRIES:
            known -= self.windows[gone].rows
            if known < rows:
                break
            gone += 1
        del self.windows[:gone]
        if len(self.windows) > _MOST_ENTRIES:
            self._put_together()
        # Those that cannot lie together: of many slots, or with too many rows.
        del self.windows[: max(0, len(self.windows) - _MOST_ENTRIES)]

    def newest(self, rows: int) -> list[Kept]:
        """The newest windows that have ``rows`` rows together (all, if they have fewer)."""
        seen, at = 0, len(self.windows)
        while at > 0 and seen < rows:
            at -= 1
            seen += self.windows[at].rows
        return self.windows[at:]

    def since(self, number: int) -> list[Kept]:
        """The windows from this number on, none before it."""
        return [kept for kept in self.windows if kept.number >= number]

    def _put_together(self) -> None:
        """Pairs of neighbours in the older half; where slots take turns, of neighbours in one."""
        middle = len(self.windows) // 2
        since = sum(kept.rows for kept in self.windows[middle:])
        # From the newest on, which the fewest rows have come since.
        entries: list[Kept | None] = []
        single: dict[int, tuple[int, int]] = {}
        for kept in reversed(self.windows[:middle]):
            at, allowed = single.pop(kept.slot, (-1, 0))
            later = entries[at] if at >= 0 else None
            if later is not None and _FINENESS * (kept.rows + later.rows) <= allowed:
                entries[at] = None
                entries.append(kept.with_later(later))
                self.grown.add(kept.number)
            else:
                single[kept.slot] = (len(entries), since)
                entries.append(kept)
            since += kept.rows
        self.windows[:middle] = [kept for kept in reversed(entries) if kept is not None]

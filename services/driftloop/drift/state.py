"""What is remembered of a model's windows on one stream."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import OffsetRange, Window

_LEAST_WINDOWS = 64
_MOST_WINDOWS = 256
_ROWS = 4000
"""Rows that are kept for finding an onset, where they fit into the most windows."""

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
    """A window as later windows need it."""

    number: int
    """Ascending over a model's windows of one stream."""
    id: str
    start: int
    end: int
    rows: int
    slot: int
    """Of the season; -1 without one."""
    sources: tuple[OffsetRange, ...]
    counts: I64
    """Of the window and of its segments, (S, L), in the layout."""

    @classmethod
    def of(cls, number: int, window: Window, slot: int, counts: I64) -> Kept:
        return cls(
            number, window.id, window.start, window.end, window.rows, slot, window.sources, counts
        )

    def to_plain(self) -> list[Any]:
        sources = [[s.topic, s.partition, s.start, s.end] for s in self.sources]
        counts = packed(self.counts)
        return [self.number, self.id, self.start, self.end, self.rows, self.slot, sources, counts]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Kept:
        number, id, start, end, rows, slot, sources, counts = plain
        ranges = tuple(OffsetRange(*part) for part in sources)
        return cls(number, id, start, end, rows, slot, ranges, integers(counts))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state that is an entry of its own."""

    name: str
    changed: bool
    """Whether it may differ from when it was kept last."""
    plain: Callable[[], Any]
    """Makes its value, which is large."""


@dataclass(slots=True)
class History:
    """The newest windows of the version being watched, oldest first: enough for finding an onset,
    and never more than 256."""

    windows: list[Kept] = field(default_factory=list)

    def append(self, window: Kept) -> None:
        """Take in a window, and let go of the oldest."""
        self.windows.append(window)
        rows = sum(kept.rows for kept in self.windows)
        gone = 0
        while len(self.windows) - gone > _LEAST_WINDOWS:
            rows -= self.windows[gone].rows
            if rows < _ROWS and len(self.windows) - gone <= _MOST_WINDOWS:
                break
            gone += 1
        del self.windows[:gone]

    def newest(self, rows: int) -> list[Kept]:
        """The newest windows that have ``rows`` rows together (all, if they have fewer)."""
        seen, at = 0, len(self.windows)
        while at > 0 and seen < rows:
            at -= 1
            seen += self.windows[at].rows
        return self.windows[at:]

    def since(self, number: int) -> list[Kept]:
        return [kept for kept in self.windows if kept.number >= number]

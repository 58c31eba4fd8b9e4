"""What is remembered of a model's windows on one stream, and of each of its detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftloop.drift.detectors import MEMORIES
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.records import Alert, OffsetRange, Window

_LEAST_WINDOWS = 64
_MOST_WINDOWS = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """A window as later windows need it."""

    number: int
    """Ascending over a model's windows of one stream."""
    id: str
    start: int
    end: int
    rows: int
    sources: tuple[OffsetRange, ...]
    values: F64
    """The observation, see ``drift.observations``."""

    @classmethod
    def of(cls, number: int, window: Window, values: F64) -> Kept:
        return cls(number, window.id, window.start, window.end, window.rows, window.sources, values)

    def to_plain(self) -> list[Any]:
        sources = [[s.topic, s.partition, s.start, s.end] for s in self.sources]
        values = self.values.tolist()
        return [self.number, self.id, self.start, self.end, self.rows, sources, values]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Kept:
        number, id, start, end, rows, sources, values = plain
        ranges = tuple(OffsetRange(*part) for part in sources)
        return cls(number, id, start, end, rows, ranges, np.array(values, dtype=np.float64))


@dataclass(slots=True)
class DetectorState:
    """Of one detector."""

    log_m: tuple[float, ...] | None = None
    """Log of the Shiryaev-Roberts statistic per bet; None at 0, where it starts."""
    since: int = 0
    """Number of the first window after the last start."""
    alert: Alert | None = None
    """The open alert, with its newest evidence."""
    onset: int = 0
    """Number of the window the open alert's onset lies in."""
    reported: float = 0.0
    """Log e-value of the open alert's newest published record."""
    calm: int = 0
    """Windows in a row with little effect, while an alert is open."""

    def to_plain(self) -> dict[str, Any]:
        return {
            "log_m": self.log_m,
            "since": self.since,
            "alert": to_plain(self.alert),
            "onset": self.onset,
            "reported": self.reported,
            "calm": self.calm,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> DetectorState:
        log_m, alert = plain["log_m"], plain["alert"]
        return cls(
            log_m=None if log_m is None else tuple(log_m),
            since=plain["since"],
            alert=None if alert is None else from_plain(Alert, alert),
            onset=plain["onset"],
            reported=plain["reported"],
            calm=plain["calm"],
        )


@dataclass(slots=True)
class History:
    """The newest windows of the version being watched, oldest first: enough for the longest memory
    and for finding an onset, and never more than 256."""

    windows: list[Kept] = field(default_factory=list)

    def append(self, window: Kept) -> list[Kept]:
        """Returns the windows no longer kept."""
        self.windows.append(window)
        rows = sum(kept.rows for kept in self.windows)
        gone = 0
        while len(self.windows) - gone > _LEAST_WINDOWS:
            rows -= self.windows[gone].rows
            if rows < MEMORIES[-1] and len(self.windows) - gone <= _MOST_WINDOWS:
                break
            gone += 1
        dropped, self.windows = self.windows[:gone], self.windows[gone:]
        return dropped

    def recent(self, length: int) -> tuple[F64, ...]:
        """For each of MEMORIES the sum of the newest windows that have that many rows together;
        zeros before there is any. ``length`` is an observation's."""
        return tuple(self.total(self.newest(rows), length) for rows in MEMORIES)

    def newest(self, rows: int) -> list[Kept]:
        """The newest windows that have ``rows`` rows together (all, if they have fewer)."""
        seen, at = 0, len(self.windows)
        while at > 0 and seen < rows:
            at -= 1
            seen += self.windows[at].rows
        return self.windows[at:]

    def since(self, number: int) -> list[Kept]:
        return [kept for kept in self.windows if kept.number >= number]

    @staticmethod
    def total(windows: Sequence[Kept], length: int) -> F64:
        """The sum of observations, added in order."""
        out: F64 = np.zeros(length)
        for kept in windows:
            out = out + kept.values
        return out

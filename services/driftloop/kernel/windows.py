"""Event-time windows: where they lie, the watermark that closes them, lateness and expiry.

A window [start, start + size) closes when the watermark passes its end by the allowed lateness, and
expires when it passes that by the retention. Processing time decides only which source partitions
the watermark waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.declaration import Declaration, WindowPolicy

_Time = TypeVar("_Time", int, I64)


class WindowKey(NamedTuple):
    """A window within its model and stream; keys sort in the order in which windows close."""

    start: int
    version: int
    shadow: int


def window_start(time: _Time, size: int) -> _Time:
    """Start of the window of ``size`` ms that holds ``time``, also before the epoch."""
    return time // size * size


def closes_at(start: _Time, policy: WindowPolicy) -> _Time:
    """The watermark that closes a window; rows behind it are late."""
    return start + (policy.size + policy.lateness)


def expires_at(start: _Time, policy: WindowPolicy) -> _Time:
    """The watermark from which on a window takes no more rows."""
    return start + (policy.size + policy.lateness + policy.retention)


def span(model: Declaration) -> tuple[int, int]:
    """From when to before when events of a model, and the labels of those, may be, ms."""
    return model.events.earliest, model.events.latest + model.labels.horizon


def times_of(start: int, end: int, model: Declaration) -> tuple[int, int]:
    """From when to before when the rows of the window [start, end) may be, by what is declared now.
    What was declared when they were read is not asked for, except where the times of events begin
    or end within the window."""
    first, last = span(model)
    return first if start < first < end else start, last if start < last < end else end


class Watermarks:
    """The watermark of one stream: the least over its source partitions, never going back.

    A partition that sent nothing for ``idle_after`` ms of processing time, or never sent anything
    for as long, is silent. Whoever finds that nothing of it is under way lets go of it: it is idle,
    and not waited for, until it sends again. When the whole stream has been silent for as long,
    that says nothing of any one of them (whoever writes it stood still): the first that sends again
    brings the others the same time to follow. The watermark never passes the highest event time
    seen.
    """

    __slots__ = ("_heard", "_highest", "_idle", "_idle_after", "_partitions", "_watermark")

    def __init__(self, idle_after: int) -> None:
        self._idle_after = idle_after
        self._partitions = 0
        self._highest: dict[int, int] = {}
        self._heard: dict[int, int] = {}
        self._idle: set[int] = set()
        self._watermark: int | None = None

    def report(self, partition: int, watermark: int, partitions: int) -> None:
        """A source partition has come to ``watermark``; its topic has ``partitions``."""
        self._partitions = max(self._partitions, partitions, partition + 1)
        self._highest[partition] = max(watermark, self._highest.get(partition, watermark))

    def hear(self, partition: int, now: int) -> None:
        """A source partition sent something at processing time ``now``, ms."""
        if self._heard and now - max(self._heard.values()) >= self._idle_after:
            self._heard = dict.fromkeys(self._heard, now)
            self._idle.clear()
        self._heard[partition] = now
        self._idle.discard(partition)

    def silent(self, now: int) -> Sequence[int]:
        """The partitions that are waited for though they are silent at processing time ``now``."""
        return [
            partition
            for partition in range(self._partitions)
            if partition not in self._idle
            and now - self._heard.setdefault(partition, now) >= self._idle_after
        ]

    def let_go(self, partition: int) -> None:
        """Wait for it no longer."""
        self._idle.add(partition)

    def hold_from(self, watermark: int) -> None:
        """The watermark had come at least to here before."""
        if self._watermark is None or watermark > self._watermark:
            self._watermark = watermark

    def current(self) -> int | None:
        """The watermark; None before the first."""
        awaited = [p for p in range(self._partitions) if p not in self._idle]
        if awaited and all(partition in self._highest for partition in awaited):
            self.hold_from(min(self._highest[partition] for partition in awaited))
        elif not awaited and self._highest:
            self.hold_from(max(self._highest.values()))
        return self._watermark

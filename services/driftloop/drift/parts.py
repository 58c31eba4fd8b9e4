"""Windows of one start and version, put together.

Windows of outcomes are cut by the shadow too, which the deployer's paired test needs. Drift does
not: where the shadow changes within a window, each part is of some hours only, and differs from any
reference by that. So the parts are one window to every decision, in whatever order they come.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.wire import Wire
from driftloop.kernel.decisions import UsedWindows, merge_ranges
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import Stream, Window, WindowStatistics
from driftloop.kernel.statistics.checks import check_shape, check_statistics, shape_of
from driftloop.kernel.statistics.merge import merge_all

MOST_PARTS = 64
"""Of a window that are waited for. Each shadow takes a training run, so there are a few; of what
says that there are any number no more is kept, and it is judged with what is there."""
_PLAIN = Wire()
"""State names no id of a registry's."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A window as drift decides on it."""

    window: Window
    """Of all parts' rows; where there are several, without pairs, digest and buckets."""
    ids: tuple[str, ...]
    """Of its parts, in the order of their shadows."""

    @property
    def name(self) -> str:
        """Its id, or those of its parts."""
        return ", ".join(self.ids)

    @classmethod
    def of(cls, parts: Sequence[Window]) -> Whole:
        """Of at least one window of a start and version, each with another shadow."""
        ordered = sorted(parts, key=lambda part: part.shadow)
        first = ordered[0]
        ids = tuple(part.id for part in ordered)
        if len(ordered) == 1:
            return cls(first, ids)
        window = replace(
            first,
            rows=sum(part.rows for part in ordered),
            late=sum(part.late for part in ordered),
            sources=merge_ranges(source for part in ordered for source in part.sources),
            watermark=max(part.watermark for part in ordered),
            statistics=merge_all(_unpaired(part.statistics) for part in ordered),
            digest="",
        )
        return cls(window, ids)


class Parts:
    """Of one model and stream: which windows were used, and the parts that wait for others.

    A window says how many parts there were when it was given out, and is whole when as many have
    come, or ``MOST_PARTS``. One that an older release wrote does not say; such parts are whole when
    a later window comes, for windows are given out in the order of their starts, and of one start
    the newest version first. So are those of which one became a dead letter. A part that comes when
    the whole was used is of late rows, like a revision, and changes no decision.
    """

    def __init__(self, entries: Entries, model: str, stream: Stream) -> None:
        self._entries = entries
        self._prefix = f"{model}/parts/{stream}/"
        self._waiting: dict[tuple[int, int], dict[int, Window]] = {}
        """Start and version to the parts by shadow."""
        self.used = UsedWindows(entries, model, str(stream), by_shadow=False)

    def checked(self, window: Window) -> Whole:
        """The window together with the parts that wait, if it is added to them: what counts of many
        rows each add up to must be possible, too. Raises :class:`DecodeError` for a part that
        cannot be added."""
        waiting = self._waiting.get((window.start, window.version), {})
        if waiting or _parts(window) != 1:
            check_statistics(window.statistics)
        others = [part for part in waiting.values() if part.shadow != window.shadow]
        shape = shape_of(_unpaired(window.statistics))
        for part in others:
            check_shape(shape, shape_of(_unpaired(part.statistics)))
        together = Whole.of([*others, window])
        if others:
            check_statistics(together.window.statistics)
        return together

    def take(self, window: Window, horizon: int) -> list[Whole]:
        """What is whole now that this window came, in order; ``horizon`` as ``UsedWindows.claim``
        has it."""
        key = (window.start, window.version)
        found: list[Whole] = []
        waiting = self._waiting.get(key)
        if waiting is None:
            if not self.used.claim(window, horizon):
                return []
            earlier = [other for other in self._waiting if _order(other) < _order(key)]
            found += [self._whole(other) for other in sorted(earlier, key=_order)]
            if _parts(window) == 1:
                return [*found, Whole.of([window])]
            waiting = self._waiting[key] = {}
        if window.shadow in waiting:
            return []
        waiting[window.shadow] = window
        self._entries.put(self._name(window), _encoded(window))
        needed = [_parts(part) for part in waiting.values()]
        if (min(needed) > 0 and len(needed) >= max(needed)) or len(needed) == MOST_PARTS:
            found.append(self._whole(key))
        return found

    def load(self, value: str) -> None:
        """Take back the value of an entry."""
        window = codec(Window).decode(base64.b64decode(value), _PLAIN)
        self._waiting.setdefault((window.start, window.version), {})[window.shadow] = window

    def _whole(self, key: tuple[int, int]) -> Whole:
        parts = self._waiting.pop(key)
        for part in parts.values():
            self._entries.delete(self._name(part))
        return Whole.of(list(parts.values()))

    def _name(self, window: Window) -> str:
        return f"{self._prefix}{window.start}/{window.version}/{window.shadow}"


def _order(key: tuple[int, int]) -> tuple[int, int]:
    """That windows are given out in."""
    start, version = key
    return start, -version


def _parts(window: Window) -> int:
    """How many there are; 0: not known."""
    return 1 if window.stream is Stream.PREDICTIONS else window.parts


def _unpaired(statistics: WindowStatistics) -> WindowStatistics:
    """Pairs are of one shadow each."""
    loss = statistics.loss
    return statistics if loss is None else replace(statistics, loss=replace(loss, paired=None))


def _encoded(window: Window) -> str:
    return base64.b64encode(codec(Window).encode(window, _PLAIN)).decode()

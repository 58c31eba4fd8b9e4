"""Features that have stopped changing: every value of a window is one and the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from driftloop.drift.clumps import Clumps
from driftloop.drift.shiryaev import EMPTY
from driftloop.drift.state import Kept, Part, integers, packed
from driftloop.drift.streams import Watched
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import Window, WindowStatistics

STILL = "still"
"""Family of these streams' keys."""
_STAKE = 0.01


class Still:
    """An e-detector whose bet is on whole windows.

    A window's n rows are a draw without replacement from the N + n of the bag and the window
    together, the bag being the reference's rows of the window's season slot and those of the
    windows there were since. So the chance that all are of one bin, which is no smaller than that
    of all having one value, is P, the sum over bins of C(c, n) / C(N + n, n) where c rows of both
    are in the bin; rows in clumps are n / dispersion, and so are the bag's. The bet stakes 1% of
    its wealth on it: E is 0.99 + 0.01 / P for such a window and 0.99 for any other, and its mean
    given the bag is at most 1. That the bag grows makes the product over windows valid: a share of
    the reference alone, which may have come out too small, would be wrong in every window alike.
    Windows of a column that has been constant so far (every night, say) tell nothing and are passed
    over.
    """

    def __init__(
        self, streams: Sequence[Watched], references: Mapping[int, I64], clumps: Clumps
    ) -> None:
        """``references`` as :meth:`use` takes them."""
        self.streams = tuple(streams)
        self.clumps = clumps
        """Of all rows. Others may take their place between two windows."""
        lengths = [len(stream.bins[0]) for stream in self.streams]
        self._cuts = np.cumsum([0, *lengths]).tolist()
        self._places = np.array(
            [place for stream in self.streams for place in stream.bins[0]], dtype=np.int64
        )
        self._references: Mapping[int, I64] = {}
        self._outside: dict[int, list[float]] = {}
        self._bags: dict[int, I64] = {}
        """Season slot to counts on all streams' bins."""
        self._unsaved: set[int] = set()
        self.use(references)
        self._log_m = [EMPTY] * len(streams)
        self._frozen: list[bool] = [False] * len(streams)
        """Streams that are known to stand still: their bags take nothing in."""
        self.runs: list[tuple[int, int, float]] = [(-1, 0, 0.0)] * len(streams)
        """Per stream the number of the first of the newest windows that have one and the same value
        (-1: none), their rows, and the value; of a category the place of its level."""
        self.moving: list[int] = [0] * len(streams)
        """Rows that have moved since the newest window of one value: of each window those outside
        of its largest bin, over the share that the reference has outside of its own. One row that
        differs among a thousand is next to nothing."""

    def use(self, references: Mapping[int, I64]) -> None:
        """What windows are compared with from now on: season slot to counts in the layout, (L,); -1
        is of all slots together, for those that are not there. Empty while there are none."""
        self._references = references
        self._outside.clear()
        self._bags.clear()

    def take(self, kept: Kept, window: Window) -> None:
        counts = kept.counts[0][self._places]
        bag = self._bag(kept.slot)
        outside = self._shares_outside(kept.slot)
        dispersions = self.dispersions(kept.rows)
        takes = np.ones(len(bag), dtype=np.bool_)
        for index, stream in enumerate(self.streams):
            rows_here, value_here = _rows_and_value(window.statistics, stream.column)
            span = slice(self._cuts[index], self._cuts[index + 1])
            takes[span] = not self._frozen[index]
            if rows_here == 0:
                continue
            still = value_here is not None
            own = counts[span]
            if still and np.count_nonzero(bag[span] + own) < 2:
                continue
            first, rows, value = self.runs[index]
            if value_here is None:
                self.runs[index] = (-1, 0, 0.0)
                moved = rows_here - int(own.max(initial=0))
                if outside[index] > 0.0:
                    moved = int(moved / outside[index])
                self.moving[index] += min(rows_here, moved)
            else:
                if first < 0 or value != value_here:
                    first, rows = kept.number, 0
                self.runs[index] = (first, rows + rows_here, value_here)
                self.moving[index] = 0
            log_e = math.log1p(-_STAKE)
            if still:
                won = -_log_chance(bag[span], own, dispersions[index])
                log_e = _log_add(log_e, math.log(_STAKE) + won)
            self._log_m[index] = _log_add(self._log_m[index], math.log(rows_here)) + log_e
        self._bags[kept.slot] = np.where(takes, bag + counts, bag)
        self._unsaved.add(kept.slot)

    def dispersions(self, rows: int) -> list[float]:
        """Of each stream, in a window of so many rows."""
        found: list[float] = self.clumps.among(np.array([float(rows)]))[0].tolist()
        return found

    def margin(self, index: int) -> float:
        """How far above its threshold a stream is, natural logarithm."""
        return self._log_m[index] - self.streams[index].threshold

    def level(self, index: int) -> float:
        return self._log_m[index]

    def freeze(self, index: int) -> None:
        """A stream is known to stand still, until :meth:`restart`."""
        self._frozen[index] = True

    def restart(self, index: int) -> None:
        """Forget a stream's evidence, and all rows but the reference's."""
        self._log_m[index] = EMPTY
        self._frozen[index] = False
        span = slice(self._cuts[index], self._cuts[index + 1])
        for slot, bag in self._bags.items():
            bag[span] = self._reference(slot)[span]
        self._unsaved.update(self._bags)

    def parts(self) -> Iterator[Part]:
        """All state. There may be a bag for each hour of the week, and a window changes one."""
        yield Part(STILL, True, self._to_plain)
        for slot, bag in self._bags.items():
            yield Part(f"bag/{STILL}/{slot}", slot in self._unsaved, partial(packed, bag))

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()

    def _to_plain(self) -> dict[str, Any]:
        """All but the bags."""
        return {
            "log_m": self._log_m,
            "runs": self.runs,
            "moving": self.moving,
            "frozen": self._frozen,
        }

    def load(self, plain: Mapping[str, Any]) -> None:
        self._log_m = list(plain["log_m"])
        self.runs = [(first, rows, value) for first, rows, value in plain["runs"]]
        self.moving = list(plain["moving"])
        self._frozen = list(plain["frozen"])

    def load_bag(self, slot: int, plain: Sequence[Any]) -> None:
        self._bags[slot] = integers(plain)
        self._unsaved.add(slot)

    def _bag(self, slot: int) -> I64:
        found = self._bags.get(slot)
        if found is None:
            found = self._bags[slot] = self._reference(slot)
        return found

    def _reference(self, slot: int) -> I64:
        counts = self._references.get(slot, self._references.get(-1))
        if counts is None:
            return np.zeros(len(self._places), dtype=np.int64)
        return np.asarray(counts[self._places], dtype=np.int64)

    def _shares_outside(self, slot: int) -> list[float]:
        """Of the largest bin of the slot's reference, per stream."""
        found = self._outside.get(slot)
        if found is None:
            reference = self._reference(slot)
            found = [
                1.0 - float(own.max(initial=0)) / max(float(own.sum()), 1.0)
                for own in np.split(reference, self._cuts[1:-1])
            ]
            self._outside[slot] = found[: len(self.streams)]
        return self._outside[slot]


def _rows_and_value(statistics: WindowStatistics, column: int) -> tuple[int, float | None]:
    """How many rows have a value in one of the columns, the numeric ones before the others, and
    that value, if all have the same and the reference knows it; of a category the place of its
    level."""
    if column < len(statistics.numeric):
        number = statistics.numeric[column]
        return number.count, number.minimum if number.minimum == number.maximum else None
    levels = statistics.categorical[column - len(statistics.numeric)]
    if max(levels.levels, default=0) < levels.count:
        return levels.count, None
    return levels.count, float(levels.levels.index(levels.count))


def _log_chance(bag: I64, counts: I64, dispersion: float) -> float:
    """Of P, see :class:`Still`."""
    rows: float = float(counts.sum()) / dispersion
    both: F64 = (bag + counts) / dispersion
    logs = [math.lgamma(c + 1.0) - math.lgamma(c - rows + 1.0) for c in both.tolist() if c >= rows]
    total = float(both.sum())
    of_all = math.lgamma(total + 1.0) - math.lgamma(total - rows + 1.0)
    top = max(logs, default=of_all)
    return min(top + math.log(sum(math.exp(log - top) for log in logs) or 1.0) - of_all, 0.0)


def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log1p(math.exp(min(a, b) - top))

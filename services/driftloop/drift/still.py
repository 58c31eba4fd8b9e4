"""Features that have stopped changing: every value of a window is one and the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from driftloop.drift.clumps import Clumps
from driftloop.drift.shiryaev import EMPTY
from driftloop.drift.state import Kept
from driftloop.drift.streams import Watched
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.records import Window

STILL = "still"
"""Family of these streams' keys."""
_STAKE = 0.01


class Still:
    """An e-detector whose bet is on whole windows.

    That n rows all have one value has, given the largest share s that a bin has in the reference
    of the window's season slot, at most the chance s ** (n - 1) under the null hypothesis; n rows
    in clumps are n / dispersion. The bet stakes 1% of its wealth on it: E is
    0.99 + 0.01 / s ** (n / dispersion - 1) for such a window and 0.99 for any other, so its mean is
    at most 1. Where a column was constant in the reference (every night, say) its windows tell
    nothing and are passed over.
    """

    def __init__(
        self, streams: Sequence[Watched], references: Mapping[int, I64], clumps: Clumps
    ) -> None:
        """``references`` as :meth:`use` takes them."""
        self.streams = tuple(streams)
        self.clumps = clumps
        """Of all rows. Others may take their place between two windows."""
        self._references: Mapping[int, I64] = {}
        self._largest: dict[int, list[float]] = {}
        self.use(references)
        self._log_m = [EMPTY] * len(streams)
        self.runs: list[tuple[int, int, float]] = [(-1, 0, 0.0)] * len(streams)
        """Per stream the number of the first of the newest windows that have one and the same value
        (-1: none), their rows, and the value."""
        self.moving: list[int] = [0] * len(streams)
        """Rows that have moved since the newest window of one value: of each window those outside
        of its largest bin, over the share that the reference has outside of its own. One row that
        differs among a thousand is next to nothing."""

    def use(self, references: Mapping[int, I64]) -> None:
        """What windows are compared with from now on: season slot to counts in the layout, (L,); -1
        is of all slots together, for those that are not there. Empty while there are none."""
        self._references = references
        self._largest.clear()

    def take(self, kept: Kept, window: Window) -> None:
        shares = self._shares(kept.slot)
        dispersions = self.dispersions(kept.rows)
        for index, stream in enumerate(self.streams):
            column = window.statistics.numeric[stream.column]
            if column.count == 0 or shares[index] >= 1.0:
                continue
            still = column.minimum == column.maximum
            first, rows, value = self.runs[index]
            if not still:
                self.runs[index] = (-1, 0, 0.0)
                moved = (column.count - max(column.bins)) / (1.0 - shares[index])
                self.moving[index] += min(column.count, int(moved))
            else:
                if first < 0 or value != column.minimum:
                    first, rows = kept.number, 0
                self.runs[index] = (first, rows + column.count, column.minimum)
                self.moving[index] = 0
            log_e = math.log1p(-_STAKE)
            if still:
                told = max(column.count / dispersions[index] - 1.0, 0.0)
                won = -math.log(shares[index]) * told
                log_e = _log_add(log_e, math.log(_STAKE) + won)
            self._log_m[index] = _log_add(self._log_m[index], math.log(column.count)) + log_e

    def dispersions(self, rows: int) -> list[float]:
        """Of each stream, in a window of so many rows."""
        found: list[float] = self.clumps.among(np.array([float(rows)]))[0].tolist()
        return found

    def margin(self, index: int) -> float:
        """How far above its threshold a stream is, natural logarithm."""
        return self._log_m[index] - self.streams[index].threshold

    def level(self, index: int) -> float:
        return self._log_m[index]

    def restart(self, index: int) -> None:
        self._log_m[index] = EMPTY

    def to_plain(self) -> dict[str, Any]:
        return {"log_m": self._log_m, "runs": self.runs, "moving": self.moving}

    def load(self, plain: Mapping[str, Any]) -> None:
        self._log_m = list(plain["log_m"])
        self.runs = [(first, rows, value) for first, rows, value in plain["runs"]]
        self.moving = list(plain["moving"])

    def _shares(self, slot: int) -> list[float]:
        """The largest share of a bin in the slot's reference, per stream; 1 without one."""
        found = self._largest.get(slot)
        if found is None:
            reference = self._references.get(slot, self._references.get(-1))
            found = [_largest(stream, reference) for stream in self.streams]
            self._largest[slot] = found
        return found


def _largest(stream: Watched, reference: I64 | None) -> float:
    if reference is None:
        return 1.0
    (places,) = stream.bins
    counts = [int(reference[place]) for place in places]
    # One row more than seen: an empty reference knows nothing.
    return (max(counts, default=0) + 1) / (sum(counts) + 1)


def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log1p(math.exp(min(a, b) - top))

"""Features that have stopped changing: every value of a window is one and the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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

    That n rows all have one value has, given the largest share s that a bin has in the reference,
    at most the chance s ** (n - 1) under the null hypothesis. The bet stakes 1% of its wealth on
    it: E is 0.99 + 0.01 / s ** ((n - 1) / dispersion) for such a window and 0.99 for any other, so
    its mean is at most 1. A column that was constant in the reference is not watched.
    """

    def __init__(self, streams: Sequence[Watched], reference: I64 | None) -> None:
        """``reference``: counts in the layout; None while there is none yet."""
        self.streams = tuple(streams)
        self._largest: list[float] = []
        self.use(reference)
        self._log_m = [EMPTY] * len(streams)
        self.runs: list[tuple[int, int]] = [(-1, 0)] * len(streams)
        """Per stream the number of the first of the newest windows that are still (-1: none), and
        their rows."""
        self.moved: list[bool] = [False] * len(streams)
        """Whether the newest window with rows had more than one value."""

    def use(self, reference: I64 | None) -> None:
        """What windows are compared with from now on."""
        self._largest = [1.0] * len(self.streams)
        if reference is None:
            return
        for index, stream in enumerate(self.streams):
            counts = [int(reference[place]) for place in stream.bins[1]]
            total = sum(counts)
            # One row more than seen: an empty reference knows nothing.
            self._largest[index] = (max(counts, default=0) + 1) / (total + 1)

    def take(self, kept: Kept, window: Window) -> None:
        for index, stream in enumerate(self.streams):
            column = window.statistics.numeric[stream.bins[0][0]]
            if column.count == 0:
                continue
            still = column.minimum == column.maximum
            first, rows = self.runs[index]
            if still:
                self.runs[index] = (kept.number if first < 0 else first, rows + column.count)
            else:
                self.runs[index] = (-1, 0)
            self.moved[index] = not still
            log_e = math.log1p(-_STAKE)
            if still:
                won = -math.log(self._largest[index]) * (column.count - 1) / stream.dispersion
                log_e = _log_add(log_e, math.log(_STAKE) + won)
            self._log_m[index] = _log_add(self._log_m[index], math.log(column.count)) + log_e

    def margin(self, index: int) -> float:
        """How far above its threshold a stream is, natural logarithm."""
        return self._log_m[index] - self.streams[index].threshold

    def level(self, index: int) -> float:
        return self._log_m[index]

    def restart(self, index: int) -> None:
        self._log_m[index] = EMPTY

    def to_plain(self) -> dict[str, Any]:
        return {"log_m": self._log_m, "runs": self.runs, "moved": self.moved}

    def load(self, plain: Mapping[str, Any]) -> None:
        self._log_m = list(plain["log_m"])
        self.runs = [(first, rows) for first, rows in plain["runs"]]
        self.moved = list(plain["moved"])


def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top + math.log1p(math.exp(min(a, b) - top))

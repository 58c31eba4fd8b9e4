"""The paired sequential test: does one of two versions predict the same rows better?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import PairedStatistics, Window
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.statistics.losses import BETS

_IDS = 64


@dataclass(slots=True)
class PairedTest:
    """Two e-processes on the loss difference d of champion and shadow, d in [-1, 1].

    While the shadow is on average no better given the past, each bet's wealth prod(1 + lambda d)
    is a nonnegative supermartingale from 1, and so is the mean over the grid of bets: by Ville's
    inequality it ever reaches 1/a with chance at most a, however often one looks (Waudby-Smith and
    Ramdas, arXiv 2010.09686, section 4). The other direction likewise with -d. Looking at the ends
    of windows only is looking less often. It needs rows whose difference has a mean of at most 0
    given the rows before; labels that arrive by their value (late flights are known later) bend
    this within a window, not over many.
    """

    better: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    """Per bet: log wealth on the shadow being better."""
    worse: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    rows: int = 0
    windows: list[str] = field(default_factory=list)
    """At most the 64 newest."""

    def add(self, window: Window, paired: PairedStatistics) -> None:
        """Take in a window. Raises :class:`DecodeError`, and then changes nothing."""
        if len(paired.better) != len(BETS) or len(paired.worse) != len(BETS):
            raise DecodeError(
                Reason.MALFORMED, f"window {window.id} does not have {len(BETS)} paired bets"
            )
        better = [exact_sum(data) for data in paired.better]
        worse = [exact_sum(data) for data in paired.worse]
        if not all(map(math.isfinite, (*better, *worse))):
            raise DecodeError(Reason.OUT_OF_LIMITS, f"window {window.id} has infinite payoffs")
        self.better = [a + b for a, b in zip(self.better, better, strict=True)]
        self.worse = [a + b for a, b in zip(self.worse, worse, strict=True)]
        self.rows += paired.rows
        self.windows = [*self.windows, window.id][-_IDS:]

    @property
    def log_better(self) -> float:
        """Log e-value for the shadow being better."""
        return log_mean_exp(self.better)

    @property
    def log_worse(self) -> float:
        """Log e-value for the shadow being worse."""
        return log_mean_exp(self.worse)

    def to_plain(self) -> dict[str, Any]:
        return {
            "better": self.better,
            "worse": self.worse,
            "rows": self.rows,
            "windows": self.windows,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> PairedTest:
        return cls(**plain)


def log_mean_exp(values: Sequence[float]) -> float:
    """log of the mean of exp(values), for a nonempty sequence."""
    top = max(values)
    return top + math.log(math.fsum(math.exp(v - top) for v in values) / len(values))

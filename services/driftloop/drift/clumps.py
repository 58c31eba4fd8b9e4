"""How much more the counts of streams vary than those of independent rows, in windows of so many
rows.

Rows of one window agree in pairs: with a correlation r of any two, the counts of n rows vary by
1 + (n - 1) r as much as those of independent ones (Kish, Survey Sampling, 1965, section 5.4). So a
dispersion is one of windows of some size, and windows with more rows have a larger one: training
sees the rows that got a label, which may be one in ten of those that are served, and traffic grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec.blocks import F64


@dataclass(frozen=True, slots=True)
class Clumps:
    """Of the streams of a group: of all their rows, then of those of each segment."""

    least: F64
    """Dispersions, (S, T), at least 1. Fewer rows may be less alike, but of them less is known."""
    pairs: F64
    """Correlations of two rows of a window, (S, T), larger where windows are alike, too; 0 where
    they are not known."""

    @classmethod
    def of(cls, dispersions: F64, window_rows: F64) -> Clumps:
        """``dispersions``, (S, T), of windows of ``window_rows``, (S,) or (S, T): the mean over
        rows of the number of rows in their window. Up to 1: it is not known."""
        # What outlasts a window is in proportion to its rows, not to the others in it.
        others = np.where(window_rows > 1.0, np.maximum(window_rows - 1.0, window_rows / 2), 0.0)
        others = others[:, None] if others.ndim == 1 else others
        pairs = np.where(others > 0.0, (dispersions - 1.0) / np.where(others > 0.0, others, 1.0), 0)
        return cls(dispersions, np.asarray(pairs, dtype=np.float64))

    def among(self, rows: F64) -> F64:
        """Dispersions, (S, T), of windows of ``rows``, (S,). A segment has that of all rows at
        least."""
        own = np.maximum(self.least, 1.0 + self.pairs * np.maximum(rows - 1.0, 0.0)[:, None])
        return np.asarray(np.maximum(own, own[:1]), dtype=np.float64)

    def or_more(self, other: Clumps) -> Clumps:
        """The larger of both, each by itself."""
        return Clumps(np.maximum(self.least, other.least), np.maximum(self.pairs, other.pairs))

    def where(self, chosen: npt.NDArray[np.bool_], other: Clumps) -> Clumps:
        """These where ``chosen``, (T,), the other's elsewhere."""
        return Clumps(
            np.where(chosen, self.least, other.least), np.where(chosen, self.pairs, other.pairs)
        )

    def lend(self, stream: int, other: Clumps, whose: int) -> None:
        """From now on ``stream`` has at least what stream ``whose`` of another group has."""
        for own, lent in ((self.least, other.least), (self.pairs, other.pairs)):
            own[:, stream] = np.maximum(own[:, stream], lent[: len(own), whose])


class WindowRows:
    """The mean over rows of the number of rows in their window, of all of them and of each segment:
    what a dispersion of these windows is one of."""

    def __init__(self, rows: int) -> None:
        """``rows``: S."""
        self.rows: F64 = np.zeros(rows)
        self.squares: F64 = np.zeros(rows)

    def count(self, rows: F64) -> None:
        """Of a window, (S,)."""
        self.rows = self.rows + rows
        self.squares = self.squares + rows**2

    def mean(self) -> F64:
        """(S,); 0 without rows."""
        some = np.where(self.rows > 0.0, self.rows, 1.0)
        return np.asarray(np.where(self.rows > 0.0, self.squares / some, 0.0), dtype=np.float64)

"""How many records to take at once, and how soon again."""

from __future__ import annotations

_FEW, _ENOUGH = 32, 128
"""Records of one model in a poll: below the first what each model costs once is more than what its
records do; from the second on it is not worth what larger batches cost the caches."""
_GROWTH = 8
_SEVERAL = 16
_GAP_S, _LONGEST_S = 100e-6, 0.1
"""For each model of a poll, and at most: some ten times what a model costs once."""


class PollSize:
    """The limit of the next poll, and when it is due.

    Every model in a poll has a cost of its own, which few records have to bear where they are
    spread over many models. There a backlog is taken in polls that grow, up to eight times, and
    what comes as it is made is left to gather for up to 100 ms. Records of a few models are taken
    at once, in polls that end before their limit whatever it is.
    """

    def __init__(self, rows: int) -> None:
        """``rows``: the limit to begin with, and the least."""
        self._least = rows
        self.rows = rows
        self.gap_s = 0.0
        """From the last poll to the next."""

    def took(self, rows: int, runs: int) -> None:
        """A poll gave so many records; those of one model in one batch are a run."""
        few = rows < _FEW * runs
        self.gap_s = 0.0
        if rows >= self.rows and few:
            self.rows = min(2 * self.rows, _GROWTH * self._least)
        elif few and runs >= _SEVERAL:
            self.gap_s = min(_GAP_S * runs, _LONGEST_S)
        elif rows >= _ENOUGH * max(runs, 1):
            self.rows = max(self.rows // 2, self._least)

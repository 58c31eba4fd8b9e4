"""How many records to take at once."""

from __future__ import annotations

_FEW, _ENOUGH = 32, 128
"""Records of one model in a poll: below the first what each model costs once is more than what its
records do; from the second on it is not worth what larger batches cost the caches."""
_GROWTH = 8


class PollSize:
    """The limit of the next poll.

    Every model in a poll has a cost of its own, which few records have to bear where a backlog is
    spread over many models. There polls grow, up to eight times; where it is not, they shrink
    again. Without a backlog polls end before their limit, whatever it is.
    """

    def __init__(self, rows: int) -> None:
        """``rows``: the limit to begin with, and the least."""
        self._least = rows
        self.rows = rows

    def took(self, rows: int, runs: int) -> None:
        """A poll gave so many records; those of one model in one batch are a run."""
        if rows >= self.rows and rows < _FEW * runs:
            self.rows = min(2 * self.rows, _GROWTH * self._least)
        elif rows >= _ENOUGH * max(runs, 1):
            self.rows = max(self.rows // 2, self._least)

"""Whether streams that have drifted are back at their reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from driftloop.drift.cases import Found, Member
from driftloop.drift.effects import LEAST_CONSTANT_ROWS
from driftloop.drift.panel import Key, Panel
from driftloop.drift.state import History, Kept
from driftloop.drift.still import STILL, Still
from driftloop.kernel.codec.blocks import F64

_SOON_WINDOWS, _SOON = 8, 4
"""A change that comes back within so many windows, or within so many times as many as it lasted, is
the same one."""
_MOST_DOUBLINGS = 16


class Recovery:
    """While a stream is waited for, its panel's bags take nothing in."""

    def __init__(self, panels: Mapping[str, Panel], still: Still, enough: float) -> None:
        """``enough``: log of the evidence it takes."""
        self._panels = panels
        self._still = still
        self._enough = enough
        self.returns: dict[Key, tuple[int, int, int]] = {}
        """Of streams that were back: how often they had drifted again, the number of the window
        they counted again from, and for how many windows they had been away."""

    def begin(self, found: Found, number: int) -> Member:
        """Wait for a stream that was found in window ``number``."""
        self._freeze(found.key, True)
        drifted: list[float] = []
        rows = found.rows
        family, row, index = found.key
        if family == STILL:
            rows = max(rows, LEAST_CONSTANT_ROWS)
        else:
            panel = self._panels[family]
            drifted = panel.counts(found.since, row)[panel.group.span(index)].tolist()
        times, released, lasted = self.returns.get(found.key, (-1, 0, 0))
        # What comes and goes is one cause: it must stay away for longer each time it comes back.
        soon = number - released <= max(_SOON_WINDOWS, _SOON * lasted)
        times = times + 1 if soon else 0
        rows <<= min(times, _MOST_DOUBLINGS)
        return Member(
            found.since[0].number, number, rows, drifted, seen=found.rows, times=max(times, 0)
        )

    def take(self, member: Member, key: Key, kept: Kept, history: History) -> bool:
        """Take in a window: whether the stream is back at its reference.

        A CUSUM of the evidence against rows still coming from the shares that the stream had
        drifted to; while they do, it goes wrong at most once in as many rows as a false alarm of
        the whole budget comes in (Lorden, Annals of Mathematical Statistics 42, 1971). The rows
        since it turned must be as many as it took to find the change (``Member.rows``), and their
        effect below half its floor. Evidence beyond what is needed is not saved up, so that a
        change that comes back shows at once.
        """
        family, row, index = key
        if family == STILL:
            member.returned = self._still.moving[index]
            return member.returned >= member.rows
        panel = self._panels[family]
        span = panel.group.span(index)
        if member.recovery <= 0.0:
            member.recovery, member.turned, member.returned = 0.0, kept.number, 0
        expected = panel.expected([kept], row)
        back = _smoothed(expected.shares[span] * expected.known[index])
        ratios = np.log(back / _smoothed(np.array(member.drifted)))
        own = panel.counts([kept], row)[span]
        won = float((own * ratios).sum()) / float(panel.dispersions[row, index])
        member.recovery = min(member.recovery + won, self._enough)
        member.returned += int(own.sum())
        turned = history.since(member.turned)
        counts = panel.counts(turned, row)
        if member.recovery <= 0.0:
            # It had not turned: these windows are of the change too.
            member.drifted = (np.array(member.drifted) + counts[span]).tolist()
        if member.recovery < self._enough or member.returned < member.rows:
            return False
        return panel.effects(turned, row, counts)[index].ratio < 0.5

    def end(self, key: Key, number: int, member: Member) -> None:
        """Watch a stream that is back anew; window ``number`` is the first to count."""
        family, _, index = key
        self.returns[key] = (member.times, number, number - member.opened)
        if family == STILL:
            self._still.restart(index)
            return
        self._freeze(key, False)
        self._panels[family].restart(key, number)

    def to_plain(self) -> list[Any]:
        """All state."""
        return [[list(key), *found] for key, found in sorted(self.returns.items())]

    def load(self, plain: Sequence[Any]) -> None:
        for (family, row, stream), times, released, lasted in plain:
            self.returns[family, row, stream] = (times, released, lasted)

    def _freeze(self, key: Key, frozen: bool) -> None:
        family, row, index = key
        if family != STILL:
            self._panels[family].frozen[row, index] = frozen


def _smoothed(counts: F64) -> F64:
    shares: F64 = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares

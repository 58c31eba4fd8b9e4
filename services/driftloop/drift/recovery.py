"""Whether streams that have drifted are back at what they were before: like the reference and the
rows that came since, until the change. The reference alone may be a small sample, and those rows
tell better what it is a sample of."""

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

_DAY = 86_400_000
_SOON = 28
"""Days, or windows where these are longer, that a change is remembered for: one that comes back by
then is the same one, and one that has stayed away for so long is over. Four weeks, for what comes
and goes does so by the day and by the week; event time, so that nights without rows count."""
_DOUBLINGS, _MOST_DOUBLINGS = 2, 16
"""Of the rows its recovery takes, each time it comes back, and in all."""


class Recovery:
    """While a stream is waited for, its bags take nothing in."""

    def __init__(self, panels: Mapping[str, Panel], still: Still, enough: float) -> None:
        """``enough``: log of the evidence it takes."""
        self._panels = panels
        self._still = still
        self._enough = enough
        self.returns: dict[Key, tuple[int, int]] = {}
        """Of streams that were back: the doublings it took, and when, event time, ms."""

    def begin(self, found: Found, kept: Kept) -> Member:
        """Wait for a stream that was found in the window ``kept``."""
        drifted: list[float] = []
        rows = found.rows
        family, row, index = found.key
        if family == STILL:
            rows = max(rows, LEAST_CONSTANT_ROWS)
            self._still.freeze(index)
        else:
            panel = self._panels[family]
            drifted = panel.counts(found.since, row)[panel.group.span(index)].tolist()
            panel.freeze(found.key, found.since)
        # What comes and goes is one cause: it must stay away for longer each time it comes back.
        doublings = 0
        if found.key in self.returns:
            before, back = self.returns[found.key]
            if kept.start - back <= _remembered(kept):
                doublings = min(before + _DOUBLINGS, _MOST_DOUBLINGS)
        return Member(
            found.since[0].number,
            kept.number,
            rows << doublings,
            drifted,
            seen=found.rows,
            doublings=doublings,
        )

    def take(self, member: Member, key: Key, kept: Kept, history: History) -> bool:
        """Take in a window: whether the stream is back at what it was.

        A CUSUM of the evidence against rows still coming from the shares that the stream had
        drifted to; while they do, it goes wrong at most once in as many rows as a false alarm of
        the whole budget comes in (Lorden, Annals of Mathematical Statistics 42, 1971). The rows
        since it turned must be as many as it took to find the change (``Member.rows``), or have
        come for as long as a change is remembered, and their effect be below half its floor.
        Evidence beyond what is needed is not saved up, so that a change that comes back shows at
        once.
        """
        family, row, index = key
        if family == STILL:
            member.returned = self._still.moving[index]
            if member.away < 0 or self._still.runs[index][1]:
                member.away = kept.end
            return _long_enough(member, kept)
        panel = self._panels[family]
        span = panel.group.span(index)
        if member.recovery <= 0.0:
            member.recovery, member.turned, member.returned = 0.0, kept.number, 0
            member.away = kept.start
        before = panel.before([kept], row)
        back = _smoothed(before.shares[span] * before.known[index])
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
        if member.recovery < self._enough or not _long_enough(member, kept):
            return False
        before = panel.before(turned, row)
        return panel.effects(turned, row, counts, before)[index].ratio < 0.5

    def end(self, key: Key, kept: Kept, member: Member) -> None:
        """Watch a stream that is back anew; the window after ``kept`` is the first to count."""
        family, _, index = key
        self.returns[key] = (member.doublings, kept.end)
        if family == STILL:
            self._still.restart(index)
            return
        self._panels[family].restart(key, kept.number + 1)

    def to_plain(self) -> list[Any]:
        """All state."""
        return [[list(key), *found] for key, found in sorted(self.returns.items())]

    def load(self, plain: Sequence[Any]) -> None:
        for (family, row, stream), doublings, back in plain:
            self.returns[family, row, stream] = (doublings, back)


def _remembered(kept: Kept) -> int:
    """For how long a change is, ms; ``kept`` is one window."""
    return _SOON * max(_DAY, kept.end - kept.start)


def _long_enough(member: Member, kept: Kept) -> bool:
    """Whether a change has stayed away for as many rows as it must, up to the window ``kept``."""
    if member.returned >= member.rows:
        return True
    return 0 <= member.away <= kept.end - _remembered(kept)


def _smoothed(counts: F64) -> F64:
    shares: F64 = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares

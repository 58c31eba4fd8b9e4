"""Which version of a model serves, as its windows tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from driftloop.kernel.records import Stream, Window

_FIRM = {Stream.PREDICTIONS: 2, Stream.OUTCOMES: 12}
"""Windows that a version must have the most rows in, less those that another has, to be the one
that serves. Labels are of what served long ago; predictions are of what serves, but for workers
that swap late."""
_CHANCE = {Stream.PREDICTIONS: 1e-2, Stream.OUTCOMES: 1e-6}
"""Of as many windows without a row of a version that serves as show that it does not."""
_MINOR = 12
"""Windows of predictions in which another version must have more rows, less those in which it has
fewer, than one that has never led."""
_NEWEST = 128
"""Windows after which what was counted counts half."""


@dataclass(slots=True)
class Serving:
    """Which version's windows count.

    Those of several come side by side for a while: workers do not swap at one moment, and labels
    of what an old version predicted come long after. Which one serves is read off the windows
    alone, so that it is the same whatever else is known when they come: deployments lie on a topic
    of their own, which has no order with that of windows and keeps only the newest.
    """

    version: int = -1
    highest: int = -1
    began: int = -1
    """Start of the window that the present version took over in; -1 for the first of all."""
    newest: int = -1
    """Start of the newest window of any version, which those of others may still share."""
    here: dict[int, int] = field(default_factory=dict)
    """Rows in it so far, by version."""
    windows: int = 0
    """Since the present version took over until it had rows last, of any version; before the newest
    one, as all that follows. Halved now and then, and the next two with it."""
    served: int = 0
    """Those of them that the present version has rows in."""
    rows: int = 0
    """Of the present version."""
    silent: int = 0
    """Windows since it had rows last."""
    lead: int = 0
    """In how many windows it had the most rows, less those in which another one had; from 0 on."""
    firm: bool = False
    """Whether it has ever led by enough windows."""
    ahead: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By version in how many windows it had more rows than the present one, less those in which it
    had fewer, and how many more rows in all of these; only of versions that are ahead."""

    def takes_over(self, window: Window) -> bool:
        """Whether the window shows that another version serves now.

        A version never seen before does. From then on its labels come beside those of older
        versions, few at first, and more than theirs after some time; when they were more in enough
        windows (``_FIRM``), it is firm. One seen before (rolled back to, or promoted again) takes
        over from a version that is firm when it has more rows in as many windows: labels of the
        past thin out, and those of a version that serves do not. From one that is not, it does when
        that has fallen silent: for so many windows as, by the share of windows that it had rows in,
        seldom happens to one that serves (``_CHANCE``), or when it has more predictions in many
        windows (``_MINOR``). Either way it must have as many rows more as the present one has in a
        window on average.
        """
        version, stream = window.version, window.stream
        if version == self.version:
            return False
        if version > self.highest:
            return True
        now = self._until(window)
        windows, rows = now.ahead.get(version, (0, 0))
        most = max((more for more, _ in now.ahead.values()), default=0)
        if windows == 0 or windows < most or rows * max(now.served, 1) < now.rows:
            return False
        if now.firm:
            return windows >= _FIRM[stream]
        # Predictions come from the version that serves: one that never leads serves next to nothing
        # (one worker of several swapped, say). Labels may have yet to come.
        if stream is Stream.PREDICTIONS and windows >= _MINOR:
            return True
        absent = 1.0 - (now.served + 1) / (now.windows + 2)
        return now.silent * math.log(absent) <= math.log(_CHANCE[stream])

    def replace(self, window: Window) -> None:
        """The window's version takes over. :meth:`note` is to follow."""
        self.began = window.start if self.version >= 0 else -1
        self.version = window.version
        # It has shown that it serves, unless it was never seen before.
        self.firm = self.version <= self.highest
        self.highest = max(self.highest, self.version)
        self.windows = self.served = self.rows = self.silent = self.lead = 0
        self.ahead = {}
        if window.start > self.newest:
            self.here = {}

    def note(self, window: Window) -> None:
        """Take in a window, of whichever version."""
        if window.start > self.newest:
            self._close(_FIRM[window.stream])
            self.newest = window.start
        if window.start == self.newest:
            self.here[window.version] = self.here.get(window.version, 0) + window.rows
        elif window.version == self.version:
            self.silent = 0

    def to_plain(self) -> dict[str, Any]:
        """All state."""
        here = sorted(self.here.items())
        ahead = [[version, *more] for version, more in sorted(self.ahead.items())]
        return {**asdict(self), "here": here, "ahead": ahead}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Serving:
        """From :meth:`to_plain`."""
        if "last_start" in plain:
            return _of_an_older_release(plain)
        ahead = {version: (windows, rows) for version, windows, rows in plain["ahead"]}
        return cls(**{**plain, "here": dict(plain["here"]), "ahead": ahead})

    def _until(self, window: Window) -> Serving:
        """How it stands before a window of another version, and with it where the present one's
        rows beside it are known."""
        now = replace(self, here=dict(self.here), ahead=dict(self.ahead))
        firm = _FIRM[window.stream]
        if window.start > self.newest:
            now._close(firm)
        # Of one start the newest version's window comes first: the present one's would be here.
        if window.start >= self.newest and window.version < self.version:
            now.here[window.version] = now.here.get(window.version, 0) + window.rows
            now._close(firm)
        return now

    def _close(self, firm: int) -> None:
        """The newest window so far is over."""
        here, self.here = self.here, {}
        if not here:
            return
        own = here.get(self.version, 0)
        if own:
            self.windows, self.silent = self.windows + self.silent + 1, 0
            self.served, self.rows = self.served + 1, self.rows + own
        else:
            self.silent += 1
        if self.windows >= _NEWEST:
            self.windows, self.served, self.rows = (
                count // 2 for count in (self.windows, self.served, self.rows)
            )
        most = max((rows for version, rows in here.items() if version != self.version), default=0)
        self.lead = max(self.lead + _sign(own - most), 0)
        if self.lead >= firm and not self.firm:
            # What others had before was of the time before.
            self.firm, self.ahead = True, {}
        for version in {*here, *self.ahead} - {self.version}:
            more = here.get(version, 0) - own
            windows, rows = self.ahead.get(version, (0, 0))
            self.ahead[version] = windows + _sign(more), rows + more
            if self.ahead[version][0] <= 0:
                del self.ahead[version]


def _of_an_older_release(plain: Mapping[str, Any]) -> Serving:
    """It kept of the version that serves the newest window only, which does not tell whether that
    has ever led: it is firm where it was rolled back to."""
    version, highest, start = plain["version"], plain["highest"], plain["last_start"]
    here = {version: plain["last_rows"]} if start >= 0 else {}
    return Serving(version, highest, plain["began"], start, here, firm=version < highest)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)

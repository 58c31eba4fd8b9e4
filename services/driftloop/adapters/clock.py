"""Processing time: the machine's, or one that a test sets."""

from __future__ import annotations

import threading
import time


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        threading.Event().wait(seconds)


class ManualClock:
    """Stands still until it is told to move."""

    def __init__(self, now: int = 0) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._now / 1000

    def pause(self, seconds: float) -> None:
        self._now += round(seconds * 1000)

    def advance(self, milliseconds: int) -> None:
        """Move forward."""
        self._now += milliseconds

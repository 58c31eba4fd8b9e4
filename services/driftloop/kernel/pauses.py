"""How long to wait before what failed is tried again."""

from __future__ import annotations

_FIRST_S, _LONGEST_S = 0.1, 10.0


class Pauses:
    """None after the first failure, which mostly passes; after each that follows without a success
    between them twice as long as before, at most ten seconds. What does not pass, such as a topic
    that takes no record, must not be tried, and complained of, several times a second."""

    def __init__(self) -> None:
        self._successes = 0
        self._next_s = 0.0

    def after_failure(self, successes: int) -> float:
        """Seconds; ``successes`` is how many there have been up to now."""
        if successes != self._successes:
            self._successes, self._next_s = successes, 0.0
        pause_s = self._next_s
        self._next_s = min(max(2 * pause_s, _FIRST_S), _LONGEST_S)
        return pause_s

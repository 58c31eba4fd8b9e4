"""Dead letters of a service: written with what else a transaction has, counted when it is through,
and no more of them than the service is allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from driftloop.kernel import metrics
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DeadLetterLimitError
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Send
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.topics import ControlTopics


class Rejecting:
    """Counts what is committed, and what is on its way: that is rejected again if it is aborted."""

    def __init__(self, service: str, limit: int, topics: ControlTopics, meter: Meter) -> None:
        self._service = service
        self._limit = limit
        self._topics = topics
        self._meter = meter
        self._committed = 0
        self._under_way = 0

    def sends(self, letters: Sequence[DeadLetter]) -> list[Send]:
        """Raises :class:`DeadLetterLimitError` where they are too many."""
        self._under_way += len(letters)
        rejected = self._committed + self._under_way
        if rejected > self._limit:
            raise DeadLetterLimitError(
                f"{self._service} rejected {rejected} records, more than the {self._limit} it was "
                "allowed: look at them with 'driftloop tail dead-letters', mend what sends them, "
                "and start it again"
            )
        topics, encode = self._topics, codec(DeadLetter).encode
        return [
            Send(
                topics.dead_letters,
                [letter.topic.encode()],
                [encode(letter)],
                topics.partition(letter.topic),
            )
            for letter in letters
        ]

    def counted(self, letters: Sequence[DeadLetter]) -> Callable[[int], None]:
        """To be called when the transaction with them is through."""
        return partial(self._count, Counter((one.topic, one.reason) for one in letters))

    def aborted(self) -> None:
        """Nothing that was on its way will be through."""
        self._under_way = 0

    def _count(self, counts: Counter[tuple[str, str]], now: int) -> None:
        for (topic, reason), count in counts.items():
            self._meter.add(metrics.DEAD_LETTERS, count, topic, reason)
        self._under_way -= counts.total()
        self._committed += counts.total()

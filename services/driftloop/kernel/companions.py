"""Partitions that come along with those that a group hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from driftloop.kernel.ports import TopicPartition


class Companions:
    """Of one member. What came along with a partition leaves with it, whatever the topics that go
    together are by then: a model may be taken out meanwhile."""

    def __init__(self, of: Callable[[str], Sequence[str]]) -> None:
        """``of`` maps a lead topic to its companion topics."""
        self._of = of
        self._held: dict[TopicPartition, list[TopicPartition]] = {}

    def gain(self, leads: Iterable[TopicPartition]) -> list[TopicPartition]:
        """These, and what comes along with them."""
        found = list(leads)
        for lead in tuple(found):
            along = [TopicPartition(topic, lead.partition) for topic in self._of(lead.topic)]
            self._held[lead] = along
            found += along
        return found

    def leave(self, leads: Iterable[TopicPartition]) -> list[TopicPartition]:
        """These, and what had come along with them."""
        found = list(leads)
        for lead in tuple(found):
            found += self._held.pop(lead, ())
        return found

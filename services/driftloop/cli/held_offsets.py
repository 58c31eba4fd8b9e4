"""What windows say that they were made from, against the offsets that the log has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import OffsetRange, Window


@dataclass(frozen=True, slots=True)
class HeldOffsets:
    """The offsets that the log has of some topics."""

    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]

    @classmethod
    def of(cls, log: Log, topics: Iterable[str]) -> HeldOffsets:
        names = sorted(topics)
        return cls(log.start_offsets(names), log.end_offsets(names))

    def false(self, window: Window, topic: str) -> str:
        """Why a window of rows of this topic cannot have been made from what it names, whatever the
        log does not have any more; empty where it can."""
        if not window.sources:
            return f"it names no offsets of its {window.rows} rows"
        named: set[int] = set()
        for source in window.sources:
            if source.topic != topic:
                return (
                    f"it names {source.topic}/{source.partition}, but {window.stream} of "
                    f"{window.model!r} are on {topic}"
                )
            if source.partition in named:
                return f"it names {_named(source)} twice"
            named.add(source.partition)
            end = self.ends.get(_partition(source))
            if end is None and any(at.topic == topic for at in self.ends):
                return f"it names {_named(source)}, and the topic has no such partition"
            if not 0 <= source.start < source.end:
                return f"it names {range_text(source)}: no rows lie there"
            if end is not None and source.end > end:
                return f"it names {range_text(source)}, but the log has come only to {end}"
        return ""

    def gone(self, window: Window) -> str:
        """What it was made from, if that can be, that the log does not have any more; empty where
        it has all."""
        for source in window.sources:
            start = self.starts.get(_partition(source))
            if start is None:
                return f"there is no {_named(source)}"
            if start > source.start:
                return f"it is of {range_text(source)}, but the log begins with {start}"
        return ""


def _partition(source: OffsetRange) -> TopicPartition:
    return TopicPartition(source.topic, source.partition)


def _named(source: OffsetRange) -> str:
    return f"{source.topic}/{source.partition}"


def range_text(source: OffsetRange) -> str:
    """For people."""
    return f"{_named(source)} offsets [{source.start}, {source.end})"

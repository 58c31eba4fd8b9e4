"""What a broker keeps, in lists: partitions, groups and who owns what."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from driftloop.kernel.codec.murmur2 import partition_of
from driftloop.kernel.errors import ConfigurationError, LogUnavailableError
from driftloop.kernel.ports import Clock, Headers, RecordBatch, Send, TopicPartition, TopicSpec

if TYPE_CHECKING:
    from driftloop.adapters.memory.session import MemorySession


class Partition:
    """One partition. Offsets have gaps where Kafka would write a transaction marker."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Headers] = []
        self.end = 0

    def append(self, timestamp: int, key: bytes | None, value: bytes | None, h: Headers) -> None:
        self.offsets.append(self.end)
        self.timestamps.append(timestamp)
        self.keys.append(key)
        self.values.append(value)
        self.headers.append(h)
        self.end += 1

    def mark(self) -> None:
        """The marker that ends a transaction takes an offset."""
        self.end += 1

    def after(self, batch: RecordBatch | None) -> int:
        """The position after ``batch``, markers that follow it passed over; None: the end."""
        if batch is None or batch.next_offset > self.offsets[-1]:
            return self.end
        return batch.next_offset

    def slice(self, source: TopicPartition, start: int, end: int, limit: int) -> RecordBatch | None:
        """Records with offsets in [start, end), at most ``limit``; None if there are none."""
        low = bisect.bisect_left(self.offsets, start)
        high = min(bisect.bisect_left(self.offsets, end), low + limit)
        if low >= high:
            return None
        headers = self.headers[low:high]
        return RecordBatch(
            source.topic,
            source.partition,
            self.offsets[low:high],
            self.timestamps[low:high],
            self.keys[low:high],
            self.values[low:high],
            headers if any(headers) else None,
        )


@dataclass(slots=True)
class Group:
    """Members in the order they joined, committed offsets, and the owner of each partition."""

    members: list[MemorySession] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    owners: dict[TopicPartition, MemorySession] = field(default_factory=dict)


class Storage:
    """Topics and groups."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.topics: dict[str, list[Partition]] = {}
        self.groups: dict[str, Group] = {}
        self._next_without_key = 0

    def ensure(self, spec: TopicSpec) -> None:
        have = self.topics.get(spec.name)
        if have is None:
            self.topics[spec.name] = [Partition() for _ in range(spec.partitions)]
        elif len(have) != spec.partitions:
            raise ConfigurationError(
                f"topic {spec.name!r} has {len(have)} partitions, not {spec.partitions}: "
                "use another name, or declare the number it has"
            )

    def partition(self, source: TopicPartition) -> Partition:
        return self.topics[source.topic][source.partition]

    def sources(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Every partition of the topics that exist."""
        return [TopicPartition(t, p) for t in topics for p in range(len(self.topics.get(t, ())))]

    def append(self, send: Send) -> set[TopicPartition]:
        """Write records; returns the partitions written to."""
        if send.topic not in self.topics:
            raise LogUnavailableError(f"there is no topic {send.topic!r}: apply the model first")
        touched = set()
        count = len(self.topics[send.topic])
        now = self.clock.now()
        for row, (key, value) in enumerate(zip(send.keys, send.values, strict=True)):
            source = TopicPartition(send.topic, self._choose(send.partition, key, count))
            timestamp = now if send.timestamps is None else send.timestamps[row]
            headers = () if send.headers is None else send.headers[row]
            self.partition(source).append(timestamp, key, value, headers)
            touched.add(source)
        return touched

    def _choose(self, partition: int | None, key: bytes | None, count: int) -> int:
        if partition is not None:
            return partition
        if key is not None:
            return partition_of(key, count)
        self._next_without_key += 1
        return self._next_without_key % count

    def targets(self, group: Group) -> dict[TopicPartition, MemorySession]:
        """Who should own what: partitions dealt out in turn among the members subscribed."""
        wanted: dict[TopicPartition, MemorySession] = {}
        topics = sorted({t for member in group.members for t in member.topics})
        for topic in topics:
            members = [member for member in group.members if topic in member.topics]
            for source in self.sources([topic]):
                wanted[source] = members[source.partition % len(members)]
        return wanted

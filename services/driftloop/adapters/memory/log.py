"""The log's other ports, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from driftloop.adapters.memory.session import MemorySession
from driftloop.adapters.memory.storage import Group, Storage
from driftloop.kernel.ports import (
    AssignmentListener,
    Clock,
    RecordBatch,
    Send,
    TopicPartition,
    TopicSpec,
)


class MemoryLog:
    """See :class:`driftloop.kernel.ports.Log`. Not for several threads."""

    def __init__(self, clock: Clock) -> None:
        self._storage = Storage(clock)

    def session(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str,
        listener: AssignmentListener,
        companions: Callable[[str], Sequence[str]] = lambda topic: (),
    ) -> MemorySession:
        joined = self._storage.groups.setdefault(group, Group())
        return MemorySession(self._storage, joined, topics, instance, listener, companions)

    def follow(self, topics: Sequence[str]) -> MemoryFollower:
        return MemoryFollower(self._storage, topics)

    def producer(self, name: str) -> MemoryProducer:
        return MemoryProducer(self._storage)

    def outbox(self, limit: int) -> MemoryOutbox:
        return MemoryOutbox(self._storage)

    def read(
        self, source: TopicPartition, start: int, end: int, *, limit: int = 4096
    ) -> Iterator[RecordBatch]:
        while start < end:
            batch = self._storage.partition(source).slice(source, start, end, limit)
            if batch is None:
                return
            yield batch
            start = batch.next_offset

    def next_record(self, source: TopicPartition, start: int, end: int) -> int:
        for batch in self.read(source, start, end, limit=1):
            return batch.offsets[0]
        return end

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            self._storage.ensure(spec)

    def partitions(self, topic: str) -> int:
        return len(self._storage.topics.get(topic, ()))

    def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return {s: self._storage.partition(s).end for s in self._storage.sources(topics)}

    def high_watermarks(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return self.end_offsets(topics)

    def start_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(self._storage.sources(topics), 0)

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        known = self._storage.groups.get(group, Group()).committed
        return {source: offset for source, offset in known.items() if source.topic in topics}

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryFollower:
    """See :class:`driftloop.kernel.ports.Follower`."""

    def __init__(self, storage: Storage, topics: Sequence[str]) -> None:
        self._storage = storage
        self._topics = tuple(topics)
        self._positions: dict[TopicPartition, int] = {}

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        batches = []
        for source in self._storage.sources(self._topics):
            partition = self._storage.partition(source)
            start = self._positions.get(source, 0)
            batch = partition.slice(source, start, partition.end, limit)
            self._positions[source] = partition.after(batch)
            if batch is not None:
                batches.append(batch)
        return batches

    def caught_up(self) -> bool:
        return all(
            self._positions.get(source, 0) >= self._storage.partition(source).end
            for source in self._storage.sources(self._topics)
        )

    def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryProducer:
    """See :class:`driftloop.kernel.ports.Producer`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def send(self, send: Send) -> None:
        self._storage.append(send)

    def flush(self, timeout_s: float) -> None:
        """Everything is written already."""

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryOutbox:
    """See :class:`driftloop.kernel.ports.Outbox`. Like Kafka's, it settles later."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._settled: list[tuple[int, Callable[[int], None]]] = []

    @property
    def unacknowledged(self) -> int:
        return sum(count for count, _ in self._settled)

    def post(self, send: Send, lost: Callable[[int], None]) -> None:
        self._storage.append(send)

    def confirm(self, send: Send, settled: Callable[[int], None]) -> None:
        self._storage.append(send)
        self._settled.append((len(send), settled))

    def serve(self) -> None:
        done, self._settled = self._settled, []
        for _, settled in done:
            settled(0)

    def close(self, timeout_s: float) -> None:
        self.serve()

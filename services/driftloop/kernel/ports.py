"""The ports: what a service needs of the world, as protocols.

Two adapters implement the log: ``adapters.kafka`` and ``adapters.memory``. One contract suite runs
against both. Times are integer milliseconds since the epoch; offsets are those of Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from driftloop.kernel.header_table import Headers as Headers


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one topic partition, in offset order, as columns of equal length.

    Offsets ascend but may have gaps (transaction markers, compaction). Kafka's batches hold keys
    and values as :class:`~driftloop.kernel.slices.Slices`, headers as a
    :class:`~driftloop.kernel.header_table.HeaderTable`.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    """Kafka record timestamps, ms."""
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    """``None`` is a tombstone."""
    headers: Sequence[Headers] | None = None
    """``None`` when no record of the batch has headers."""
    model: str | None = None
    """Whose records these are, where models share the topic."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def source(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return self.offsets[-1] + 1


@dataclass(frozen=True, slots=True)
class Send:
    """Records to be written to one topic, as columns of equal length.

    ``partition`` None lets the key choose (murmur2 of the key, as Java's default producer does).
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    partition: int | None = None
    timestamps: Sequence[int] | None = None
    headers: Sequence[Headers] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be made: its partitions and the broker's settings for it."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


class SchemaRegistry(Protocol):
    """Where schemas have ids. :meth:`texts_of` and :meth:`register` raise
    :class:`RegistryUnavailableError` when it does not answer, and :class:`ConfigurationError` when
    it does not let this process in."""

    def texts_of(self, ids: Sequence[int], within_s: float) -> Iterable[tuple[int, str | None]]:
        """The Avro JSON of ids from 1 to 2^31 - 1 as the answers come; None where the registry has
        none of it. Those that are not answered on within the time are left out; what is answered
        comes before an error is raised."""
        ...

    def register(self, subject: str, text: str) -> int:
        """The id of a schema under a subject, which it is added to where it is not there yet.

        Raises :class:`SchemaError` where the registry refuses it, as incompatible for one.
        """
        ...

    def close(self) -> None:
        """Let go of connections. It may be used again, and opens new ones."""
        ...


class Clock(Protocol):
    """Processing time. Never used inside a core; it decides when, not what."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...

    def pause(self, seconds: float) -> None:
        """Let time pass between two looks at something that is waited for."""
        ...


class AssignmentListener(Protocol):
    """Told of partitions that come and go. Called from within :meth:`Session.poll`."""

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Prepare for ``partitions`` (restore state). Returns positions to start from, where they
        differ from the committed ones."""
        ...

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Finish or abort what is open: the partitions leave when this returns."""
        ...

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """The partitions are already someone else's: drop what is open."""
        ...

    def on_skipped(self, source: TopicPartition, position: int, start: int) -> None:
        """The log no longer has the record at ``position``: reading goes on at ``start``. Not
        called where nothing had been read before."""
        ...


class Session(Protocol):
    """A group member that reads, and writes what it made of it in one transaction.

    Reads committed records only. One transaction is open at a time::

        batches = session.poll(4096, 0.1)
        session.begin()
        session.send(Send(...))
        session.commit({TopicPartition("flights.events", 0): 4711})
    """

    def subscribe(self, topics: Sequence[str]) -> None:
        """Replace the lead topics the group shares out. Topics that do not exist yet are picked up
        when they are made."""
        ...

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        """At most ``limit`` records, one batch for each partition that has some; empty after
        ``timeout_s`` without any."""
        ...

    def assignment(self) -> frozenset[TopicPartition]: ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset to be read per assigned partition, transaction markers passed over."""
        ...

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Go on reading from these offsets."""
        ...

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def send(self, send: Send) -> None:
        """Write records inside the open transaction. Blocks while the producer's queue is full."""
        ...

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit the open transaction and, within it, these offsets of the group.

        Raises :class:`FencedError` when another process took over, :class:`LogError` when the
        transaction was aborted instead (nothing was written, the positions did not move).
        """
        ...

    def abort(self) -> None:
        """Abort the open transaction, if any."""
        ...

    def close(self) -> None:
        """Leave the group, aborting what is open."""
        ...


class Follower(Protocol):
    """Reads whole topics from their beginning, outside any group: for control topics."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]: ...

    def caught_up(self) -> bool:
        """Whether everything that was in the topics when last asked has been polled."""
        ...

    def positions(self) -> Mapping[TopicPartition, int]: ...

    def close(self) -> None: ...


class Producer(Protocol):
    """Writes outside a transaction, idempotently, and knows what has been acknowledged."""

    def send(self, send: Send) -> None:
        """Queue records; blocks while the queue is full."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until every record is acknowledged.

        Raises :class:`LogUnavailableError` naming how many are not.
        """
        ...

    def close(self) -> None: ...


class Outbox(Protocol):
    """Writes outside a transaction, idempotently, and never waits: for who must answer at once.

    Not for several threads. What it may hold is bounded; what finds no room is lost, and said so.
    """

    @property
    def unacknowledged(self) -> int:
        """Records neither acknowledged nor given up; never fewer than there are."""
        ...

    def post(self, send: Send, lost: Callable[[int], None]) -> None:
        """Queue records. ``lost`` is told how many were given up, whenever some were: from here,
        from :meth:`serve` or from :meth:`close`."""
        ...

    def confirm(self, send: Send, settled: Callable[[int], None]) -> None:
        """Queue records. ``settled`` is called once, as ``lost`` is, when each has been
        acknowledged or given up, with how many were given up. Costs more than :meth:`post`."""
        ...

    def serve(self) -> None:
        """Call who is to be told something."""
        ...

    def close(self, timeout_s: float) -> None:
        """Wait for so long, give up the rest, and tell who is to be told."""
        ...


class Log(Protocol):
    """The log: Kafka, or a list in memory."""

    def session(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str,
        listener: AssignmentListener,
        companions: Callable[[str], Sequence[str]] = ...,
    ) -> Session:
        """Join ``group``. ``instance`` names this process within the group and survives its
        restart: a process of the same name fences its predecessor.

        Partition p of a lead topic brings partition p of each of its ``companions`` along, so one
        member holds both; ``companions`` maps a lead topic to its companion topics.
        """
        ...

    def follow(self, topics: Sequence[str]) -> Follower: ...

    def producer(self, name: str) -> Producer: ...

    def outbox(self, limit: int) -> Outbox:
        """``limit``: records held at most."""
        ...

    def read(
        self, source: TopicPartition, start: int, end: int, *, limit: int = 4096
    ) -> Iterator[RecordBatch]:
        """Committed records of one partition with offsets in [start, end), in order."""
        ...

    def next_record(self, source: TopicPartition, start: int, end: int) -> int:
        """The offset of the first of these; ``end`` where there is none, but markers at most."""
        ...

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Make the topics that do not exist. Raises :class:`ConfigurationError` where one exists
        with another number of partitions."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 if there is no such topic."""
        ...

    def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """The offset after the last stable (committed) record or marker of every partition."""
        ...

    def high_watermarks(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """The offset after the last record of every partition, decided or not."""
        ...

    def start_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]: ...

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """The group's committed offsets, of the partitions that have one."""
        ...

    def close(self) -> None:
        """Let go of every client made here that is still open."""
        ...

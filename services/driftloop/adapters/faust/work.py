"""What a Faust table does its work with: the side that is not Faust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from driftloop.kernel.ports import Send, TopicPartition


@dataclass(frozen=True, slots=True)
class TableRecord:
    """One record of the topic."""

    partition: int
    offset: int
    timestamp: int
    """Kafka's, ms."""
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Work:
    """What is made of records: written first, then the table's entries, then the commit."""

    sends: Sequence[Send] = ()
    entries: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Changes of the table; None deletes."""


class TableWork(Protocol):
    """The part that is not Faust. Called by one thread at a time; may block."""

    def partition_of(self, key: bytes) -> int:
        """The topic partition that a table entry belongs to."""
        ...

    def gained(self, partition: int, entries: Iterable[tuple[bytes, bytes]]) -> int:
        """A partition came, with its entries of the table. Returns the offset to read it from."""
        ...

    def lost(self, partition: int) -> None:
        """A partition left."""
        ...

    def process(self, records: Sequence[TableRecord]) -> Work: ...

    def written(self, offsets: Mapping[TopicPartition, int]) -> Mapping[bytes, bytes | None]:
        """Called when all of a :class:`Work` is written, if it had sends, with the offset of the
        last of them in each partition. Entries that say so are written then."""
        ...

    def on_time(self) -> Work:
        """Called after every :meth:`process` and at least every tick."""
        ...

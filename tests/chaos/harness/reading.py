"""Reads topics to their end, committed records only, with Kafka's client alone: what is judged
does not read for the judge."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

MODEL_HEADER = "driftloop-model"

_AT_ONCE = 20_000
_POLL_S = 0.1
_SILENCE_S = 60.0


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def owner_of(headers: Sequence[tuple[str, bytes | None]] | None) -> str:
    """The model that a record of a shared topic says it is of; empty where it says none."""
    said = [value for name, value in headers or () if name == MODEL_HEADER]
    return (said[-1] or b"").decode(errors="replace") if said else ""


def read_batches(
    bootstrap: str, topic: str, owner: str | None = None
) -> Iterator[tuple[int, list[Any]]]:
    """Partition and messages of it in their order, until the end of every partition; only those of
    ``owner`` where the topic is shared.

    Raises RuntimeError when nothing comes for a minute.
    """
    client = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "chaos.verdict",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    try:
        partitions = client.list_topics(topic, timeout=30).topics[topic].partitions
        client.assign([TopicPartition(topic, p, 0) for p in partitions])
        left = set(partitions)
        heard = time.monotonic()
        while left:
            messages = client.consume(_AT_ONCE, _POLL_S)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                raise RuntimeError(f"{topic} could not be read to its end: {sorted(left)} are left")
            found: dict[int, list[Any]] = {}
            for message in messages:
                error = message.error()
                if error is None:
                    if owner is not None and owner_of(message.headers()) != owner:
                        continue
                    found.setdefault(message.partition(), []).append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
            yield from found.items()
    finally:
        client.close()


def read(bootstrap: str, topic: str, owner: str | None = None) -> Iterator[Record]:
    """Every record, in offset order within a partition."""
    for partition, messages in read_batches(bootstrap, topic, owner):
        for m in messages:
            yield Record(
                topic, partition, m.offset(), m.timestamp()[1], m.key(), m.value(),
                tuple(m.headers() or ()),
            )  # fmt: skip


def compacted(records: Sequence[Record]) -> dict[bytes, bytes]:
    """The newest value of every key."""
    found: dict[bytes, bytes] = {}
    for record in records:
        assert record.key is not None
        if record.value is None:
            found.pop(record.key, None)
        else:
            found[record.key] = record.value
    return found

"""Messages of confluent_kafka to record batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import RecordBatch, TopicPartition

_PASSING = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
"""librdkafka goes on by itself after these; the next poll tells."""


def gather(messages: Iterable[Any], positions: dict[TopicPartition, int]) -> list[RecordBatch]:
    """Group messages by partition and move ``positions``, end-of-partition events included.

    Raises :class:`LogUnavailableError` on errors that librdkafka does not get over by itself.
    """
    rows: dict[TopicPartition, list[Any]] = {}
    for message in messages:
        error = message.error()
        source = TopicPartition(message.topic(), message.partition())
        if error is None:
            rows.setdefault(source, []).append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            if source in positions:
                positions[source] = max(positions[source], message.offset())
        elif error.code() not in _PASSING:
            raise LogUnavailableError(f"reading {source.topic}: {error.str()}")
    return [_batch(source, found, positions) for source, found in rows.items()]


def _batch(
    source: TopicPartition, messages: list[Any], positions: dict[TopicPartition, int]
) -> RecordBatch:
    offsets = [message.offset() for message in messages]
    positions[source] = max(positions.get(source, 0), offsets[-1] + 1)
    headers = [message.headers() for message in messages]
    return RecordBatch(
        source.topic,
        source.partition,
        offsets,
        [message.timestamp()[1] for message in messages],
        [message.key() for message in messages],
        [message.value() for message in messages],
        [tuple(h or ()) for h in headers] if any(headers) else None,
    )


def passing(error: KafkaException) -> bool:
    """Whether asking again may help at once."""
    inner = error.args[0]
    return isinstance(inner, KafkaError) and inner.code() in _PASSING


def unavailable(doing: str, error: KafkaException) -> LogUnavailableError:
    """The error for a call that Kafka did not answer as asked."""
    inner = error.args[0]
    text = inner.str() if isinstance(inner, KafkaError) else str(inner)
    return LogUnavailableError(f"{doing}: {text}")

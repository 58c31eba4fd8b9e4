"""Which of Kafka's errors pass, and what the others are called."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from driftloop.kernel.errors import LogUnavailableError

PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        # After a broker's restart, until clients and broker agree about who leads since when.
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)
"""librdkafka goes on by itself after these; the next poll tells."""


def passing(error: KafkaException) -> bool:
    """Whether asking again may help at once."""
    inner = error.args[0]
    return isinstance(inner, KafkaError) and inner.code() in PASSING


def unavailable(doing: str, error: KafkaException) -> LogUnavailableError:
    """The error for a call that Kafka did not answer as asked."""
    inner = error.args[0]
    text = inner.str() if isinstance(inner, KafkaError) else str(inner)
    return LogUnavailableError(f"{doing}: {text}")

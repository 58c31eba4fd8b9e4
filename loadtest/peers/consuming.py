"""A confluent-kafka consumer with its best settings, over given records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from loadtest.peers.asked import Asked

BATCH = 10_000
"""Of 1,024, 4,096 and 10,000 no size was slower than this one."""


def consumer(asked: Asked) -> Any:
    """librdkafka's defaults are made for throughput; offsets are committed in the background, as
    is usual. It begins at the given offsets without joining a group: that costs nothing here."""
    made = Consumer(
        {
            "bootstrap.servers": asked.bootstrap,
            "group.id": "peer",
            "auto.offset.reset": "error",
        }
    )
    made.assign([TopicPartition(asked.topic, int(p), o) for p, o in asked.starts.items()])
    return made


def batches(client: Any, rows: int) -> Iterator[list[Any]]:
    """Messages until so many have come; the last batch may be cut."""
    seen = 0
    while seen < rows:
        messages = client.consume(BATCH, 1.0)
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
        messages = messages[: rows - seen]
        seen += len(messages)
        if messages:
            yield messages

"""A Faust app with its best settings, over given records."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import faust
import uvloop
from confluent_kafka import Consumer, TopicPartition

from loadtest.peers.asked import Asked

RAW = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
}
_COMMIT_S = 60.0


def run(asked: Asked, agent: Callable[[Any, Any, asyncio.Event], Awaitable[None]]) -> None:
    """Runs an app until ``agent(app, stream, done)`` sets the event.

    Faust has its compiled streams, and uvloop, its own choice for speed. At least once, and no web
    server, no tables, no leader election, no monitoring of ours: what costs and is not needed. The
    topic's values come as bytes, so that nothing is decoded twice.
    """
    group = f"faust-{uuid.uuid4().hex[:12]}"
    _begin_at(asked, group)
    uvloop.run(_main(asked, group, agent))


async def _main(
    asked: Asked, group: str, agent: Callable[[Any, Any, asyncio.Event], Awaitable[None]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        app = faust.App(
            group,
            broker=f"kafka://{asked.bootstrap}",
            store="memory://",
            datadir=directory,
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            # Twice and four times as much changed nothing that could be measured.
            stream_buffer_maxsize=4096,
            consumer_max_fetch_size=4 * 1024 * 1024,
            # Predictions go out in full, compressed batches.
            producer_linger=0.05,
            producer_max_batch_size=512 * 1024,
            producer_compression_type="lz4",
            producer_acks=-1,
        )
        done = asyncio.Event()
        topic = app.topic(asked.topic, **RAW)

        async def process(stream: Any) -> None:
            await agent(app, stream, done)

        app.agent(topic, name="peer")(process)
        await app.start()
        await done.wait()
        await app.stop()


def _begin_at(asked: Asked, group: str) -> None:
    """Faust begins where its group stands."""
    client = Consumer({"bootstrap.servers": asked.bootstrap, "group.id": group})
    offsets = [TopicPartition(asked.topic, int(p), o) for p, o in asked.starts.items()]
    client.commit(offsets=offsets, asynchronous=False)
    client.close()

"""A Faust agent with fastavro and River's tree, event by event or in batches by ``take``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from loadtest.peers.asked import Asked, main
from loadtest.peers.fausting import RAW, run
from loadtest.peers.river_scoring import scoring

_WITHIN_S = 1.0


def work(asked: Asked) -> Mapping[str, Any]:
    predict = scoring(asked)
    spent: list[float] = []
    uncounted = 0

    # The time begins with the first record: the app's start and its first fetch are given to it.
    # Nobody waits for each acknowledgement; all are waited for at the end.
    async def one_by_one(app: Any, stream: Any, done: asyncio.Event) -> None:
        out = app.topic(asked.out, **RAW)
        seen = 0
        began = 0.0
        async for event in stream.events():
            if not seen:
                began = time.process_time()
            message = event.message
            key, value = predict(event.value, message.partition, message.offset)
            await out.send(key=key.encode(), value=value)
            seen += 1
            if seen == asked.rows:
                await app.producer.flush()
                spent.append(time.process_time() - began)
                done.set()
                break

    async def in_batches(app: Any, stream: Any, done: asyncio.Event) -> None:
        nonlocal uncounted
        out = app.topic(asked.out, **RAW)
        seen = 0
        began = 0.0
        async for events in stream.take_events(asked.take, within=_WITHIN_S):
            if not began:
                began = time.process_time()
                uncounted = len(events)
            for event in events[: asked.rows - seen]:
                message = event.message
                key, value = predict(event.value, message.partition, message.offset)
                await out.send(key=key.encode(), value=value)
            seen += len(events)
            if seen >= asked.rows:
                await app.producer.flush()
                spent.append(time.process_time() - began)
                done.set()
                break

    run(asked, in_batches if asked.take else one_by_one)
    return {"rows": asked.rows - uncounted, "cpu": spent[0]}


if __name__ == "__main__":
    main(work)

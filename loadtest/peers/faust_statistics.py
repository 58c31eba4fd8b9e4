"""A Faust agent that keeps the statistics: event by event, or in batches by ``take``.

The windows are a dict in memory. A Faust table, which would survive the process, is three times as
slow; the peer may do without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from loadtest.peers.asked import Asked, main, prediction_schema, reader
from loadtest.peers.fausting import run
from loadtest.peers.sums import VectorWindow, Window

_WITHIN_S = 1.0


def work(asked: Asked) -> Mapping[str, Any]:
    decode, edges, size = reader(prediction_schema()), asked.edges, asked.window_ms
    windows: dict[int, Any] = {}
    spent: list[float] = []
    uncounted = 0

    # The time begins with the first record: what came before it, the app's start and its first
    # fetch, is given to the peer.
    async def one_by_one(app: Any, stream: Any, done: asyncio.Event) -> None:
        seen = 0
        began = 0.0
        async for value in stream:
            if not seen:
                began = time.process_time()
            record = decode(value)
            time_ms = record["event_time"]
            start = time_ms - time_ms % size
            window = windows.get(start)
            if window is None:
                window = windows[start] = Window(edges)
            window.add(record["numeric"] + record["scores"])
            seen += 1
            if seen == asked.rows:
                spent.append(time.process_time() - began)
                done.set()
                break

    async def in_batches(app: Any, stream: Any, done: asyncio.Event) -> None:
        nonlocal uncounted
        seen = 0
        began = 0.0
        async for values in stream.take(asked.take, within=_WITHIN_S):
            if not began:
                # The first batch has been taken already.
                began = time.process_time()
                uncounted = len(values)
            by_window: dict[int, list[list[float]]] = {}
            for value in values[: asked.rows - seen]:
                record = decode(value)
                time_ms = record["event_time"]
                rows = by_window.setdefault(time_ms - time_ms % size, [])
                rows.append(record["numeric"] + record["scores"])
            for start, rows in by_window.items():
                window = windows.get(start)
                if window is None:
                    window = windows[start] = VectorWindow(edges)
                window.add(rows)
            seen += len(values)
            if seen >= asked.rows:
                spent.append(time.process_time() - began)
                done.set()
                break

    run(asked, in_batches if asked.take else one_by_one)
    said = {str(start): window.said() for start, window in windows.items()}
    return {"rows": asked.rows - uncounted, "cpu": spent[0], "windows": said}


if __name__ == "__main__":
    main(work)

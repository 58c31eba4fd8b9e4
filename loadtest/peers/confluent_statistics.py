"""confluent-kafka, fastavro, and statistics in Python, event by event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from loadtest.peers.asked import Asked, main, prediction_schema, reader
from loadtest.peers.consuming import batches, consumer
from loadtest.peers.sums import Window


def work(asked: Asked) -> Mapping[str, Any]:
    decode, edges, size = reader(prediction_schema()), asked.edges, asked.window_ms
    windows: dict[int, Window] = {}
    began = time.process_time()
    client = consumer(asked)
    for messages in batches(client, asked.rows):
        for message in messages:
            record = decode(message.value())
            time_ms = record["event_time"]
            start = time_ms - time_ms % size
            window = windows.get(start)
            if window is None:
                window = windows[start] = Window(edges)
            window.add(record["numeric"] + record["scores"])
    cpu = time.process_time() - began
    client.close()
    said = {str(start): window.said() for start, window in windows.items()}
    return {"rows": asked.rows, "cpu": cpu, "windows": said}


if __name__ == "__main__":
    main(work)

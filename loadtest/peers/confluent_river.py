"""confluent-kafka, fastavro and River's tree: batches from Kafka and to it, scored one by one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Producer

from loadtest.peers.asked import Asked, main
from loadtest.peers.consuming import batches, consumer
from loadtest.peers.river_scoring import scoring

_FLUSH_S = 60.0


def work(asked: Asked) -> Mapping[str, Any]:
    predict = scoring(asked)
    # At least once, without a callback: cheaper than what ours promises. ``produce_batch`` is
    # cheaper than ``produce``, and full batches are cheaper for both sides.
    producer = Producer(
        {
            "bootstrap.servers": asked.bootstrap,
            "linger.ms": 50,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
        }
    )
    began = time.process_time()
    client = consumer(asked)
    for messages in batches(client, asked.rows):
        sends = []
        for message in messages:
            key, value = predict(message.value(), message.partition(), message.offset())
            sends.append({"key": key, "value": value})
        producer.produce_batch(asked.out, sends)
        producer.poll(0)
    left = producer.flush(_FLUSH_S)
    cpu = time.process_time() - began
    client.close()
    if left:
        raise RuntimeError(f"{left} predictions were not acknowledged")
    return {"rows": asked.rows, "cpu": cpu}


if __name__ == "__main__":
    main(work)

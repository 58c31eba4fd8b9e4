"""Writing to Kafka, within a transaction or idempotently without."""

from __future__ import annotations

import threading
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import Producer as KafkaClient

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.failures import unavailable
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Send

_SERVE_EVERY = 1_000
"""Records between two calls that serve delivery reports."""


def produce(client: Any, send: Send) -> None:
    """Queue the records of ``send``; waits while the client's queue is full."""
    options: dict[str, Any] = {} if send.partition is None else {"partition": send.partition}
    topic = send.topic
    for row, (key, value) in enumerate(zip(send.keys, send.values, strict=True)):
        if send.timestamps is not None:
            options["timestamp"] = send.timestamps[row]
        if send.headers is not None:
            options["headers"] = list(send.headers[row])
        while True:
            try:
                client.produce(topic, value, key, **options)
                break
            except BufferError:
                client.poll(0.05)
        if row % _SERVE_EVERY == _SERVE_EVERY - 1:
            client.poll(0)


class KafkaProducer:
    """See :class:`driftloop.kernel.ports.Producer`."""

    def __init__(self, configuration: Configuration) -> None:
        self._failure: str | None = None
        self._lock = threading.Lock()
        self._client: Any = KafkaClient(
            {**configuration.producer(), "on_delivery": self._delivered}
        )

    def send(self, send: Send) -> None:
        with self._lock:
            try:
                produce(self._client, send)
                self._client.poll(0)
            except KafkaException as error:
                raise unavailable(f"writing to {send.topic}", error) from error
        self._check()

    def flush(self, timeout_s: float) -> None:
        left = self._client.flush(timeout_s)
        self._check()
        if left:
            raise LogUnavailableError(f"{left} records were not acknowledged in {timeout_s:g} s")

    def close(self) -> None:
        self._client.close()

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None and self._failure is None:
            self._failure = f"a record for {message.topic()} was not taken: {error.str()}"

    def _check(self) -> None:
        if self._failure is not None:
            raise LogUnavailableError(self._failure)

"""Writing to Kafka without ever waiting for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import Producer as KafkaClient

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.kernel.ports import Send

_log = logging.getLogger(__name__)
_LARGEST_KBYTES = 64 * 1024
_ROOM = 1_000
"""The client's own limit lies this far above ours, so that only its bytes can make it refuse."""


class KafkaOutbox:
    """See :class:`driftloop.kernel.ports.Outbox`.

    Two clients: a report of each record costs as much as writing it, and only who confirms needs
    more than the reports of failures. The second one is made when it is first needed.
    """

    def __init__(self, configuration: Configuration, limit: int) -> None:
        self._options: dict[str, Any] = {
            **configuration.producer(),
            "queue.buffering.max.messages": limit + _ROOM,
            "queue.buffering.max.kbytes": _LARGEST_KBYTES,
        }
        self._limit = limit
        self._posting = _Client({**self._options, "delivery.report.only.error": True})
        self._confirming: _Client | None = None
        self._closed = False

    @property
    def unacknowledged(self) -> int:
        confirming = self._confirming
        return len(self._posting) + (0 if confirming is None else len(confirming))

    def post(self, send: Send, lost: Callable[[int], None]) -> None:
        if self._full(send):
            lost(len(send))
            return

        def report(error: Any, message: Any) -> None:
            if error is not None:
                lost(1)

        missing = len(send) - self._posting.write(send, report)
        if missing:
            lost(missing)

    def confirm(self, send: Send, settled: Callable[[int], None]) -> None:
        if self._full(send):
            settled(len(send))
            return
        if self._confirming is None:
            self._confirming = _Client(self._options)
        report = _Report(len(send), settled)
        report.lose(len(send) - self._confirming.write(send, report))

    def serve(self) -> None:
        self._posting.serve()
        if self._confirming is not None:
            self._confirming.serve()

    def close(self, timeout_s: float) -> None:
        if self._closed:
            return
        self._closed = True
        self._posting.close(timeout_s)
        if self._confirming is not None:
            self._confirming.close(timeout_s)

    def _full(self, send: Send) -> bool:
        return self._closed or self.unacknowledged + len(send) > self._limit


class _Client:
    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._client: Any = KafkaClient(options)

    def __len__(self) -> int:
        return len(self._client)

    def write(self, send: Send, report: Callable[[Any, Any], None]) -> int:
        """How many found room; only they are reported."""
        written = 0
        try:
            if send.headers is None and send.timestamps is None:
                return self._write_batch(send, report)
            for written in range(len(send)):
                self._write_one(send, written, report)
            return len(send)
        except BufferError:
            return written
        except KafkaException as error:
            _log.error("writing to %s: %s", send.topic, error.args[0].str())
            if error.args[0].fatal():
                # An idempotent producer that has failed for good takes nothing any more.
                self._give_up()
                self._client = KafkaClient(self._options)
            return written

    def serve(self) -> None:
        self._client.poll(0)

    def close(self, timeout_s: float) -> None:
        left = self._client.flush(timeout_s)
        if left:
            _log.error("%d records were not acknowledged in %g s", left, timeout_s)
            self._give_up()

    def _write_batch(self, send: Send, report: Callable[[Any, Any], None]) -> int:
        rows = zip(send.keys, send.values, strict=True)
        records: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in rows]
        partition = -1 if send.partition is None else send.partition
        taken: int = self._client.produce_batch(
            send.topic, records, partition=partition, on_delivery=report
        )
        return taken

    def _write_one(self, send: Send, row: int, report: Callable[[Any, Any], None]) -> None:
        options: dict[str, Any] = {} if send.partition is None else {"partition": send.partition}
        if send.timestamps is not None:
            options["timestamp"] = send.timestamps[row]
        if send.headers is not None:
            options["headers"] = list(send.headers[row])
        key, value = send.keys[row], send.values[row]
        self._client.produce(send.topic, value, key, on_delivery=report, **options)

    def _give_up(self) -> None:
        self._client.purge()
        self._client.flush(1.0)


class _Report:
    """Counts the delivery reports of one call."""

    __slots__ = ("_left", "_lost", "_settled")

    def __init__(self, count: int, settled: Callable[[int], None]) -> None:
        self._left = count
        self._lost = 0
        self._settled = settled

    def __call__(self, error: Any, message: Any) -> None:
        self._count(1, int(error is not None))

    def lose(self, count: int) -> None:
        """These never got into the queue."""
        if count:
            self._count(count, count)

    def _count(self, count: int, lost: int) -> None:
        self._left -= count
        self._lost += lost
        if not self._left:
            self._settled(self._lost)

"""Writing to Kafka without ever waiting for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.native.library import QUEUE_FULL, LibraryError
from driftloop.adapters.kafka.native.producing import NativeProducer
from driftloop.adapters.kafka.native.reports import Tallies
from driftloop.kernel.ports import Send

_log = logging.getLogger(__name__)
_LARGEST_KBYTES = 64 * 1024
_ROOM = 1_000
"""The client's own limit lies this far above ours, so that only its bytes can make it refuse."""


@dataclass(frozen=True, slots=True)
class _Call:
    count: int
    missing: int
    """Found no room."""
    told: Callable[[int], None]
    always: bool
    """Also when none was lost."""


class KafkaOutbox:
    """See :class:`driftloop.kernel.ports.Outbox`. Deliveries are counted per call, by compiled
    code, whether anyone waits for them or not."""

    def __init__(self, configuration: Configuration, limit: int) -> None:
        self._options: dict[str, Any] = {
            **configuration.producer(),
            "queue.buffering.max.messages": limit + _ROOM,
            "queue.buffering.max.kbytes": _LARGEST_KBYTES,
        }
        self._limit = limit
        # No call has less than one record.
        self._tallies = Tallies(limit)
        self._calls: dict[int, _Call] = {}
        """By tally."""
        self._unsettled = 0
        self._client = NativeProducer(self._options, self._tallies.callback)
        self._closed = False

    @property
    def unacknowledged(self) -> int:
        return self._unsettled

    def post(self, send: Send, lost: Callable[[int], None]) -> None:
        self._queue(send, lost, False)

    def confirm(self, send: Send, settled: Callable[[int], None]) -> None:
        self._queue(send, settled, True)

    def serve(self) -> None:
        if self._calls:
            self._client.poll()
            self._tell()

    def close(self, timeout_s: float) -> None:
        if self._closed:
            return
        self._closed = True
        left = self._client.flush(timeout_s)
        if left:
            _log.error("%d records were not acknowledged in %g s", left, timeout_s)
            self._client.purge()
        self._client.close()
        self._tell()

    def _queue(self, send: Send, told: Callable[[int], None], always: bool) -> None:
        count = len(send)
        if not count or self._closed or self._unsettled + count > self._limit:
            if count or always:
                told(count)
            return
        tally = self._tallies.open(count)
        missing = self._offer(send, self._tallies.address(tally))
        self._unsettled += count
        self._calls[tally] = _Call(count, missing, told, always)
        if missing and self._tallies.withdraw(tally, missing):
            self._settle(tally)

    def _tell(self) -> None:
        for tally in self._tallies.done():
            self._settle(tally)

    def _settle(self, tally: int) -> None:
        call = self._calls.pop(tally)
        self._unsettled -= call.count
        lost = call.missing + self._tallies.failed(tally)
        self._tallies.close(tally)
        if lost or call.always:
            call.told(lost)

    def _offer(self, send: Send, tally: int) -> int:
        """How many found no room."""
        try:
            missing, code = self._client.offer(send, tally)
        except LibraryError as error:
            _log.error("writing to %s: %s", send.topic, error.text)
            return len(send)
        if code not in (0, QUEUE_FULL):
            _log.error("writing to %s: %s", send.topic, self._client.text_of(code))
            if self._client.failed_for_good():
                # An idempotent producer that has failed for good takes nothing any more.
                self._client.purge()
                self._client.close()
                self._client = NativeProducer(self._options, self._tallies.callback)
        return missing

"""Writing to Kafka idempotently, outside of any transaction."""

from __future__ import annotations

import threading

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.native.library import LibraryError
from driftloop.adapters.kafka.native.producing import NativeProducer
from driftloop.adapters.kafka.native.reports import Tallies
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Send

_TOLD_APART = 1_000
"""Topics that an error names; of later ones it is only said that there are more."""


class KafkaProducer:
    """See :class:`driftloop.kernel.ports.Producer`."""

    def __init__(self, configuration: Configuration) -> None:
        self._tallies = Tallies(_TOLD_APART + 1)
        self._others = self._tallies.open(0)
        self._by_topic: dict[str, int] = {}
        """Tallies that are never complete: only the failures matter."""
        self._lock = threading.Lock()
        self._client = NativeProducer(configuration.producer(), self._tallies.callback)

    def send(self, send: Send) -> None:
        with self._lock:
            tally = self._tallies.address(self._tally(send.topic))
            try:
                self._client.send(send, tally)
            except LibraryError as error:
                raise LogUnavailableError(f"writing to {send.topic}: {error.text}") from error
        self._check()

    def flush(self, timeout_s: float) -> None:
        left = self._client.flush(timeout_s)
        self._check()
        if left:
            raise LogUnavailableError(f"{left} records were not acknowledged in {timeout_s:g} s")

    def close(self) -> None:
        self._client.close()

    def _tally(self, topic: str) -> int:
        known = self._by_topic.get(topic)
        if known is None:
            if len(self._by_topic) == _TOLD_APART:
                return self._others
            known = self._by_topic[topic] = self._tallies.open(0)
        return known

    def _check(self) -> None:
        if not self._tallies.failures():
            return
        for topic, tally in [*self._by_topic.items(), ("further topics", self._others)]:
            lost = self._tallies.failed(tally)
            if lost:
                why = self._client.text_of(self._tallies.code(tally))
                raise LogUnavailableError(f"{lost} records for {topic} were not taken: {why}")

"""How far behind the logs a reader is."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from driftloop.kernel import metrics
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock, Log, RecordBatch, TopicPartition

_log = logging.getLogger(__name__)
_EVERY_S = 2.0


class Lag:
    """Sets the lag gauges."""

    def __init__(self, log: Log, clock: Clock, meter: Meter) -> None:
        self._log = log
        self._clock = clock
        self._meter = meter
        self._newest: dict[str, int] = {}
        """Highest Kafka timestamp read, ms, per topic."""
        self._due_at = 0.0
        self.rows = 0
        """Records not read when last measured."""

    def note(self, batch: RecordBatch) -> None:
        """A batch was read."""
        newest = max(self._newest.get(batch.topic, 0), batch.timestamps[-1])
        self._newest[batch.topic] = newest

    def measure(self, positions: Mapping[TopicPartition, int]) -> None:
        """At most once in two seconds: it asks the broker."""
        now = self._clock.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + _EVERY_S
        try:
            ends = self._log.end_offsets(sorted({source.topic for source in positions}))
        except LogUnavailableError as error:
            # Reading and committing say so, too, where it matters; these are figures to look at.
            _log.warning("the lag could not be measured: %s", error)
            return
        behind = {s: max(0, ends.get(s, position) - position) for s, position in positions.items()}
        for source, rows in behind.items():
            self._meter.set(metrics.LAG_ROWS, rows, source.topic, str(source.partition))
        for topic, newest in self._newest.items():
            waiting = any(rows for source, rows in behind.items() if source.topic == topic)
            age = (self._clock.now() - newest) / 1000 if waiting else 0.0
            self._meter.set(metrics.LAG_SECONDS, max(age, 0.0), topic)
        self.rows = sum(behind.values())

    def forget(self, source: TopicPartition) -> None:
        """A partition that is read no more has no lag."""
        self._meter.forget(metrics.LAG_ROWS, source.topic, str(source.partition))

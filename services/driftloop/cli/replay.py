"""Replays the flights in event-time order: events, the labels known by then, and bad records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.cli.flights import Flights
from driftloop.cli.flights_poison import Poison
from driftloop.kernel.ports import Producer, Send
from driftloop.kernel.topics import ModelTopics

_SLICE_MS = 3_600_000
"""Events and labels are interleaved at least so finely, event time."""


class Replay:
    """Sends everything up to a moment of event time, each record once."""

    def __init__(
        self,
        producer: Producer,
        topics: ModelTopics,
        flights: Flights,
        poison: Sequence[Poison],
        until: int,
    ) -> None:
        """Of events before ``until`` (ms); their labels come when they are known, even later."""
        self._producer = producer
        self._topics = topics
        self._flights = flights
        self._poison = poison
        self.events_in_all = int(np.searchsorted(flights.event_times, until))
        wanted = set(flights.event_ids[: self.events_in_all])
        self._labels = [row for row, id in enumerate(flights.label_ids) if id in wanted]
        self._observed = flights.observed_at[self._labels]
        self.events = 0
        self.labels = 0
        self.bad: list[Poison] = []
        self.now = int(flights.event_times[0]) if len(flights) else 0
        """Event time: all before it is sent."""

    @property
    def end(self) -> int:
        """Event time after the last record."""
        if not self.events_in_all:
            return self.now
        last = int(self._flights.event_times[self.events_in_all - 1])
        return max(last, int(self._observed[-1]) if len(self._observed) else last) + 1

    @property
    def finished(self) -> bool:
        return self.events == self.events_in_all and self.labels == len(self._labels)

    def send_until(self, moment: int) -> None:
        """Send what happened before ``moment``, ms."""
        while self.now < moment:
            self.now = min(moment, self.now + _SLICE_MS)
            self._send_slice()

    def flush(self) -> None:
        """Wait until all is acknowledged."""
        self._producer.flush(60.0)

    def _send_slice(self) -> None:
        flights = self._flights
        stop = int(np.searchsorted(flights.event_times[: self.events_in_all], self.now))
        bad = [p for p in self._poison[len(self.bad) :] if p.at < self.now and not self._over(p)]
        if bad:
            self._send(self._topics.events, [p.key for p in bad], [p.value for p in bad])
            self.bad += bad
        if stop > self.events:
            part = slice(self.events, stop)
            self._send(self._topics.events, flights.event_ids[part], flights.events[part])
            self.events = stop
        known = int(np.searchsorted(self._observed, self.now))
        if known > self.labels:
            rows = self._labels[self.labels : known]
            self._send(
                self._topics.labels,
                [flights.label_ids[row] for row in rows],
                [flights.label_records[row] for row in rows],
            )
            self.labels = known

    def _over(self, poison: Poison) -> bool:
        """Bad records among flights that are not replayed are not sent either."""
        if not self.events_in_all:
            return True
        return poison.at > int(self._flights.event_times[self.events_in_all - 1])

    def _send(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        self._producer.send(Send(topic, keys, values))

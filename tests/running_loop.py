"""The whole loop on real flights, as processes, a day at a time: what end-to-end tests look at."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.applying import apply_declaration, load_declaration
from driftloop.cli.flights import Flights, load_flights
from driftloop.cli.flights_poison import Poison, poisoned
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.ports import Producer, Send
from driftloop.kernel.settings import Settings
from driftloop.kernel.topics import ModelTopics

DECLARATION = Path(__file__).resolve().parents[1] / "infra" / "models" / "flights.toml"
DAY_MS = 86_400_000
_NEW_YEAR_2013 = 1_356_998_400_000
_LOOK_EVERY_S = 0.2
_QUIET_S = 180.0


@dataclass(slots=True)
class RunningLoop:
    """Services that wait for flights, and the flights."""

    fleet: Fleet
    topics: ModelTopics
    flights: Flights
    poison: Sequence[Poison]
    producer: Producer
    at: int
    """Event time up to which everything has been sent, ms."""

    @property
    def directory(self) -> Path:
        return self.fleet.settings.directory

    @property
    def more(self) -> bool:
        """Whether there are flights that were not sent yet."""
        return self.at <= int(self.flights.event_times[-1])

    def replay(self, days: int = 1) -> None:
        """Send the next days and wait until they have been acted on."""
        for _ in range(days):
            end = self.at + DAY_MS
            events = list(self.flights.events_between(self.at, end))
            labels = list(self.flights.labels_between(self.at, end))
            poison = [bad for bad in self.poison if self.at <= bad.at < end]
            self._send(self.topics.events, [e[0] for e in events], [e[2] for e in events])
            self._send(self.topics.events, [p.key for p in poison], [p.value for p in poison])
            self._send(self.topics.labels, [x[0] for x in labels], [x[3] for x in labels])
            self.at = end
            self.wait_until_quiet()

    def wait_until_quiet(self, deadline_s: float = _QUIET_S) -> None:
        """Until every service says twice in a row that it is ready, idle and has read all."""
        clock, never = SystemClock(), threading.Event()
        deadline = clock.monotonic() + deadline_s
        quiet = 0
        while quiet < 2:
            statuses = self.fleet.statuses()
            waiting = [s for s in statuses if not s["ready"] or s.get("busy") or s.get("lag")]
            quiet = 0 if waiting else quiet + 1
            assert clock.monotonic() < deadline, f"not quiet after {deadline_s:g} s: {waiting}"
            never.wait(_LOOK_EVERY_S)

    def _send(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        self.producer.send(Send(topic, keys, values))
        self.producer.flush(60.0)


@contextmanager
def running(bootstrap: str, directory: Path, *, days: int) -> Iterator[RunningLoop]:
    """Six services on ``bootstrap`` and the flights of the first ``days`` of the year."""
    settings = Settings(bootstrap=bootstrap, directory=directory)
    clock = SystemClock()
    log = KafkaLog(bootstrap, {}, clock=clock)
    try:
        declared = load_declaration(DECLARATION)
        apply_declaration(log, settings.topics, declared, who="tests", now=clock.now())
        flights = load_flights(until=_NEW_YEAR_2013 + days * DAY_MS)
        producer = log.producer("tests")
        try:
            with Fleet(settings, SERVICES) as fleet:
                fleet.wait_ready()
                yield RunningLoop(
                    fleet,
                    declared.declaration.topics,
                    flights,
                    poisoned(flights),
                    producer,
                    _NEW_YEAR_2013,
                )
        finally:
            producer.close()
    finally:
        log.close()

"""The whole loop on real flights, as processes, days at a time: what end-to-end tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import apply_declaration, load_declaration
from driftloop.cli.flights import load_flights
from driftloop.cli.flights_poison import poisoned
from driftloop.cli.loops import KafkaLoop
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.replay import Replay
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.settings import Settings

DECLARATION = Path(__file__).resolve().parents[1] / "infra" / "models" / "flights.toml"
DAY_MS = 86_400_000
_NEW_YEAR_2013 = 1_356_998_400_000
RECODED_FROM = _NEW_YEAR_2013 + 50 * DAY_MS
"""A trained version serves by then."""
_SETTLED_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class RunningLoop:
    """Services that wait for flights, and the flights."""

    loop: KafkaLoop
    fleet: Fleet
    flights: Replay
    quiescence: Quiescence

    @property
    def directory(self) -> Path:
        """Of artifacts, logs and announcements."""
        return self.loop.settings.directory

    def replay(self, days: int) -> None:
        """Send the next days, each when the one before has been acted on."""
        for _ in range(days):
            self.flights.send_until(self.flights.now + DAY_MS)
            self.flights.flush()
            self.quiescence.settle(_SETTLED_WITHIN_S)


@contextmanager
def running(bootstrap: str, directory: Path, *, days: int) -> Iterator[RunningLoop]:
    """Six services on ``bootstrap``, ready, and the flights of the year's first ``days``, of which
    those from ``RECODED_FROM`` on have other codes of carriers: an alert."""
    settings = Settings(bootstrap=bootstrap, directory=directory)
    clock = SystemClock()
    until = _NEW_YEAR_2013 + days * DAY_MS
    flights = load_flights(until=until, recoded_from=RECODED_FROM)
    declared = load_declaration(DECLARATION)
    fleet = Fleet(settings, SERVICES)
    loop = KafkaLoop(fleet)
    try:
        apply_declaration(loop.log, settings.topics, declared, who="tests", now=clock.now())
        producer = loop.log.producer("tests")
        try:
            with fleet:
                fleet.wait_ready()
                topics = declared.declaration.topics
                replay = Replay(producer, topics, flights, poisoned(flights), until)
                quiescence = Quiescence(loop, [declared.declaration], clock)
                yield RunningLoop(loop, fleet, replay, quiescence)
        finally:
            producer.close()
    finally:
        loop.log.close()

"""The loop in lockstep on a part of the flights, in memory or on Kafka, and all that came of it in
a form that two runs can be compared by."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.applying import DeclaredModel, apply_declaration, load_declaration
from driftloop.cli.control import read_catalog, read_records
from driftloop.cli.flights import Flights
from driftloop.cli.flights_poison import Poison, poisoned
from driftloop.cli.loops import KafkaLoop, Loop, MemoryLoop
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.replay import Replay
from driftloop.cli.supervision import Fleet
from driftloop.cli.verifying import Verification, verify_windows
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import (
    Alert,
    DeadLetter,
    Deployment,
    Outcome,
    Prediction,
    Run,
    Version,
    Window,
)
from driftloop.kernel.settings import Settings
from driftloop.models.parameters import check_parameters

DECLARATION = Path(__file__).resolve().parents[1] / "infra" / "models" / "flights.toml"
DAY_MS = 86_400_000

T = TypeVar("T")
Plain = Mapping[str, Any]


def declared(name: str, replacing: Mapping[str, str]) -> DeclaredModel:
    """The flights' declaration under another name, which also names its topics, and with other
    texts in it; each text to replace is in it once."""
    found = load_declaration(DECLARATION)
    text = found.text
    for old, new in {'name = "flights"': f'name = "{name}"', **replacing}.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    declaration = parse_declaration(
        text,
        source=str(DECLARATION),
        event_schema=found.event_schema,
        check_candidate=check_parameters,
    )
    return DeclaredModel(declaration, text, found.event_schema)


class Lockstep:
    """Sends one window's records after the other, and waits each time until all is acted on."""

    def __init__(
        self, loop: Loop, model: DeclaredModel, flights: Flights, *, deadline_s: float = 240.0
    ) -> None:
        self.loop = loop
        self.model = model
        self.flights = flights
        self.poison: Sequence[Poison] = poisoned(flights)
        self.days = 0
        """Windows whose records are sent."""
        self._deadline_s = deadline_s
        clock = SystemClock()
        apply_declaration(
            loop.log, loop.settings.topics, model, who="tests", now=clock.now()
        )
        self._quiescence = Quiescence(loop, [model.declaration], clock)
        self._replay = Replay(
            loop.log.producer("tests"),
            model.declaration.topics,
            flights,
            self.poison,
            int(flights.event_times[-1]) + 1,
        )
        self._next = self._replay.now // DAY_MS * DAY_MS
        self._quiescence.settle(deadline_s)

    @property
    def finished(self) -> bool:
        return self._replay.finished

    def day(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """One window. ``meanwhile`` is called when its records are sent and nothing is waited
        for yet."""
        self._next += DAY_MS
        self._replay.send_until(self._next)
        self._replay.flush()
        meanwhile()
        self._quiescence.settle(self._deadline_s)
        self.days += 1

    def wait_for(self, holds: Callable[[], bool], deadline_s: float = 120.0) -> bool:
        """Whether it came to hold."""
        clock, never = SystemClock(), threading.Event()
        deadline = clock.monotonic() + deadline_s
        while not holds():
            if clock.monotonic() > deadline:
                return False
            never.wait(0.01)
        return True


@dataclass(frozen=True, slots=True)
class Trace:
    """What one run left in the log."""

    windows: tuple[Window, ...]
    alerts: tuple[Alert, ...]
    versions: tuple[Version, ...]
    runs: tuple[Run, ...]
    deployments: tuple[Deployment, ...]
    dead_letters: tuple[DeadLetter, ...]
    predictions: tuple[Prediction, ...]
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, log: Log, settings: Settings, model: DeclaredModel) -> Trace:
        topics, own = settings.topics, model.declaration.topics

        def read(kind: type[T], topic: str) -> tuple[T, ...]:
            return tuple(read_records(log, kind, topic, _fail))

        return cls(
            windows=read(Window, topics.windows),
            alerts=read(Alert, topics.alerts),
            versions=read(Version, topics.versions),
            runs=read(Run, topics.runs),
            deployments=read(Deployment, topics.deployments),
            dead_letters=read(DeadLetter, topics.dead_letters),
            predictions=read(Prediction, own.predictions),
            outcomes=read(Outcome, own.outcomes),
        )


def _fail(why: str) -> None:
    raise AssertionError(why)

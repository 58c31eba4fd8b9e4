"""The loop in lockstep on a part of the flights, in memory or on Kafka, and what it leaves in the
log, in a form by which two runs can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import DeclaredModel, apply_declaration, load_declaration
from driftloop.cli.control import read_records
from driftloop.cli.flights import Flights
from driftloop.cli.flights_poison import Poison, poisoned
from driftloop.cli.loops import Loop
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.replay import Replay
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.ports import Log
from driftloop.kernel.records import (
    Alert,
    DeadLetter,
    Deployment,
    Outcome,
    Prediction,
    Run,
    Stream,
    Version,
    Window,
)
from driftloop.kernel.topics import ControlTopics
from driftloop.models.parameters import check_parameters

DECLARATION = Path(__file__).resolve().parents[1] / "infra" / "models" / "flights.toml"
DAY_MS = 86_400_000

T = TypeVar("T")


def nothing() -> None:
    """What is done meanwhile, normally."""


def declared(name: str, values: Mapping[str, str], *, file: Path = DECLARATION) -> DeclaredModel:
    """A declaration of flights under another name, which also names its topics, and with other
    values of some keys."""
    found = load_declaration(file)
    text = found.text
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^{key} = [^\s#]+", f"{key} = {value}", text)
        assert count == 1, key
    text = text.replace(f'name = "{found.declaration.name}"', f'name = "{name}"', 1)
    declaration = parse_declaration(
        text,
        source=str(file),
        event_schema=found.event_schema,
        check_candidate=check_parameters,
    )
    assert declaration.name == name
    return DeclaredModel(declaration, text, found.event_schema)


class Lockstep:
    """Sends one window's records after the other, and waits each time until all is acted on."""

    def __init__(
        self, loop: Loop, model: DeclaredModel, flights: Flights, *, deadline_s: float = 300.0
    ) -> None:
        self.poison: Sequence[Poison] = poisoned(flights)
        self.days = 0
        """Windows whose records were sent and acted on."""
        self._deadline_s = deadline_s
        clock = SystemClock()
        apply_declaration(loop.log, loop.settings.topics, model, who="tests", now=clock.now())
        self._quiescence = Quiescence(loop, [model.declaration], clock)
        self._producer = loop.log.producer("tests")
        self._replay = Replay(
            self._producer,
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

    def day(
        self, sent: Callable[[], None] = nothing, meanwhile: Callable[[], None] = nothing
    ) -> None:
        """One window. ``sent`` is called when its records are sent and nothing is waited for yet,
        ``meanwhile`` again and again while all is waited for."""
        self._next += DAY_MS
        self._replay.send_until(self._next)
        self._replay.flush()
        sent()
        self._quiescence.settle(self._deadline_s, meanwhile)
        self.days += 1

    def close(self) -> None:
        self._producer.close()


@dataclass(frozen=True, slots=True)
class Trace:
    """What one run left in the log; committed records only."""

    windows: tuple[Window, ...]
    alerts: tuple[Alert, ...]
    versions: tuple[Version, ...]
    runs: tuple[Run, ...]
    deployments: tuple[Deployment, ...]
    dead_letters: tuple[DeadLetter, ...]
    predictions: tuple[Prediction, ...]
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, log: Log, topics: ControlTopics, model: DeclaredModel) -> Trace:
        def read(kind: type[T], topic: str) -> tuple[T, ...]:
            return tuple(read_records(log, kind, topic, _unreadable))

        own = model.declaration.topics
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

    # The rest is what does not depend on where in the log something lies, in an order that does
    # not depend on which of two services was quicker.

    def windows_of(self, stream: Stream) -> list[tuple[str, int, str, int, int]]:
        """Id, revision, digest, rows and late rows, in the log's order."""
        return [
            (w.id, w.revision, w.digest, w.rows, w.late) for w in self.windows if w.stream is stream
        ]

    def alert_records(self) -> list[Any]:
        ordered = sorted(self.alerts, key=lambda alert: (alert.id, alert.sequence))
        return [to_plain(replace(alert, onset_sources=())) for alert in ordered]

    def version_records(self) -> list[bytes]:
        """Number, recipe, digest, profile, metrics and period, encoded: profiles have NaN."""
        return [codec(Version).encode(replace(version, sources=())) for version in self.versions]

    def run_records(self) -> list[Any]:
        """Each run's records; one handed out again after a crash starts but once."""
        records = []
        for run in self.runs:
            plain = to_plain(replace(run, sources=()))
            for candidate in plain["candidates"]:
                del candidate["metrics"]["seconds"]
            records.append(plain)
        return records

    def prediction_records(self) -> dict[str, bytes]:
        """Event id to the prediction, encoded: features may be NaN."""
        return {
            p.event_id: codec(Prediction).encode(replace(p, source_offset=0))
            for p in self.predictions
        }

    def outcome_records(self) -> dict[str, bytes]:
        """Event id to the outcome, encoded."""
        return {
            o.event_id: codec(Outcome).encode(replace(o, prediction_offset=0, label_offset=0))
            for o in self.outcomes
        }


def _unreadable(why: str) -> None:
    raise AssertionError(why)

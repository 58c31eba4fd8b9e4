"""One run: a broker and six services of its own, traffic, strikes, quiet, verdict."""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import apply_declaration
from driftloop.cli.loops import KafkaLoop
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.supervised import State
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.errors import SupervisionError
from driftloop.kernel.settings import Settings
from driftloop.kernel.topics import ModelTopics

from . import model
from .model import Scale
from .producing import Order, ProducerProcess, close
from .strikes import Schedule, Strikes
from .traffic import ROUNDS, Traffic
from .verdict import judge

_LOOK_S = 0.1
_TELL_EVERY_S = 5.0
_CRASH = re.compile(r"crashed; what was not committed")
_HUNG = re.compile(r"Fatal Python error: Aborted")
"""It was ended because it did not get on."""
_IDLE_AFTER_MS = 300_000
"""Every partition always has rows to come: however long a process is away on a busy machine, its
windows wait. Those that are not waited for, and come after the retention, are late by what is
declared, and would be counted as lost here."""
_PREFIX = "chaos."
_HOT_PATH = ("inference", "outcomes", "featurestats")
EXACT = ("lost", "duplicated", "misversioned", "mismatched", "labels_unaccounted")
"""All 0 where the log is exact."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run is to be. Everything random follows from the seed."""

    seed: int
    events: int = 1_000_000
    kills: int = 100
    broker_restarts: int = 3
    broker_kills: int = 1
    """How many of the restarts are a SIGKILL; the others stop it as an administrator would."""
    rate: float = 2_000.0
    """Events per second; labels come as often."""
    windows: int = 200
    """Windows of event time that the events are spread over."""
    regimes: int = 10
    """How often the world changes."""
    commands: int = 20
    least_swaps: int = 10
    settle_s: float = 900.0
    leaves: int = 12
    """How often a process is stopped as an administrator would, and another one joins."""
    processes: Mapping[str, int] = field(
        default_factory=lambda: {service: 2 if service in _HOT_PATH else 1 for service in SERVICES}
    )
    """Of each service. Those on the way of events share their partitions with another process, so
    that whatever ends or starts moves partitions among those that live."""

    @property
    def scale(self) -> Scale:
        return Scale(
            self.events,
            self.rate,
            max(10, self.events // self.windows),
            max(4, self.windows // self.regimes),
        )


def to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def run(
    plan: Plan, directory: Path | None = None, tell: Callable[[str], None] = to_stderr
) -> dict[str, Any]:
    """The figures; ``details`` has the first examples of what is wrong.

    ``directory`` keeps the broker's data and the services' logs; without it they are removed.
    """
    began = time.monotonic()
    said = _told_with_time(tell, began)
    said(f"seed {plan.seed}: {plan.events} events, {plan.kills} kills")
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        broker = stack.enter_context(LocalBroker(directory / "broker", heap_mb=768))
        settings = Settings(
            bootstrap=broker.bootstrap,
            directory=directory,
            prefix=_PREFIX,
            flush_interval_ms=250,
            idle_after_ms=_IDLE_AFTER_MS,
        )
        found = _Run(plan, settings, broker, said).all()
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


def ok(figures: Mapping[str, Any], plan: Plan) -> bool:
    """Whether the log is exact, and what was planned was done."""
    return (
        not any(figures[kind] for kind in EXACT)
        and figures["crashes"] == 0
        and figures["kills"] >= plan.kills
        and figures["leaves"] >= plan.leaves
        and figures["broker_restarts"] >= plan.broker_restarts
        and figures["swaps"] >= plan.least_swaps
    )


class _Run:
    def __init__(
        self, plan: Plan, settings: Settings, broker: LocalBroker, tell: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._broker = broker
        self._tell = tell
        self._pause = threading.Event()
        self._clock = SystemClock()

    def all(self) -> dict[str, Any]:
        plan, settings = self._plan, self._settings
        declared = model.declared(plan.scale)
        traffic = Traffic(plan.seed, plan.scale)
        fleet = Fleet(settings, plan.processes, progress=self._tell)
        loop = KafkaLoop(fleet)
        seconds: dict[str, float] = {}
        try:
            apply_declaration(
                loop.log, settings.topics, declared, who="chaos", now=self._clock.now()
            )
            with fleet:
                fleet.wait_ready()
                started = time.monotonic()
                order = self._order(declared.declaration.topics)
                strikes, sent = self._disturbed(fleet, loop, order)
                seconds["sending"] = sent - started
                self._tell("everything was sent and done; waiting for rest")
                quiescence = Quiescence(loop, [declared.declaration], self._clock)
                self._settle(fleet, quiescence)
                seconds["settling"] = time.monotonic() - sent
                for turn in range(1, ROUNDS):
                    close(order, turn)
                    self._settle(fleet, quiescence)
                state = open_counts(fleet)
            judged = time.monotonic()
            verdict = judge(loop.log, settings, declared, traffic, self._tell)
            seconds["judging"] = time.monotonic() - judged
        finally:
            loop.log.close()
        if state != {"predictions": 0, "labels": 0}:
            verdict.findings.mismatched(f"outcomes still waits for {state}")
        crashes = crashes_in(settings.directory)
        wrong = verdict.findings.counts
        return {
            "seed": plan.seed,
            "kills": strikes.killed.total(),
            "killed": dict(sorted(strikes.killed.items())),
            "leaves": strikes.left,
            "broker_restarts": strikes.broker_restarts,
            "commands": strikes.commands,
            **{kind: wrong[kind] for kind in EXACT},
            **verdict.facts,
            "crashes": len(crashes),
            "rate": plan.rate,
            **{f"seconds_{name}": round(value, 1) for name, value in seconds.items()},
            "details": [*verdict.findings.details(), *crashes][:40],
        }

    def _order(self, topics: ModelTopics) -> Order:
        plan = self._plan
        return Order(self._settings.bootstrap, topics.events, topics.labels, plan.seed, plan.scale)

    def _disturbed(self, fleet: Fleet, loop: KafkaLoop, order: Order) -> tuple[Strikes, float]:
        """Until all is sent and all strikes are done; and when all was sent."""
        plan = self._plan
        producer = ProducerProcess(order)
        strikes = Strikes(
            Schedule.of(
                plan.seed,
                plan.kills,
                plan.broker_restarts,
                plan.commands,
                processes=plan.processes,
                leaves=plan.leaves,
                broker_kills=plan.broker_kills,
            ),
            fleet,
            self._broker,
            loop.log,
            model.NAME,
            lambda: producer.slots / plan.events,
            plan.seed,
            self._tell,
        )
        sent = 0.0
        told = time.monotonic()
        try:
            strikes.start()
            while not (producer.done and strikes.over):
                if producer.done and not sent:
                    sent = time.monotonic()
                none_gave_up(fleet)
                self._pause.wait(_LOOK_S)
                if time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    self._tell(f"{producer.slots} of {plan.events} sent")
            return strikes, sent or time.monotonic()
        finally:
            strikes.stop()
            producer.stop()

    def _settle(self, fleet: Fleet, quiescence: Quiescence) -> None:
        """Wait for rest; tells why not now and then."""
        told = time.monotonic()

        def meanwhile() -> None:
            nonlocal told
            none_gave_up(fleet)
            if time.monotonic() - told > _TELL_EVERY_S:
                told = time.monotonic()
                self._tell(f"not at rest: {quiescence._why}")

        quiescence.settle(self._plan.settle_s, meanwhile)


def open_counts(fleet: Fleet) -> dict[str, int]:
    """What outcomes waits for at the end: everything has expired or was joined."""
    counts = {"predictions": 0, "labels": 0}
    for status in fleet.statuses():
        if status["service"] == "outcomes":
            for waiting in status["details"]["open"].values():
                for kind, number in waiting.items():
                    counts[kind] += number
    return counts


def crashes_in(directory: Path) -> list[str]:
    """Ends that no service expects, hanging included: the line and what it says below."""
    found = []
    for log in sorted((directory / "logs").glob("*.log")):
        lines = log.read_text("utf-8", "replace").splitlines()
        for at, line in enumerate(lines):
            if _CRASH.search(line) or _HUNG.search(line):
                trace = [x for x in lines[at + 1 : at + 80] if x and not x.startswith(" ")]
                found.append(f"{log.name}: {line} {' | '.join(trace[:3])}")
    return found


def none_gave_up(fleet: Fleet) -> None:
    for member in fleet.members():
        if member.state is State.FAILED:
            raise SupervisionError(f"{member.name} gave up:\n{member.tail()}")


def _told_with_time(tell: Callable[[str], None], began: float) -> Callable[[str], None]:
    return lambda line: tell(f"{time.monotonic() - began:7.1f} {line}")


def main_line(figures: Mapping[str, Any]) -> str:
    """One JSON object."""
    return orjson.dumps(figures).decode()

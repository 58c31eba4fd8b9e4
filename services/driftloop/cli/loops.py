"""The loop as the demo and the tests drive it: on processes and Kafka, or in this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, TypeVar

import orjson

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.http import status_document
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.memory import MemoryLog
from driftloop.adapters.registry.opening import open_wire
from driftloop.cli.supervision import Fleet
from driftloop.deployer.service import DeployerService
from driftloop.drift.service import DriftService
from driftloop.featurestats.service import FeaturestatsService
from driftloop.inference.service import InferenceService
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import wire
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.metrics import Meter, NullMeter
from driftloop.kernel.pipeline import Inline
from driftloop.kernel.ports import Log
from driftloop.kernel.service import Context, Service
from driftloop.kernel.settings import Settings
from driftloop.outcomes.service import OutcomesService
from driftloop.trainer.service import TrainerService

P = ParamSpec("P")
T = TypeVar("T")

_SERVICES = (
    InferenceService,
    OutcomesService,
    FeaturestatsService,
    DriftService,
    TrainerService,
    DeployerService,
)


class Loop(Protocol):
    """The six services, running."""

    kind: str
    """``kafka`` or ``memory``."""
    log: Log
    settings: Settings

    def advance(self, timeout_s: float) -> None:
        """Let the services go on, at most for so long."""
        ...

    def statuses(self) -> Sequence[Mapping[str, Any]]:
        """What each process's ``/status`` says."""
        ...


class KafkaLoop:
    """Services as processes of their own."""

    kind = "kafka"

    def __init__(self, fleet: Fleet) -> None:
        self.settings = fleet.settings
        settings = fleet.settings
        wire.install(open_wire(settings.registry, settings.registry_options, SystemClock()))
        self.log: Log = KafkaLog(fleet.settings.bootstrap, fleet.settings.kafka_options)
        self._fleet = fleet
        self._pause = threading.Event()

    def advance(self, timeout_s: float) -> None:
        # They go on by themselves.
        self._pause.wait(timeout_s)

    def statuses(self) -> Sequence[Mapping[str, Any]]:
        return self._fleet.statuses()


class MemoryLoop:
    """All services in this process on a log in memory, one after the other: deterministic but for
    the training processes' time, which decides nothing."""

    kind = "memory"

    def __init__(self, settings: Settings, meter: Meter | None = None) -> None:
        """``meter`` is that of all services; without one nothing is measured."""
        self.settings = replace(settings, bootstrap="")
        clock = SystemClock()
        self.log: Log = MemoryLog(clock)
        self.log.ensure_topics(settings.topics.specs())
        context = Context(self.log, clock, meter or NullMeter(), self.settings, Inline(), Inline)
        self._services: list[Service] = [
            make(context, Catalog(settings.topics, declaration_of)) for make in _SERVICES
        ]

    def advance(self, timeout_s: float) -> None:
        worked = [service.step(0.0) for service in self._services]
        if not any(worked) and timeout_s > 0:
            for service in self._services:
                service.step(timeout_s)

    def statuses(self) -> Sequence[Mapping[str, Any]]:
        return [orjson.loads(status_document(service.status())) for service in self._services]

    def close(self) -> None:
        """Stop the services."""
        for service in self._services:
            service.close()

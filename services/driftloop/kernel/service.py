"""What a service looks like to whoever runs it: a process, or the loop in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import Clock, Log, TopicPartition
from driftloop.kernel.settings import Settings


@dataclass(frozen=True, slots=True)
class Status:
    """Where a service stands. Positions pass over transaction markers."""

    service: str
    instance: str
    ready: bool
    busy: bool
    """Something is read but not committed, or a run, a load or a flush is under way."""
    lag: int
    """Records not read yet."""
    positions: Mapping[TopicPartition, int]
    details: Mapping[str, object] = field(default_factory=dict)
    """JSON-able: versions served, active runs, open alerts, ..."""


class Service(Protocol):
    """Driven in steps by one thread; :meth:`status` may be called from any."""

    name: str

    def step(self, timeout_s: float) -> bool:
        """Do what there is to do; whether there was anything."""
        ...

    def status(self) -> Status: ...

    def close(self) -> None:
        """Finish or abort what is open and let go of everything."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a service is given of the world."""

    log: Log
    clock: Clock
    meter: Meter
    settings: Settings
    executor: Executor
    """For work off the hot path, such as loading a version."""
    committer: Callable[[], Executor]
    """Makes an executor with one thread, for the transactions of one runner."""
    beat: Callable[[], None] = lambda: None
    """Tells within a long step that it gets on: without it a step that takes minutes is taken for
    one that never ends."""

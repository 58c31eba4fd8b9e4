"""One of our services in a process of its own, told when to begin and how far to go.

``python -m loadtest.member '{...}'``; the argument is :class:`Asked` as JSON. It joins its group
while there is nothing to read, and says ``{"sources": n}`` whenever its share changes. After the
line ``hold`` it does nothing, so that the topics can be filled. ``begin`` comes before the first
record can be read, and ``{"until": {...}}`` after it: an offset per partition, and it works until
its partitions are committed up to there. What it then says includes the processor time of the whole
process since ``begin``: all threads, librdkafka's too, and whatever they read ahead.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from driftloop.adapters import allocator
from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.featurestats.service import FeaturestatsService
from driftloop.featurestats.sketch import SketchCore
from driftloop.inference.service import InferenceService
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import warm
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.recovery import ChangelogRecovery
from driftloop.kernel.runner import Runner, Wiring
from driftloop.kernel.service import Context, Service, Status
from driftloop.kernel.settings import Settings
from driftloop.kernel.statistics.sketch import warm as warm_sketch

_STEP_S = 0.1
_TELL_EVERY_S = 0.02
"""As often as a service process takes its own status."""
_STILL_S = 120.0
"""A service that gets no further in this time never will."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which service, and where."""

    service: str
    topic: str
    """The one whose share is told."""
    bootstrap: str
    directory: str
    group: str = ""
    """Of the sketch stage: another name has its own offsets and its own state."""
    instance: str = "0"
    batch_rows: int = Settings().batch_rows
    kafka_options: Mapping[str, str] = field(default_factory=dict)


class SketchStage:
    """featurestats without its merge stage, wired as the service wires it."""

    name = "featurestats"

    def __init__(self, context: Context, catalog: Catalog, group: str) -> None:
        warm()
        settings = context.settings
        core = SketchCore(
            catalog, flush_interval_ms=settings.flush_interval_ms, meter=context.meter
        )
        self._runner = Runner(
            Wiring(
                name=group,
                core=core,
                recovery=ChangelogRecovery(
                    context.log, context.clock, catalog.topics, group, core, core.state_scope
                ),
                lead_topics=_predictions,
                batch_rows=settings.batch_rows,
            ),
            context.log,
            catalog,
            clock=context.clock,
            meter=context.meter,
            instance=settings.instance,
            committer=context.committer(),
        )
        for model in catalog.models.values():
            warm_sketch(model)
        self._instance = settings.instance

    def step(self, timeout_s: float) -> bool:
        return self._runner.step(timeout_s)

    def status(self) -> Status:
        runner = self._runner
        return Status(
            self.name,
            self._instance,
            ready=runner.assigned(),
            busy=not runner.idle(),
            lag=runner.lag,
            positions=runner.positions(),
        )

    def close(self) -> None:
        self._runner.close()


def _predictions(catalog: Catalog) -> Sequence[str]:
    return sorted({model.topics.predictions for model in catalog.models.values()})


def _build(asked: Asked) -> Callable[[Context, Catalog], Service]:
    services: dict[str, Callable[[Context, Catalog], Service]] = {
        "inference": InferenceService,
        "featurestats": FeaturestatsService,
        "sketch": lambda context, catalog: SketchStage(context, catalog, asked.group),
    }
    return services[asked.service]


def run(asked: Asked) -> None:
    allocator.keep()  # as every service process does
    settings = Settings(
        bootstrap=asked.bootstrap,
        directory=Path(asked.directory),
        instance=asked.instance,
        batch_rows=asked.batch_rows,
        kafka_options=asked.kafka_options,
    )
    clock, meter = SystemClock(), PrometheusMeter(asked.service)
    executor = ThreadPoolExecutor(2, thread_name_prefix="load")
    log = KafkaLog(settings.bootstrap, settings.kafka_options, clock=clock)
    catalog = Catalog(settings.topics, declaration_of)

    def committer() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="commit")

    service = _build(asked)(Context(log, clock, meter, settings, executor, committer), catalog)
    _join(service, asked.topic)
    _say({"held": True})
    _expect("begin")
    began, wall, threads = time.process_time(), time.monotonic(), _by_thread()
    _say({"begun": True})
    until = {int(p): end for p, end in orjson.loads(sys.stdin.readline())["until"].items()}
    told_at, moved_at, positions = 0.0, wall, {}
    while True:
        worked = service.step(_STEP_S)
        now = time.monotonic()
        if worked and now - told_at < _TELL_EVERY_S:
            continue
        told_at, status = now, service.status()
        before, positions = positions, _share(status, asked.topic)
        if not status.busy and all(offset >= until[p] for p, offset in positions.items()):
            break
        if positions != before:
            moved_at = now
        elif now - moved_at > _STILL_S:
            raise SystemExit(f"{asked.service} stands still at {positions} of {until}")
    cpu, seconds = time.process_time() - began, time.monotonic() - wall
    spent = {name: used - threads.get(name, 0.0) for name, used in _by_thread().items()}
    shown = {str(p): offset for p, offset in positions.items()}
    _say({"cpu": cpu, "seconds": seconds, "threads": spent, "positions": shown})
    service.close()
    executor.shutdown()
    log.close()


def _join(service: Service, topic: str) -> None:
    """Until told to hold."""
    told: dict[int, int] | None = None
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        service.step(_STEP_S)
        status = service.status()
        share = _share(status, topic)
        if status.ready and not status.busy and (told is None or share.keys() != told.keys()):
            told = share
            _say({"sources": len(share)})
    _expect("hold")


def _expect(word: str) -> None:
    if sys.stdin.readline().strip() != word:
        raise SystemExit(f"not told to {word}")


def _by_thread() -> dict[str, float]:
    """CPU seconds by thread name: Python's main one, the committer's, librdkafka's."""
    found: dict[str, float] = {}
    ours = {thread.native_id: thread.name for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        name = ours.get(int(task.name)) or (task / "comm").read_text().strip()
        name = name.rstrip("0123456789-_")
        used = int((task / "schedstat").read_text().split()[0]) / 1e9
        found[name] = found.get(name, 0.0) + used
    return found


def _share(status: Status, topic: str) -> dict[int, int]:
    return {s.partition: offset for s, offset in status.positions.items() if s.topic == topic}


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


def command(asked: Asked) -> list[str]:
    """How to start one."""
    return [sys.executable, "-m", "loadtest.member", orjson.dumps(asdict(asked)).decode()]


if __name__ == "__main__":
    run(Asked(**orjson.loads(sys.argv[1])))

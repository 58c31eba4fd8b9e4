"""The whole loop under load: events with labels through all six services, on one machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.failures import PASSING
from driftloop.adapters.kafka.native.fetching import Fetcher
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.control import read_catalog
from driftloop.cli.loops import KafkaLoop
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.settings import Settings
from loadtest.generator import Load, command
from loadtest.measure import setting
from loadtest.stream import declared

_FEATURES = 20
_PARTITIONS = 2
"""As many as processors: each service is one process here, and every partition asks for requests of
its own from whoever produces."""
_WARM_EVENTS = 60_000
_BROKER_WARM_EVENTS = 1_000_000
"""Until then the broker's compiler takes up to a third of what it uses: five to eight
microseconds per event that are over once a broker has run for a minute."""
_SETTLED_S = 300.0
_ROUNDS = 5
_LATENCY_S = 15.0
_LONE_RATE = 10.0
"""Events a second that each find the loop idle."""
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=4",)
"""The project's broker starts fast and compiles little; one that serves for long compiles all."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stage:
    """A broker and the six services, with one model declared."""

    settings: Settings
    loop: KafkaLoop
    fleet: Fleet
    quiescence: Quiescence
    broker_pid: int

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far, per service and by the broker."""
        pids = {m.service: m.pid for m in self.fleet.members()}
        return {name: cpu_of(pid) for name, pid in {**pids, "broker": self.broker_pid}.items()}


@contextmanager
def stage(model: DeclaredModel, directory: Path) -> Iterator[Stage]:
    """Everything started and ready; stopped at the end."""
    with LocalBroker(directory / "kafka", heap_mb=1024, java_options=JAVA_OPTIONS) as broker:
        settings = Settings(bootstrap=broker.bootstrap, directory=directory / "loop")
        fleet = Fleet(settings, SERVICES, progress=say)
        loop = KafkaLoop(fleet)
        clock = SystemClock()
        apply_declaration(loop.log, settings.topics, model, who="load", now=clock.now())
        with fleet:
            fleet.wait_ready()
            quiescence = Quiescence(loop, [model.declaration], clock)
            yield Stage(settings, loop, fleet, quiescence, broker.pid or 0)
        loop.log.close()


def run() -> dict[str, Any]:
    """Rounds of sustained throughput, then of the latency at half of it, then of lone events."""
    events = int(os.environ.get("EVENTS", "1000000"))
    rounds = int(os.environ.get("ROUNDS", str(_ROUNDS)))
    model = declared(features=_FEATURES, partitions=_PARTITIONS)
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        stage(model, Path(directory)) as on,
    ):
        _warm(on)
        sustained = [_sustained(on, events, 10_000_000 + k * events) for k in range(rounds)]
        rates = [found.rate for found in sustained]
        rate = statistics.median(rates)
        half = [_latency(on, rate / 2, 100_000_000 + k * 1_000_000) for k in range(rounds)]
        # The generator looks more often, so that it is not what is measured.
        lone_p50, lone_p99 = _latency(on, _LONE_RATE, 200_000_000, tick_s=0.001)
    spent = {
        name: statistics.median(found.cpu[name] for found in sustained) for name in sustained[0].cpu
    }
    total = sum(spent.values())
    waits = {"p50_ms": [p50 for p50, _ in half], "p99_ms": [p99 for _, p99 in half]}
    return {
        "name": "loop",
        "events_per_s": rate,
        **{name: statistics.median(values) for name, values in waits.items()},
        "spread": {
            name: [min(values), max(values)]
            for name, values in {"events_per_s": rates, **waits}.items()
        },
        "events": events,
        "latency_rate": rate / 2,
        "lone_rate": _LONE_RATE,
        "lone_p50_ms": lone_p50,
        "lone_p99_ms": lone_p99,
        "cpu_us_per_event": {name: used * 1e6 for name, used in spent.items()},
        "cpu_share": {name: used / total for name, used in spent.items()},
        "features": _FEATURES,
        "rounds": rounds,
        "setting": setting("confluent-kafka", "faust-streaming", "numba", "rocksdict"),
    }


@dataclass(frozen=True, slots=True)
class _Sustained:
    rate: float
    """Events a second, until all is joined, counted and at rest."""
    cpu: Mapping[str, float]
    """CPU seconds per event, by who used them."""


def _sustained(on: Stage, events: int, first: int) -> _Sustained:
    before = on.cpu()
    started = time.monotonic()
    generated = _generate(Load(on.settings.bootstrap, "stream", _FEATURES, events, first=first))
    _settle(on)
    rate = events / (time.monotonic() - started)
    after = on.cpu()
    spent = {name: (after[name] - before[name]) / events for name in after}
    say(f"{rate:.0f} events/s sustained")
    return _Sustained(rate, {**spent, "generator": generated["cpu"] / events})


def _warm(on: Stage) -> None:
    """Until a trained version serves: scoring, bins and bets cost what they cost in service."""
    first = 0
    while True:
        load = Load(on.settings.bootstrap, "stream", _FEATURES, _WARM_EVENTS, first=first)
        _generate(load)
        _settle(on)
        first += _WARM_EVENTS
        deployment = read_catalog(on.loop.log, on.settings.topics).deployments.get("stream")
        say(f"warm after {first} events: {deployment}")
        if deployment is not None and deployment.champion > 0 and deployment.shadow < 0:
            break
        time.sleep(2.0)  # windows close by the events' own time, which is the clock's here
    load = Load(on.settings.bootstrap, "stream", _FEATURES, _BROKER_WARM_EVENTS, first=5_000_000)
    _generate(load)
    _settle(on)
    say(f"warm after {_BROKER_WARM_EVENTS} more")


def _generate(load: Load) -> Mapping[str, float]:
    done = subprocess.run(command(load), stdout=subprocess.PIPE, check=True)
    found: Mapping[str, float] = orjson.loads(done.stdout)
    if found["left"]:
        raise RuntimeError(f"{found['left']} records were not acknowledged")
    return found


def _settle(on: Stage) -> None:
    on.quiescence.settle(_SETTLED_S)


def _latency(on: Stage, rate: float, first: int, *, tick_s: float = 0.02) -> tuple[float, float]:
    """Median and 99th percentile, ms, from when an event was due to when a reader of committed
    records has its prediction."""
    events = int(rate * _LATENCY_S)
    load = Load(
        on.settings.bootstrap, "stream", _FEATURES, events, first=first, rate=rate, tick_s=tick_s
    )
    reader = Fetcher(Configuration(on.settings.bootstrap).reader(), PASSING)
    ends = on.loop.log.end_offsets(["stream.predictions"])
    positions: dict[TopicPartition, int] = dict(ends)
    reader.assign(ends)
    waits: list[np.ndarray[Any, Any]] = []
    seen = 0
    with subprocess.Popen(command(load), stdout=subprocess.PIPE) as generator:
        deadline = time.monotonic() + _LATENCY_S + _SETTLED_S
        while seen < events and time.monotonic() < deadline:
            for batch in reader.poll(16_384, 0.05, positions):
                now = time.time_ns() / 1e6
                block, _, _ = decode_predictions(
                    batch.values, scores=1, numeric=_FEATURES, categorical=0
                )
                waits.append(now - block.event_time)
                seen += len(block.event_time)
        generator.wait()
    reader.close()
    if seen < events:
        raise RuntimeError(f"{events - seen} of {events} predictions did not come")
    # The first second is the generator's and the groups' start.
    every = np.concatenate(waits)[int(rate) :]
    _settle(on)
    p50, p99 = (float(np.percentile(every, q)) for q in (50, 99))
    say(f"{rate:.0f} events/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return p50, p99


def cpu_of(pid: int | None) -> float:
    """CPU seconds of a process and the children it waited for."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")

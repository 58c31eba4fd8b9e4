"""A thousand models on shared topics against one model: CPU of the inference service per event, and
then, with labels, of the label join and the window statistics."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.native.producing import TransactionalProducer
from driftloop.cli.supervision import Fleet
from driftloop.kernel import sharing
from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.ports import Log, Send
from driftloop.kernel.settings import Settings
from driftloop.models.ports import FrozenModel
from driftloop.models.registry import freeze
from loadtest.loop import JAVA_OPTIONS, cpu_of, say
from loadtest.measure import setting
from loadtest.served import Shelf, trained
from loadtest.stream import Encoder, Stream, declared

_MODELS = 1_000
_FEATURES = 20
_EVENTS = 200_000
_WINDOW = "1m"
_ROUNDS = 5
_JOINED_ROUNDS = 3
_AFTERWARDS = ("outcomes", "featurestats")
_CHUNK = 20_000
_PATIENCE_S = 300.0
_SAMPLE = 97
"""Of so many predictions one is compared."""
_TOLERANCE = 1e-9
_ZIPF = 1.1
"""Exponent: the busiest model gets about a tenth of the events."""


class Side:
    """An inference service of its own, with its models, on topics of its own."""

    def __init__(self, log: Log, settings: Settings, group: str, models: int) -> None:
        self.log = log
        self.fleet = Fleet(settings, ["inference"], progress=say)
        self.events, self.predictions = f"{group}.events", f"{group}.predictions"
        self.labels, self.outcomes = f"{group}.labels", f"{group}.outcomes"
        self._names = [f"{group}-{k}" if models > 1 else group for k in range(models)]
        self._stream, self._encoder = Stream(_FEATURES), Encoder(_FEATURES)
        self._draw = np.random.default_rng(7)
        weights = 1.0 / np.arange(1, models + 1) ** _ZIPF
        self._weights = weights / weights.sum()
        shelf = Shelf(log, settings)
        shelf.declare(
            [
                declared(
                    name,
                    features=_FEATURES,
                    window=_WINDOW,
                    shared=group if models > 1 else "",
                )
                for name in self._names
            ]
        )
        # A few recipes are enough; every model has its own artifact all the same.
        made = [trained(_FEATURES, seed=seed) for seed in range(min(models, 8))]
        self._frozen: dict[bytes | None, FrozenModel] = {}
        for index, name in enumerate(self._names):
            mine = made[index % len(made)]
            self._frozen[name.encode()] = freeze(mine.model)
            shelf.put(name, 1, mine)
            shelf.deploy(name, 1, 1)
        shelf.close()

    def round(self, first: int) -> float:
        """CPU seconds of inference for one round of events, until all are answered."""
        (pid,) = self._pids("inference")
        before, done = cpu_of(pid), self._count(self.predictions)
        self._produce(first)
        self._wait(lambda: (done + _EVENTS - self._count(self.predictions), "events not answered"))
        return cpu_of(pid) - before

    def join(self) -> None:
        """Start what takes in predictions; returns when it has caught up."""
        for service in _AFTERWARDS:
            self.fleet.scale(service, 1)
        self.fleet.wait_ready()
        self._wait(self._behind)

    def joined_round(self, first: int) -> dict[str, float]:
        """CPU seconds of each service for one round of events with their labels, until all are
        joined and counted."""
        services = ("inference", *_AFTERWARDS)
        before = {service: sum(map(cpu_of, self._pids(service))) for service in services}
        done = self._count(self.outcomes)
        self._produce(first, labels=True)
        self._wait(lambda: (done + _EVENTS - self._count(self.outcomes), "labels not joined"))
        self._wait(self._behind)
        return {s: sum(map(cpu_of, self._pids(s))) - before[s] for s in services}

    def _behind(self) -> tuple[int, str]:
        """How many services have not done all there is to do yet."""
        said = [one for one in self.fleet.statuses() if one["service"] in _AFTERWARDS]
        waiting = [one for one in said if not one["ready"] or one["busy"] or one["lag"]]
        return len(waiting), f"services not at rest: {waiting}"

    def _pids(self, service: str) -> list[int | None]:
        return [member.pid for member in self.fleet.members() if member.service == service]

    def _wait(self, left: Callable[[], tuple[int, str]]) -> None:
        """Until nothing is left."""
        deadline = time.monotonic() + _PATIENCE_S
        while (found := left())[0] > 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{found[0]} {found[1]}")
            time.sleep(0.05)

    def compare(self) -> None:
        """Every prediction so far is that of the model its header names, of which a sample is
        scored again. Raises :class:`AssertionError`."""
        compared, worst = 0, 0.0
        for source, end in self.log.end_offsets([self.predictions]).items():
            for batch in self.log.read(source, 0, end):
                block, _, rejected = decode_predictions(
                    batch.values, scores=1, numeric=_FEATURES, categorical=0
                )
                if rejected or (block.version != 1).any():
                    raise AssertionError(f"{source}: predictions that are none, or of version 0")
                for row in range(0, len(block.ids), _SAMPLE):
                    whose: bytes | None = self._names[0].encode()
                    if len(self._names) > 1 and batch.headers is not None:
                        whose = dict(batch.headers[row])[sharing.MODEL_HEADER]
                    features = Features(
                        np.ascontiguousarray(block.features.numeric[row : row + 1]),
                        Categories(np.empty((1, 0), np.int32), ()),
                    )
                    expected = self._frozen[whose].score(features)[0, 0]
                    worst = max(worst, abs(float(block.scores[row, 0]) - float(expected)))
                    compared += 1
        if worst > _TOLERANCE or not compared:
            raise AssertionError(f"{self.predictions}: scores differ by up to {worst}")
        say(f"{self.predictions}: {compared} scores compared, they differ by at most {worst:.1e}")

    def _count(self, topic: str) -> int:
        return sum(self.log.end_offsets([topic]).values())

    def _produce(self, first: int, *, labels: bool = False) -> None:
        options = {**Configuration(self.fleet.settings.bootstrap).producer(), "linger.ms": 20}
        producer = TransactionalProducer({**options, "delivery.report.only.error": True})
        for start in range(0, _EVENTS, _CHUNK):
            rows = self._stream.rows(first + start, _CHUNK)
            at = np.full(_CHUNK, time.time_ns() // 1_000_000, np.int64)
            headers = None
            if len(self._names) > 1:
                whose = self._draw.choice(len(self._names), _CHUNK, p=self._weights)
                headers = sharing.table_of(self._names, whose)
            values = self._encoder.events(rows, at)
            producer.send(Send(self.events, rows.ids, values, headers=headers))
            if labels:
                values = self._encoder.labels(rows, at)
                producer.send(Send(self.labels, rows.ids, values, headers=headers))
        left = producer.flush(60.0)
        producer.close()
        if left:
            raise RuntimeError(f"{left} events were not acknowledged")


def run() -> dict[str, Any]:
    """One model first, then a thousand, in turns; each side's service has the machine to itself."""
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        LocalBroker(Path(directory) / "kafka", heap_mb=1024, java_options=JAVA_OPTIONS) as broker,
    ):
        log = KafkaLog(broker.bootstrap)
        sides = {}
        for name, models in (("one", 1), ("many", _MODELS)):
            settings = Settings(
                bootstrap=broker.bootstrap,
                directory=Path(directory) / name,
                prefix=f"{name}.driftloop.",
            )
            log.ensure_topics(settings.topics.specs())
            say(f"declaring {models} models")
            sides[name] = Side(log, settings, name, models)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        with sides["one"].fleet, sides["many"].fleet:
            for side in sides.values():
                side.fleet.wait_ready()
            for turn in range(_ROUNDS + 1):
                for name, side in sides.items():
                    used = side.round(turn * _EVENTS)
                    if turn:
                        seconds[name].append(used)
                    else:  # the first round loads the models
                        side.compare()
                    say(f"round {turn}, {name}: {used / _EVENTS * 1e6:.2f} us per event")
            memory = {name: _resident(side) for name, side in sides.items()}
            joined: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for name, side in sides.items():
                say(f"{name}: outcomes and featurestats catch up")
                side.join()
            for turn in range(1, _JOINED_ROUNDS + 1):
                for name, side in sides.items():
                    joined[name].append(side.joined_round((_ROUNDS + turn) * _EVENTS))
                    per_event = {k: v / _EVENTS * 1e6 for k, v in joined[name][-1].items()}
                    say(f"round {turn} with labels, {name}: {per_event} us per event")
        log.close()
    ratios = [many / one for many, one in zip(seconds["many"], seconds["one"], strict=True)]
    all_ratios = [
        sum(many.values()) / sum(one.values())
        for many, one in zip(joined["many"], joined["one"], strict=True)
    ]
    return {
        "name": "many",
        "cost_ratio": statistics.median(ratios),
        "joined_cost_ratio": statistics.median(all_ratios),
        "spread": {
            "cost_ratio": [min(ratios), max(ratios)],
            "joined_cost_ratio": [min(all_ratios), max(all_ratios)],
        },
        "us_per_event": {
            name: statistics.median(used) / _EVENTS * 1e6 for name, used in seconds.items()
        },
        "us_per_event_joined": {
            name: {
                service: statistics.median(one[service] for one in rounds) / _EVENTS * 1e6
                for service in rounds[0]
            }
            for name, rounds in joined.items()
        },
        "models": _MODELS,
        "events_per_round": _EVENTS,
        "rounds": _ROUNDS,
        "resident_mb": memory,
        "service": "inference",
        "setting": setting("confluent-kafka", "numba"),
    }


def _resident(side: Side) -> float:
    (pid,) = side._pids("inference")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20

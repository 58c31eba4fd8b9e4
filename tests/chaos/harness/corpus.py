"""Real records of every topic: what the loop in memory made of some traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.control import read_catalog, read_topics
from driftloop.cli.loops import MemoryLoop
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Producer, Send
from driftloop.kernel.records import Command, CommandAction
from driftloop.kernel.settings import Settings

from . import model
from .model import Scale
from .traffic import LabelQueue, Message, Traffic

_SCALE = Scale(events=12_000, rate=0.0, window_rows=250, regime_windows=12)
_CHUNKS = 5
_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Topic to the values found in it, and what is declared."""

    declared: DeclaredModel
    settings: Settings
    catalog: Catalog
    values: dict[str, list[bytes]] = field(repr=False)


def make_corpus(directory: Path) -> Corpus:
    """Events, labels, predictions, outcomes and records of every control topic."""
    settings = Settings(directory=directory, prefix="fuzz.", flush_interval_ms=1)
    loop = MemoryLoop(settings)
    declared = model.declared(_SCALE)
    topics, own = settings.topics, declared.declaration.topics
    try:
        apply_declaration(loop.log, topics, declared, who="tests", now=SystemClock().now())
        producer = loop.log.producer("tests")
        traffic = Traffic(3, _SCALE)
        labels = LabelQueue()
        for number in range(_CHUNKS):
            chunk = traffic.chunk(number)
            for at, message in traffic.labels(chunk):
                labels.put(at, message)
            send(producer, own.events, [m for slot in traffic.events(chunk) for m in slot])
            send(producer, own.labels, labels.until(float(chunk.position[-1])))
            _work(loop)
        _until(loop, lambda: any(loop.log.end_offsets([topics.deployments]).values()))
        commands = [
            Command(f"c{n}", model.NAME, action, 1, "tests", 0, "to have one")
            for n, action in enumerate(CommandAction)
        ]
        encoded = [codec(Command).encode(command) for command in commands]
        home = topics.partition(model.NAME)
        keys = [model.NAME.encode()] * len(encoded)
        producer.send(Send(topics.commands, keys, encoded, home))
        closing, last = traffic.closers(0)
        send(producer, own.events, closing)
        send(producer, own.labels, [*labels.until(float("inf")), *last])
        _work(loop)
        names = [*(spec.name for spec in topics.specs()), *vars_of(own)]
        values: dict[str, list[bytes]] = {}
        for name in names:
            found = [v for batch in read_topics(loop.log, [name]) for v in batch.values]
            values[name] = [value for value in found if value]
        return Corpus(declared, settings, read_catalog(loop.log, topics), values)
    finally:
        loop.close()


def vars_of(own: object) -> list[str]:
    """The names of a model's four topics."""
    return [getattr(own, name) for name in ("events", "labels", "predictions", "outcomes")]


def send(producer: Producer, topic: str, messages: list[Message]) -> None:
    """Each where its key belongs, unless it says where."""
    placed: dict[int | None, list[Message]] = {}
    for message in messages:
        placed.setdefault(message.partition, []).append(message)
    for partition, some in placed.items():
        producer.send(Send(topic, [m.key for m in some], [m.value for m in some], partition))


def _work(loop: MemoryLoop) -> None:
    """Until nothing moves for a few turns."""
    quiet = 0
    while quiet < 5:
        before = dict(loop.log.end_offsets(_all_topics(loop)))
        loop.advance(0.0)
        quiet = quiet + 1 if dict(loop.log.end_offsets(_all_topics(loop))) == before else 0


def _until(loop: MemoryLoop, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        loop.advance(0.05)
        if time.monotonic() > deadline:
            raise TimeoutError("the loop in memory published no version")


def _all_topics(loop: MemoryLoop) -> list[str]:
    own = ("events", "labels", "predictions", "outcomes")
    return [
        *(spec.name for spec in loop.settings.topics.specs()),
        *(f"{model.NAME}.{name}" for name in own),
    ]

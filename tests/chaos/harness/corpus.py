"""Real records of every topic, of models in some form: what the loop in memory made of some
traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.control import read_catalog, read_topics
from driftloop.cli.loops import MemoryLoop
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.wire import Wire, in_force
from driftloop.kernel.ports import Headers, Producer, Send
from driftloop.kernel.records import Command, CommandAction
from driftloop.kernel.settings import Settings
from driftloop.kernel.sharing import MODEL_HEADER

from .forms import PLAIN, Form
from .model import Scale
from .traffic import CLOSER, LabelQueue, Message, Traffic

_SCALE = Scale(events=12_000, rate=0.0, window_rows=250, regime_windows=12)
_UNDECIDED = Scale(events=5_000, rate=0.0, window_rows=2_500, regime_windows=12)
"""Fewer labels than a training run takes."""
_CHUNKS = 5
_WITHIN_S = 120.0


class Source(NamedTuple):
    """A topic's records, and what it takes to make others like them."""

    topic: str
    values: Sequence[bytes]
    owners: Sequence[str]
    """Of each record the model that it names; empty where none does."""
    models: Sequence[str] = ()
    """Those that share the topic."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Topic to the values found in it, and what is declared."""

    form: Form
    models: Sequence[DeclaredModel]
    settings: Settings
    catalog: Catalog
    wire: Wire = field(repr=False)
    """The one that was in force."""
    values: dict[str, list[bytes]] = field(repr=False)
    owners: dict[str, list[str]] = field(repr=False)

    @property
    def declared(self) -> DeclaredModel:
        """The first of the models."""
        return self.models[0]

    def source(self, topic: str) -> Source:
        """The records of one topic."""
        own = self.declared.declaration.topics
        sharing = own.shared and topic in own.names()
        names = [declared.declaration.name for declared in self.models] if sharing else []
        return Source(topic, self.values[topic], self.owners[topic], names)

    def beginning(self, topic: str, count: int = 300) -> Source:
        """The first records of partition 0: of predictions and of labels they are of much the same
        events."""
        whole = self.source(topic)
        return whole._replace(values=whole.values[:count], owners=whole.owners[:count])

    def ending(self, topic: str) -> Source:
        """Records of the events that end the traffic, far ahead in time: whatever waits for others
        before them waits no longer."""
        whole = self.source(topic)
        rows = [row for row, value in enumerate(whole.values) if CLOSER in value]
        values, owners = ([column[row] for row in rows] for column in (whole.values, whole.owners))
        return whole._replace(values=values, owners=owners)


def make_corpus(directory: Path, form: Form = PLAIN) -> Corpus:
    """Events, labels, predictions and outcomes; where the form decides, records of every control
    topic too. In the framing that is in force."""
    settings = Settings(directory=directory, prefix="fuzz.", flush_interval_ms=1)
    loop = MemoryLoop(settings)
    scale = _SCALE if form.decides else _UNDECIDED
    models = form.declared(scale)
    topics, own = settings.topics, models[0].declaration.topics
    try:
        for declared in models:
            apply_declaration(loop.log, topics, declared, who="tests", now=SystemClock().now())
        names = [*(spec.name for spec in topics.specs()), *own.names()]
        producer = loop.log.producer("tests")
        traffic = Traffic(3, scale)
        labels = LabelQueue()

        def send_events(messages: Sequence[Message]) -> None:
            send(producer, own.events, [form.message(m, of_label=False) for m in messages])

        def send_labels(messages: Sequence[Message]) -> None:
            send(producer, own.labels, [form.message(m, of_label=True) for m in messages])

        for number in range(_CHUNKS):
            chunk = traffic.chunk(number)
            for at, message in traffic.labels(chunk):
                labels.put(at, message)
            send_events([m for slot in traffic.events(chunk) for m in slot])
            send_labels(labels.until(float(chunk.position[-1])))
            _work(loop, names)
        if form.decides:
            _until(loop, lambda: any(loop.log.end_offsets([topics.deployments]).values()))
            _command(producer, settings, models[0].declaration.name)
        closing, last = traffic.closers(0)
        send_events(closing)
        send_labels([*labels.until(float("inf")), *last])
        _work(loop, names)
        values: dict[str, list[bytes]] = {}
        owners: dict[str, list[str]] = {}
        for name in names:
            found = [
                (value, _owner(batch.headers[row] if batch.headers else ()))
                for batch in read_topics(loop.log, [name])
                for row, value in enumerate(batch.values)
                if value
            ]
            values[name], owners[name] = [v for v, _ in found], [owner for _, owner in found]
        catalog = read_catalog(loop.log, topics)
        return Corpus(form, models, settings, catalog, in_force(), values, owners)
    finally:
        loop.close()


def _command(producer: Producer, settings: Settings, name: str) -> None:
    """One of each."""
    topics = settings.topics
    commands = [
        Command(f"c{n}", name, action, 1, "tests", 0, "to have one")
        for n, action in enumerate(CommandAction)
    ]
    encoded = [codec(Command).encode(command) for command in commands]
    keys = [name.encode()] * len(encoded)
    producer.send(Send(topics.commands, keys, encoded, topics.partition(name)))


def _owner(headers: Headers) -> str:
    return (dict(headers).get(MODEL_HEADER) or b"").decode()


def send(producer: Producer, topic: str, messages: list[Message]) -> None:
    """Each where its key belongs, unless it says where."""
    placed: dict[int | None, list[Message]] = {}
    for message in messages:
        placed.setdefault(message.partition, []).append(message)
    for partition, some in placed.items():
        headers = [tuple(m.headers or ()) for m in some]
        keys, values = [m.key for m in some], [m.value for m in some]
        producer.send(Send(topic, keys, values, partition, headers=headers))


def _work(loop: MemoryLoop, topics: Sequence[str]) -> None:
    """Until nothing moves for a few turns."""
    quiet = 0
    while quiet < 5:
        before = dict(loop.log.end_offsets(topics))
        loop.advance(0.0)
        quiet = quiet + 1 if dict(loop.log.end_offsets(topics)) == before else 0


def _until(loop: MemoryLoop, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        loop.advance(0.05)
        if time.monotonic() > deadline:
            raise TimeoutError("the loop in memory published no version")

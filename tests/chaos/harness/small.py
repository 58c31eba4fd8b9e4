"""A small loop for one fault: some of the services, a model and topics of its own, a little
traffic, and what it left."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.announcements import announced
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.supervision import Fleet
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Send
from driftloop.kernel.records import Alert, DeadLetter, Outcome, Prediction, Window
from driftloop.kernel.settings import Settings

from . import model
from .model import Scale
from .producing import Sender
from .reading import Record, read
from .traffic import Chunk, Fate, Labelling, LabelQueue, Traffic, event_id

WITHIN_S = 90.0


class NeverError(AssertionError):
    """Something that was waited for did not happen."""


def eventually(
    holds: Callable[[], Any], what: str, within_s: float = WITHIN_S, every_s: float = 0.1
) -> Any:
    """What ``holds`` returns once it is true. Raises :class:`NeverError`."""
    turn = threading.Event()
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise NeverError(f"not within {within_s:g} s: {what}")
        turn.wait(every_s)
    return found


@dataclass(slots=True)
class SmallLoop:
    """Sends a chunk of traffic at a time, and knows what must come of it."""

    fleet: Fleet
    log: KafkaLog
    declared: DeclaredModel
    traffic: Traffic
    sender: Sender
    sent: list[Chunk] = field(default_factory=list)
    labelled: list[Chunk] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return self.fleet.settings

    def send(self, *, labels: bool = True) -> None:
        """The next thousand events, and their labels after them; acknowledged on return."""
        chunk = self.traffic.chunk(len(self.sent))
        self.sent.append(chunk)
        topic = self.declared.declaration.topics.events
        slots = self.traffic.events(chunk)
        self.sender.send(topic, [message for slot in slots for message in slot])
        self.sender.flush()
        if labels:
            self.send_labels(len(self.sent) - 1)

    def send_labels(self, number: int) -> None:
        """The labels of a chunk that was sent before."""
        self.labelled.append(self.sent[number])
        queue = LabelQueue()
        for at, message in self.traffic.labels(self.sent[number]):
            queue.put(at, message)
        topic = self.declared.declaration.topics.labels
        self.sender.send(topic, queue.until(float("inf")))
        self.sender.flush()

    def predicted(self) -> Counter[bytes]:
        """Event id to the number of its predictions."""
        return Counter(record.key or b"" for record in self.read_predictions())

    def read_predictions(self) -> Iterator[Record]:
        return read(self.settings.bootstrap, self.declared.declaration.topics.predictions)

    def predictions(self) -> list[Prediction]:
        return [codec(Prediction).decode(r.value) for r in self.read_predictions()]

    def outcomes(self) -> list[Outcome]:
        topic = self.declared.declaration.topics.outcomes
        return [codec(Outcome).decode(r.value) for r in read(self.settings.bootstrap, topic)]

    def windows(self) -> list[Window]:
        """Of its own model's."""
        topic = self.settings.topics.windows
        return [codec(Window).decode(r.value) for r in read(self.settings.bootstrap, topic)]

    def letters(self) -> list[DeadLetter]:
        topic = self.settings.topics.dead_letters
        return [codec(DeadLetter).decode(r.value) for r in read(self.settings.bootstrap, topic)]

    def alerts(self) -> list[Alert]:
        topic = self.settings.topics.alerts
        return [codec(Alert).decode(r.value) for r in read(self.settings.bootstrap, topic)]

    def expected_predictions(self) -> Counter[bytes]:
        found: Counter[bytes] = Counter()
        for chunk in self.sent:
            for row, fate in enumerate(chunk.fate.tolist()):
                if fate != Fate.POISON:
                    found[event_id(chunk.first + row)] += 1 + (fate == Fate.TWICE)
        return found

    def expected_outcomes(self) -> Counter[bytes]:
        unusable = (
            Labelling.NEVER, Labelling.BROKEN, Labelling.WRONG_PARTITION, Labelling.AFTER_HORIZON,
        )  # fmt: skip
        return Counter(
            event_id(chunk.first + row)
            for chunk in self.labelled
            for row in range(len(chunk))
            if chunk.fate[row] != Fate.POISON and chunk.labelling[row] not in unusable
        )

    def poison(self) -> int:
        return sum(int((chunk.fate == Fate.POISON).sum()) for chunk in self.sent)

    def all_predicted(self, within_s: float = WITHIN_S) -> None:
        """Wait until every event has its predictions, and no more than these."""
        expected = self.expected_predictions()
        have: Counter[bytes] = Counter()

        def holds() -> bool:
            nonlocal have
            have = self.predicted()
            return have.total() >= expected.total()

        try:
            eventually(holds, "every event has a prediction", within_s, 0.3)
        except NeverError as error:
            raise NeverError(f"{error}: {have.total()} of {expected.total()}") from error
        assert have == expected

    def all_joined(self, within_s: float = WITHIN_S) -> None:
        """Wait until every label that can be joined is an outcome, once."""
        expected = self.expected_outcomes()
        topic = self.declared.declaration.topics.outcomes

        def have() -> Counter[bytes]:
            return Counter(r.key or b"" for r in read(self.settings.bootstrap, topic))

        eventually(
            lambda: have().total() >= expected.total(), "every label is joined", within_s, 0.3
        )
        assert have() == expected

    def log_of(self, service: str) -> str:
        """What the service's processes wrote to stderr so far."""
        return (self.settings.directory / "logs" / f"{service}-0.log").read_text("utf-8")

    def pid(self, service: str) -> int:
        """Of the process that runs now."""
        member = next(m for m in self.fleet.members() if m.service == service)
        pid: int = eventually(lambda: member.pid, f"{service} runs")
        return pid

    def restarts(self, service: str) -> int:
        return next(m for m in self.fleet.members() if m.service == service).restarts

    def metric(self, service: str, name: str, labels: str = "") -> float:
        """The sum over the metric's series that have ``labels``, as exposed; 0 while there is
        none."""
        for found in announced(self.settings.directory):
            if found.service == service:
                answer = found.get("/metrics")
                text = "" if answer is None else answer[1].decode()
                values = re.findall(rf"(?m)^{name}(?:{{([^}}]*)}})? (\S+)$", text)
                return sum(float(value) for shown, value in values if labels in shown)
        return 0.0

    def serves(self, version: int) -> None:
        """Wait until every process of inference answers with this version."""
        name = self.declared.declaration.name

        def champions() -> set[int | None]:
            found = [s for s in self.fleet.statuses() if s["service"] == "inference"]
            serving = [s.get("details", {}).get("serving", {}).get(name) for s in found]
            return {None if one is None else int(one["champion"]) for one in serving}

        eventually(lambda: champions() == {version}, f"version {version} is served")

    def open_transaction(self) -> bool:
        """Whether some record of the predictions is not decided."""
        topics = [self.declared.declaration.topics.predictions]
        return self.log.high_watermarks(topics) != self.log.end_offsets(topics)

    def publish(self, topic: str, key: str, *values: bytes) -> None:
        """Control records of the model."""
        producer = self.log.producer("tests")
        try:
            partition = self.settings.topics.partition(self.declared.declaration.name)
            producer.send(Send(topic, [key.encode()] * len(values), list(values), partition))
            producer.flush(30.0)
        finally:
            producer.close()


@contextmanager
def small_loop(
    bootstrap: str,
    directory: Path,
    services: Sequence[str] | Mapping[str, int],
    *,
    seed: int = 5,
    options: dict[str, str] | None = None,
    ready: bool = True,
) -> Iterator[SmallLoop]:
    """Running services, ready; stopped on exit."""
    tag = secrets.token_hex(4)
    scale = Scale(events=100_000, rate=0.0, window_rows=500, regime_windows=8)
    declared = model.declared(scale, f"fault-{tag}")
    settings = replace(
        Settings(bootstrap=bootstrap, directory=directory, prefix=f"fault-{tag}."),
        flush_interval_ms=100,
        kafka_options=options or {},
    )
    log = KafkaLog(bootstrap, options or {})
    try:
        apply_declaration(log, settings.topics, declared, who="tests", now=SystemClock().now())
        with Fleet(settings, services, grace_s=5.0) as fleet:
            if ready:
                fleet.wait_ready()
            yield SmallLoop(fleet, log, declared, Traffic(seed, scale), Sender(bootstrap))
    finally:
        log.close()


__all__ = ["NeverError", "SmallLoop", "eventually", "small_loop"]

"""A log in memory with everything an alert is made from: rows, windows, a version, and the alerts
that drift makes of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.drift.core import DriftCore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.ports import RecordBatch, Send, TopicPartition
from driftloop.kernel.records import (
    Alert,
    CategoricalProfile,
    Command,
    CommandAction,
    Load,
    LossBaseline,
    ModelRecord,
    NumericProfile,
    OffsetRange,
    Outcome,
    Prediction,
    Profile,
    Recipe,
    ReferenceCounts,
    Stream,
    Version,
    Window,
)
from driftloop.kernel.statistics.merge import statistics_digest
from driftloop.kernel.topics import ControlTopics
from driftloop.kernel.verification import recompute_window

HOUR = 3_600_000
START = 1_356_998_400_000
"""2013-01-01."""
ROWS = 300
"""Per window."""
TOML = """
[model]
name = "m"
partitions = 1
[events]
schema = "m.avsc"
id = "id"
time = "at"
[[features]]
name = "x"
kind = "numeric"
limits = [-1000, 1000]
[[features]]
name = "c"
kind = "categorical"
[windows]
size = "1h"
"""
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "M",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "x", "type": "double"},
            {"name": "c", "type": "string"},
        ],
    }
)


SEGMENTED = """
[alerts]
segment = "c"
"""


def profile(*, segments: bool = False) -> Profile:
    """x is standard normal in ten bins, the score uniform in four, c one of two; with ``segments``
    each half of the rows by itself, too."""
    halves = (("even", (5000, 0)), ("odd", (0, 5000)))
    counts = (*(500,) * 10, 0, 1, *(1250,) * 4, 0, 1)
    references = tuple(
        ReferenceCounts(Stream.PREDICTIONS, -1, level, 5000, (*counts, *levels, 0, 0))
        for level, levels in halves
    )
    edges = (-1.28, -0.84, -0.52, -0.25, 0.0, 0.25, 0.52, 0.84, 1.28)
    return Profile(
        rows=10_000,
        numeric=(
            NumericProfile("x", edges, (1000,) * 10, 0, -4.5, 6.5),
            NumericProfile("score", (0.25, 0.5, 0.75), (2500,) * 4, 0, 0.0, 1.0),
        ),
        categorical=(CategoricalProfile("c", ("even", "odd"), (5000, 5000), 0),),
        loss=LossBaseline(10_000, 0.5, 0.6, 4.7),
        references=references if segments else (),
    )


class AlertWorld:
    """``shift(hour)`` is added to x in the window of that hour; ``new(hour)`` is the share of rows
    whose c is new."""

    def __init__(
        self,
        hours: int = 16,
        shift: Callable[[int], float] = lambda hour: 1.0 if hour >= 8 else 0.0,
        new: Callable[[int], float] = lambda hour: 0.0,
        *,
        segments: bool = False,
    ) -> None:
        self._profile = self._reference(segments)
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.topics = ControlTopics()
        self.log.ensure_topics(self.topics.specs())
        record = ModelRecord("m", TOML + SEGMENTED * segments, SCHEMA, "me", 0)
        self.model: Declaration = declaration_of(record)
        self.log.ensure_topics(self.model.topics.specs(1))
        version = Version(
            "m", 1, Recipe("t", {}, 0), "a", "0" * 64, self._profile, {}, (), 0, 1, "r", 0
        )  # fmt: skip
        self._producer = self.log.producer("test")
        self.put(self.topics.models, record)
        self.put(self.topics.versions, version)
        self.catalog = Catalog(self.topics, declaration_of)
        self.catalog.declare(self.model)
        self.catalog.versions["m", 1] = version
        self._rows(hours, shift, new)
        self.windows = [window for hour in range(hours) for window in self._windows(hour)]
        for window in self.windows:
            self.put(self.topics.windows, window)

    @property
    def partition(self) -> int:
        return self.topics.partition("m")

    def put(self, topic: str, record: Any) -> None:
        """A control record."""
        value = codec(type(record)).encode(record)
        key = b"m/1" if isinstance(record, Version) else b"m"
        self._producer.send(Send(topic, [key], [value], self.partition))

    def run(
        self,
        *commands: tuple[int, Command],
        restart_after: int = -1,
        loads: Sequence[Load] = (),
        declared: Mapping[int, ModelRecord] | None = None,
    ) -> list[Alert]:
        """Drift reads every window, and each command after the window of its hour; what it says is
        written. It is restarted after the window of ``restart_after``, and knows of each of
        ``declared`` from the window of its hour on."""
        core = DriftCore(self.catalog)
        state: dict[str, bytes] = {}
        for load in loads:
            self.put(self.topics.loads, load)
        for batch in self._batches(self.topics.loads):
            self._write(core, batch)
        for hour, batch in enumerate(self._batches(self.topics.windows)):
            if declared and hour in declared:
                self.catalog.declare(declaration_of(declared[hour]))
            self._write(core, batch)
            for _, command in [pair for pair in commands if pair[0] == hour]:
                self.put(self.topics.commands, command)
                self._write(core, list(self._batches(self.topics.commands))[-1])
            for name, value in core.snapshot().items():
                if value is None:
                    state.pop(name, None)
                else:
                    state[name] = value
            if hour == restart_after:
                core = DriftCore(self.catalog)
                core.restore(TopicPartition(self.topics.windows, self.partition), dict(state))
        self.core = core
        return self.alerts()

    def alerts(self) -> list[Alert]:
        """What is on the topic."""
        found = self._batches(self.topics.alerts)
        return [codec(Alert).decode(batch.values[0]) for batch in found]

    def tamper(self, topic: str, offset: int, record: Any) -> None:
        """Put another record in the place of one."""
        values = self.log._storage.partition(self._at(topic)).values
        values[offset] = record if isinstance(record, bytes) else codec(type(record)).encode(record)

    def redeclaration(self, alerts: str, hour: int) -> ModelRecord:
        """With these keys in ``[alerts]``, put on the topic as if the windows up to that of
        ``hour`` had been written before."""
        record = ModelRecord("m", f"{TOML}[alerts]\n{alerts}\n", SCHEMA, "me", 0)
        for number in range(hour, len(self.windows)):
            self.log._storage.partition(self._at(self.topics.windows)).timestamps[number] += HOUR
        self.clock.advance(HOUR // 2)
        self.put(self.topics.models, record)
        return record

    def command(
        self, action: CommandAction, alert: Alert, who: str = "ann", until: int = 0
    ) -> Command:
        return Command("1", "m", action, -1, who, 0, "because", alert.id, until)

    def _at(self, topic: str) -> TopicPartition:
        own = topic in self.model.topics.names()
        return TopicPartition(topic, 0 if own else self.partition)

    def _write(self, core: DriftCore, batch: RecordBatch) -> None:
        for send in core.process(batch).sends:
            self._producer.send(send)

    def _batches(self, topic: str) -> list[RecordBatch]:
        """Records of the control partition, one by one."""
        end = self.log.end_offsets([topic])[self._at(topic)]
        return [
            batch
            for offset in range(end)
            for batch in self.log.read(self._at(topic), offset, offset + 1)
        ]

    def _rows(self, hours: int, shift: Callable[[int], float], new: Callable[[int], float]) -> None:
        random = np.random.default_rng(1)
        for hour in range(hours):
            x = np.clip(random.normal(size=ROWS) + shift(hour), -4.4, 6.4)
            scores = random.random(ROWS)
            fresh = random.random(ROWS) < new(hour)
            rows = [
                Prediction(
                    event_id=f"{hour}-{row}",
                    event_time=START + hour * HOUR + row * (HOUR // ROWS),
                    version=1,
                    scores=(float(scores[row]),),
                    numeric=(float(x[row]),),
                    categories=("fresh" if fresh[row] else ("even", "odd")[row % 2],),
                    shadow_version=-1,
                    shadow_scores=(),
                    source_partition=0,
                    source_offset=hour * ROWS + row,
                )
                for row in range(ROWS)
            ]
            keys = [row.event_id.encode() for row in rows]
            values = [codec(Prediction).encode(row) for row in rows]
            self._producer.send(Send(self.model.topics.predictions, keys, values, 0))

    def _reference(self, segments: bool) -> Profile:
        return profile(segments=segments)

    def _windows(self, hour: int) -> list[Window]:
        """Of an hour, as they lie on the topic."""
        source = OffsetRange(self.model.topics.predictions, 0, hour * ROWS, (hour + 1) * ROWS)
        return [self._window(hour, Stream.PREDICTIONS, source)]

    def _window(
        self, hour: int, stream: Stream, source: OffsetRange, shadow: int = -1, parts: int = 1
    ) -> Window:
        start = START + hour * HOUR
        draft = Window(
            model="m",
            stream=stream,
            start=start,
            end=start + HOUR,
            version=1,
            shadow=shadow,
            revision=0,
            rows=0,
            late=0,
            sources=(source,),
            watermark=start + HOUR + 600_000,
            statistics=None,  # type: ignore[arg-type]
            digest="",
            parts=parts,
        )
        found = recompute_window(self.log, self.model, self._profile, draft)
        return dataclasses.replace(
            draft, statistics=found, rows=found.rows, digest=statistics_digest(found)
        )


class OutcomeWorld(AlertWorld):
    """Windows of outcomes. From the hour 4 on the shadow changes in the middle of each: so each has
    two parts. From ``since`` on most labels are 1, whatever the score."""

    def __init__(self, hours: int = 16, since: int = 8) -> None:
        self._since = since
        super().__init__(hours)

    def _reference(self, segments: bool) -> Profile:
        """Half of the rows have the score .2, half .6; as many labels are 1."""
        losses = LossBaseline(
            rows=10_000,
            mean=0.587,
            upper=0.6,
            bound=4.7,
            edges=(0.3, 0.7, 1.2),
            counts=(4000, 3000, 2000, 1000),
            means=(0.2231, 0.5108, 0.9163, 1.6094),
            errors=3000,
        )
        return dataclasses.replace(super()._reference(segments), loss=losses)

    def _rows(self, hours: int, shift: Callable[[int], float], new: Callable[[int], float]) -> None:
        random = np.random.default_rng(1)
        for hour in range(hours):
            rows = [self._outcome(hour, row, random) for row in range(ROWS)]
            keys = [row.event_id.encode() for row in rows]
            values = [codec(Outcome).encode(row) for row in rows]
            self._producer.send(Send(self.model.topics.outcomes, keys, values, 0))

    def _outcome(self, hour: int, row: int, random: np.random.Generator) -> Outcome:
        score = (0.2, 0.6)[row % 2]
        at = START + hour * HOUR + row * (HOUR // ROWS)
        shadow = self._shadows(hour)[row * len(self._shadows(hour)) // ROWS]
        return Outcome(
            event_id=f"{hour}-{row}",
            event_time=at,
            outcome_time=at,
            version=1,
            scores=(score,),
            numeric=(0.0,),
            categories=("even",),
            shadow_version=shadow,
            shadow_scores=(score,) if shadow >= 0 else (),
            label=float(random.random() < (score if hour < self._since else 0.9)),
            label_delay=0,
            prediction_partition=0,
            prediction_offset=hour * ROWS + row,
            label_partition=0,
            label_offset=hour * ROWS + row,
        )

    def _shadows(self, hour: int) -> tuple[int, ...]:
        """Of an hour's rows, in turn."""
        return (-1,) if hour < 4 else (hour, hour + 1)

    def _windows(self, hour: int) -> list[Window]:
        shadows = self._shadows(hour)
        size = ROWS // len(shadows)
        found = []
        for place, shadow in enumerate(shadows):
            first = hour * ROWS + place * size
            source = OffsetRange(self.model.topics.outcomes, 0, first, first + size)
            found.append(self._window(hour, Stream.OUTCOMES, source, shadow, len(shadows)))
        return found

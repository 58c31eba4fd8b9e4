"""The newest records of a topic, and those to come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftloop.cli.control import declared_model, read_catalog
from driftloop.cli.records_text import record_text
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.codec.records import RecordCodec, codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ConfigurationError, DecodeError
from driftloop.kernel.ports import Log, RecordBatch, TopicPartition
from driftloop.kernel.records import (
    Alert,
    DeadLetter,
    Deployment,
    Estimate,
    Load,
    Outcome,
    Prediction,
    Run,
    Version,
    Window,
)
from driftloop.kernel.topics import ControlTopics

KINDS: Mapping[str, type] = {
    "alerts": Alert,
    "estimates": Estimate,
    "predictions": Prediction,
    "outcomes": Outcome,
    "windows": Window,
    "versions": Version,
    "deployments": Deployment,
    "runs": Run,
    "loads": Load,
    "dead-letters": DeadLetter,
}
"""What can be followed."""

_LOOK_EVERY_S = 0.25
_BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One record and where it lies."""

    record: Any
    """Of the class that ``KINDS`` names."""
    topic: str
    partition: int
    offset: int
    timestamp: int
    """Kafka's, ms."""

    def document(self) -> dict[str, Any]:
        """For JSON: the record's fields, and ``_topic``, ``_partition``, ``_offset`` and
        ``_timestamp``."""
        return {
            **to_plain(self.record),
            "_topic": self.topic,
            "_partition": self.partition,
            "_offset": self.offset,
            "_timestamp": self.timestamp,
        }

    def text(self) -> str:
        """For people: one line."""
        return record_text(self.record)


@dataclass(frozen=True, slots=True)
class Tail:
    """What to show of which topics."""

    kind: type
    topics: Sequence[str]
    model: str | None
    model_topics: frozenset[str]
    """Topics of the model, which its dead letters come from."""

    def wants(self, record: Any) -> bool:
        if self.model is None:
            return True
        if isinstance(record, DeadLetter):
            return record.topic in self.model_topics
        return getattr(record, "model", self.model) == self.model


def tail_of(log: Log, topics: ControlTopics, what: str, model: str | None) -> Tail:
    """Raises :class:`ConfigurationError` for a model that is not declared, or where there are
    no topics."""
    catalog = read_catalog(log, topics)
    models = list(catalog.models.values()) if model is None else [declared_model(catalog, model)]
    per_model: dict[str, Callable[[Declaration], str]] = {
        "predictions": lambda declared: declared.topics.predictions,
        "outcomes": lambda declared: declared.topics.outcomes,
    }
    control = {
        "alerts": topics.alerts,
        "estimates": topics.estimates,
        "windows": topics.windows,
        "versions": topics.versions,
        "deployments": topics.deployments,
        "runs": topics.runs,
        "loads": topics.loads,
        "dead-letters": topics.dead_letters,
    }
    if what in per_model:
        names = [per_model[what](declared) for declared in models]
        if not names:
            raise ConfigurationError(
                f"there are no {what}, for no model is declared: 'driftloop apply FILE'"
            )
    else:
        names = [control[what]]
        if not log.partitions(names[0]):
            raise ConfigurationError(
                f"there is no topic {names[0]!r}: 'driftloop up' or 'driftloop apply FILE' makes "
                "it; a prefix of another name is set with DRIFTLOOP_PREFIX"
            )
    own = {
        name
        for declared in models
        for name in (
            declared.topics.events,
            declared.topics.labels,
            declared.topics.predictions,
            declared.topics.outcomes,
        )
    }
    return Tail(KINDS[what], names, model, frozenset(own))


def tail(
    log: Log,
    what: Tail,
    *,
    last: int | None,
    follow: bool,
    stop: threading.Event,
    on_problem: Callable[[str], None],
) -> Iterator[Entry]:
    """The ``last`` records that are there (None: all), oldest first, and with ``follow`` those to
    come, until ``stop`` is set."""
    ends = dict(log.end_offsets(what.topics))
    starts = log.start_offsets(what.topics)
    if last is None:
        for source in sorted(ends):
            for batch in log.read(source, starts[source], ends[source]):
                yield from _entries(batch, what, on_problem)
    elif last:
        found = [
            entry
            for source in sorted(ends)
            for entry in _newest(log, source, starts[source], ends[source], what, last, on_problem)
        ]
        found.sort(key=lambda entry: (entry.timestamp, entry.partition, entry.offset))
        yield from found[-last:]
    while follow and not stop.wait(_LOOK_EVERY_S):
        now = log.end_offsets(what.topics)
        for source, end in sorted(now.items()):
            start = ends.get(source, 0)
            if end > start:
                for batch in log.read(source, start, end):
                    yield from _entries(batch, what, on_problem)
                ends[source] = end


def _newest(
    log: Log,
    source: TopicPartition,
    start: int,
    end: int,
    what: Tail,
    last: int,
    on_problem: Callable[[str], None],
) -> list[Entry]:
    """The last records of one partition. How many offsets hold them nobody knows (transaction
    markers and compaction leave gaps), so it looks back further until there are enough."""
    found: list[Entry] = []
    span = 2 * last + 16
    high = end
    while high > start and len(found) < last:
        low = max(start, high - span)
        older = [
            entry
            for batch in log.read(source, low, high)
            for entry in _entries(batch, what, on_problem)
        ]
        found = older + found
        high = low
        span *= 4
    return found[-last:]


def _entries(batch: RecordBatch, what: Tail, on_problem: Callable[[str], None]) -> Iterator[Entry]:
    decoder: RecordCodec[Any] = codec(what.kind)
    for row, value in enumerate(batch.values):
        if value is None:
            continue
        try:
            record = decoder.decode(value)
        except DecodeError as error:
            on_problem(f"{batch.topic}/{batch.partition} offset {batch.offsets[row]}: {error}")
            continue
        if what.wants(record):
            yield Entry(
                record, batch.topic, batch.partition, batch.offsets[row], batch.timestamps[row]
            )

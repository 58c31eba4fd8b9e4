"""Reading the control topics once, to their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from driftloop.adapters.clock import SystemClock
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import RecordCodec, codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.declaration_wording import nearest
from driftloop.kernel.errors import ConfigurationError, DecodeError, LogUnavailableError
from driftloop.kernel.ports import Log, RecordBatch
from driftloop.kernel.records import Window
from driftloop.kernel.topics import ControlTopics

T = TypeVar("T", bound=object)

_ROWS = 10_000
_POLL_S = 0.2
_SILENCE_S = 30.0


def read_topics(log: Log, topics: Sequence[str]) -> Iterator[RecordBatch]:
    """What is in the topics by now. Raises :class:`LogUnavailableError` when it cannot be read."""
    clock = SystemClock()
    follower = log.follow(topics)
    heard = clock.monotonic()
    try:
        while True:
            batches = follower.poll(_ROWS, _POLL_S)
            yield from batches
            if batches:
                heard = clock.monotonic()
            elif follower.caught_up():
                return
            elif clock.monotonic() - heard > _SILENCE_S:
                raise LogUnavailableError(
                    f"{', '.join(topics)} could not be read to the end: nothing came for "
                    f"{_SILENCE_S:g} s"
                )
    finally:
        follower.close()


def read_catalog(
    log: Log, topics: ControlTopics, on_problem: Callable[[str], None] = lambda text: None
) -> Catalog:
    """Models, versions and deployments as they are now; ``on_problem`` is told of bad records."""

    def bad(batch: RecordBatch, row: int, why: str) -> None:
        on_problem(f"{batch.topic}/{batch.partition} offset {batch.offsets[row]}: {why}")

    catalog = Catalog(topics, declaration_of, bad)
    for batch in read_topics(log, [topics.models, topics.versions, topics.deployments]):
        catalog.apply(batch)
    return catalog


def declared_model(catalog: Catalog, name: str) -> Declaration:
    """Raises :class:`ConfigurationError` naming what is declared."""
    found = catalog.models.get(name)
    if found is None:
        known = ", ".join(sorted(catalog.models)) or "none"
        near = nearest(name, catalog.models)
        hint = f"did you mean {near!r}?" if near else "declare it with 'driftloop apply FILE'"
        raise ConfigurationError(f"no model {name!r} is declared; declared: {known}. {hint}")
    return found


def read_records(
    log: Log,
    kind: type[T],
    topic: str,
    on_problem: Callable[[str], None] = lambda text: None,
) -> Iterator[T]:
    """Every record of a topic, in the log's order within a partition."""
    decoder: RecordCodec[T] = codec(kind)
    for batch in read_topics(log, [topic]):
        for row, value in enumerate(batch.values):
            if value is None:
                continue
            try:
                yield decoder.decode(value)
            except DecodeError as error:
                on_problem(f"{topic}/{batch.partition} offset {batch.offsets[row]}: {error}")


def read_newest(
    log: Log,
    kind: type[T],
    topic: str,
    on_problem: Callable[[str], None] = lambda text: None,
) -> Mapping[str, T]:
    """The newest record of each key of a compacted topic that was not taken out."""
    decoder: RecordCodec[T] = codec(kind)
    found: dict[str, T] = {}
    for batch in read_topics(log, [topic]):
        for row, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
            name = (key or b"").decode(errors="replace")
            if value is None:
                found.pop(name, None)
                continue
            try:
                found[name] = decoder.decode(value)
            except DecodeError as error:
                on_problem(f"{topic}/{batch.partition} offset {batch.offsets[row]}: {error}")
    return found


def newest_windows(
    log: Log,
    topics: ControlTopics,
    model: str | None = None,
    on_problem: Callable[[str], None] = lambda text: None,
) -> list[Window]:
    """The newest revision of every closed window, of one model or all, in the order of their
    starts."""
    found: dict[str, Window] = {}
    for window in read_records(log, Window, topics.windows, on_problem):
        known = found.get(window.id)
        if model in (None, window.model) and (known is None or known.revision <= window.revision):
            found[window.id] = window
    return sorted(found.values(), key=lambda w: (w.model, w.stream, w.start, w.version, w.shadow))

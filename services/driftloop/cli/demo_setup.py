"""What the demo stands on: a directory and topics of its own, the model, and a running loop."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.applying import DeclaredModel, load_declaration
from driftloop.cli.brokering import broker_in_use
from driftloop.cli.loops import KafkaLoop, Loop, MemoryLoop
from driftloop.cli.output import UsageError
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.errors import BrokerError
from driftloop.kernel.settings import Settings

_FLUSH_MS = 200
_READY_S = 300.0
_FIRST_DAY = datetime(2013, 1, 1, tzinfo=UTC)
_LAST_DAY = datetime(2014, 1, 1, tzinfo=UTC)
NEVER = "never"
_SHARED = "demo-"
"""Marks the prefix of a run on a Kafka that is not the demo's own."""


@contextmanager
def running_loop(settings: Settings, memory: bool, note: Callable[[str], None]) -> Iterator[Loop]:
    """The loop on Kafka, or, where none can be had, in memory."""
    if memory:
        with _memory_loop(settings) as loop:
            yield loop
        return
    with ExitStack() as stack:
        try:
            used = stack.enter_context(broker_in_use(settings, note))
        except BrokerError as error:
            note(f"{error}\nNo Kafka, so the loop runs in this process on a log in memory.")
            yield stack.enter_context(_memory_loop(settings))
            return
        KafkaLog(used.settings.bootstrap, used.settings.kafka_options).ensure_topics(
            used.settings.topics.specs()
        )
        note(f"starting {len(SERVICES)} services")
        fleet = stack.enter_context(Fleet(used.settings, SERVICES, progress=note))
        fleet.wait_ready(_READY_S)
        yield KafkaLoop(fleet)


@contextmanager
def _memory_loop(settings: Settings) -> Iterator[Loop]:
    loop = MemoryLoop(settings)
    try:
        yield loop
    finally:
        loop.close()


def demo_settings(given: Settings) -> Settings:
    """A directory of the demo's own, emptied; on a Kafka that is not ours, topics of this run."""
    directory = (given.directory / "demo").absolute()
    shutil.rmtree(directory, ignore_errors=True)
    stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}."
    return replace(
        given,
        directory=directory,
        prefix=f"{given.prefix}{_SHARED}{stamp}" if given.bootstrap else given.prefix,
        flush_interval_ms=min(given.flush_interval_ms, _FLUSH_MS),
    )


def lock_file(given: Settings) -> Path:
    path = given.directory.absolute() / "run" / "demo.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def flights_model(settings: Settings) -> DeclaredModel:
    """The flights' declaration; where the Kafka is shared, its topics get the run's prefix."""
    with resources.as_file(resources.files("driftloop") / "infra" / "models") as directory:
        model = load_declaration(Path(directory) / "flights.toml")
    _, shared, stamp = settings.prefix.removesuffix(".").rpartition(_SHARED)
    if not shared:
        return model
    name = f"{model.declaration.name}-{stamp}"
    text = model.text.replace(f'name = "{model.declaration.name}"', f'name = "{name}"', 1)
    declaration = parse_declaration(text, source="flights.toml", event_schema=model.event_schema)
    return dataclasses.replace(model, declaration=declaration, text=text)


def moment(day: str | None, option: str = "--until") -> int | None:
    """A day of 2013 in ms. Raises :class:`UsageError`, which names the option."""
    if day is None:
        return None
    try:
        found = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError as error:
        raise UsageError(f"{option} {day}: {error}; give a day such as 2013-03-01") from error
    if not _FIRST_DAY < found <= _LAST_DAY:
        raise UsageError(
            f"{option} {day}: the flights are those of 2013; give a day such as 2013-03-01"
        )
    return int(found.timestamp() * 1000)


def recoding(day: str) -> int | None:
    """``--recode`` in ms; None: never. Raises :class:`UsageError`."""
    return None if day == NEVER else moment(day, "--recode")

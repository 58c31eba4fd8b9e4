"""Declaring a model: the file checked, its topics made, the declaration published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.cli.control import read_catalog, read_newest
from driftloop.kernel.codec import wire
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration, Format
from driftloop.kernel.declaration_toml import declaration_of, parse_declaration, schema_path
from driftloop.kernel.errors import ConfigurationError, DeclarationError
from driftloop.kernel.ports import Log, Send
from driftloop.kernel.records import ModelRecord
from driftloop.kernel.seasons import slots
from driftloop.kernel.topics import ControlTopics, ModelTopics
from driftloop.models.parameters import check_parameters
from driftloop.models.references import MOST_COUNTS
from driftloop.models.variation import ENOUGH_WINDOWS

_FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A declaration that was found right, and the texts it was made of."""

    declaration: Declaration
    text: str
    event_schema: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying did."""

    record: ModelRecord
    """The declaration in force."""
    changed: bool
    """False where the very same declaration was in force already."""
    made: tuple[str, ...]
    """Topics of the model that did not exist."""


def load_declaration(path: Path) -> DeclaredModel:
    """Read and check a declaration's file and the schema it names.

    Raises :class:`DeclarationError` with every problem, and :class:`ConfigurationError` for a
    file that cannot be read.
    """
    text = _read(path, "the declaration")
    named = schema_path(text, source=str(path))
    schema_file = path.parent / named
    try:
        schema = _read(schema_file, "the events' schema")
    except ConfigurationError as error:
        line = next(
            (n for n, row in enumerate(text.splitlines(), 1) if named in row and "schema" in row), 0
        )
        raise DeclarationError(str(path), [(line, f"schema in [events]: {error}")]) from error
    declaration = parse_declaration(
        text, source=str(path), event_schema=schema, check_candidate=check_parameters
    )
    return DeclaredModel(declaration, text, schema)


_COUNTS_PER_NUMBER, _COUNTS_PER_CATEGORY = 18, 4
"""In a reference: sixteen bins and two more of most numbers, at least two levels and two more."""


def advice(declaration: Declaration) -> list[str]:
    """What is allowed, and likely not meant."""
    alerts, size = declaration.alerts, declaration.windows.size
    found: list[str] = []
    if alerts.reference == "first_weeks" and alerts.reference_period < ENOUGH_WINDOWS * size:
        found.append(
            f"reference_period in [alerts] is {alerts.reference_period // size} windows: how much "
            f"windows vary by themselves is known well from {ENOUGH_WINDOWS}, and until a version "
            "has had as many its rows count for less, so that no more alerts are false than "
            "false_alarms_per_100k says. What changes before is found later or not at all; "
            "shorter windows make that time shorter"
        )
    counts = slots(alerts.season) * (
        _COUNTS_PER_NUMBER * (1 + len(declaration.numeric))
        + _COUNTS_PER_CATEGORY * len(declaration.categorical)
    )
    if alerts.season and alerts.reference == "training" and counts > MOST_COUNTS:
        found.append(
            f"season in [alerts] has {slots(alerts.season)} slots, of so many features some "
            f"{counts:,} counts, and a version keeps at most {MOST_COUNTS:,}. Windows would be "
            "compared with the rows of all slots, and what follows the season count as variation: "
            "changes are found late. Fewer slots (hour_of_day alone) or fewer features would do"
        )
    return found


def apply_declaration(
    log: Log, topics: ControlTopics, model: DeclaredModel, *, who: str, now: int
) -> Applied:
    """Make the control topics and the model's, and publish the declaration; written when this
    returns.

    ``now`` is processing time, ms. Raises :class:`ConfigurationError` where a topic of the model
    exists with another number of partitions, or is another model's, and :class:`SchemaError` where
    the schema registry, if there is one, refuses the events' schema. Applying the same again
    changes nothing.
    """
    declaration = model.declaration
    log.ensure_topics(topics.specs())
    _check_others(log, topics, declaration)
    if declaration.events.format is Format.AVRO:
        wire.in_force().enroll(wire.events_subject(declaration), declaration.events.schema)
    made = _make_topics(log, declaration)
    in_force = read_newest(log, ModelRecord, topics.models).get(declaration.name)
    if (
        in_force is not None
        and in_force.declaration == model.text
        and in_force.event_schema == model.event_schema
    ):
        return Applied(in_force, changed=False, made=made)
    if in_force is not None:
        _check_same_shape(declaration_of(in_force), declaration)
    record = ModelRecord(declaration.name, model.text, model.event_schema, who, now)
    producer = log.producer("apply")
    try:
        producer.send(
            Send(
                topics.models,
                [record.name.encode()],
                [codec(ModelRecord).encode(record)],
                topics.partition(record.name),
            )
        )
        producer.flush(_FLUSH_S)
    finally:
        producer.close()
    return Applied(record, changed=True, made=made)


def _check_same_shape(before: Declaration, after: Declaration) -> None:
    """What the model's rows in the log look like, and how they are cut into windows, is fixed: the
    versions in service were trained on them, and windows are recomputed from them."""
    facts: Mapping[str, Callable[[Declaration], object]] = {
        "task": lambda d: d.task.value,
        "the classes": lambda d: d.classes,
        "error_bound in [model]": lambda d: d.error_bound,
        "the numeric features": lambda d: [f.name for f in d.numeric],
        "the categorical features": lambda d: [f.name for f in d.categorical],
        "size in [windows]": lambda d: d.windows.size,
        "the topics": lambda d: d.topics,
    }
    for what, fact in facts.items():
        if fact(before) != fact(after):
            raise ConfigurationError(
                f"{what} of model {after.name!r} cannot change while it is in force "
                f"({fact(before)} became {fact(after)}): declare it under a new name, such as "
                f"name = {after.name + '-2'!r}"
            )


def _make_topics(log: Log, declaration: Declaration) -> tuple[str, ...]:
    """All four have equally many partitions: partition p of one is joined with p of another."""
    specs = declaration.topics.specs(declaration.partitions)
    have = {spec.name: log.partitions(spec.name) for spec in specs}
    for topic, count in have.items():
        if count and count != declaration.partitions:
            raise ConfigurationError(
                f"topic {topic!r} exists with {count} partitions, but model {declaration.name!r} "
                f"declares {declaration.partitions}, and its four topics must have equally many: "
                f"write partitions = {count} in [model], or name another topic in [topics]"
            )
    log.ensure_topics(specs)
    return tuple(topic for topic, count in have.items() if count == 0)


def _check_others(log: Log, topics: ControlTopics, declaration: Declaration) -> None:
    mine = _names(declaration.topics)
    for other in read_catalog(log, topics).models.values():
        shared = sorted(mine & _names(other.topics))
        together = declaration.topics.shared and other.topics == declaration.topics
        if other.name != declaration.name and shared and not together:
            raise ConfigurationError(
                f"topic {shared[0]!r} belongs to model {other.name!r} already: name another one "
                f"for model {declaration.name!r} in [topics]"
            )


def _names(topics: ModelTopics) -> set[str]:
    return set(topics.names())


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"{what} {path} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{what} {path} is not UTF-8: {error}") from error

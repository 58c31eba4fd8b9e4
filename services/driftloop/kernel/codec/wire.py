"""The framing of a process: what it writes before a body, and which schema a registry's id means.

A process has one wire, as it has one Kafka. It is installed before the first record is read or
written (:func:`install`); without a registry, which is how every process begins, records are
written in single-object encoding. Both framings are read either way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from driftloop.kernel.codec import framing
from driftloop.kernel.codec.avro_types import check_schema
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.compatibility import reading_problems
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError, RegistryBehindError, SchemaError
from driftloop.kernel.ports import SchemaRegistry
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema, parse_schema, record_schema, schema_versions

_NO_IDS: I64 = np.empty(0, np.int64)
_REMEMBERED = 4096
"""Ids whose schema is kept: bytes that name ever new ones must not fill the memory."""
REFUSED = 65_536
"""Ids kept that mean nothing which can be read, 250 bytes each. More than a poll has records (at
most 32,768): a batch that is tried again must find what was answered before."""
UNKNOWN_FOR_S = 300.0
"""How long an id that the registry does not know is not asked for again: longer than a batch is
tried for, and not so long that a schema registered later is not found."""
ASKING_S = 20.0
"""The longest at a time: well under max.poll.interval.ms."""
_LONGEST_DETAIL = 300

K = TypeVar("K")
V = TypeVar("V")


class Wire:
    """What one registry's ids mean, asked once each; without one, single-object encoding only."""

    def __init__(
        self,
        registry: SchemaRegistry | None = None,
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """``monotonic``: seconds from an arbitrary start. Without one time stands still: an id that
        the registry did not know is not asked for again, nor is any asking cut short."""
        self._registry = registry
        self._monotonic = monotonic
        self._headers: dict[bytes, bytes] = {}
        self._ids: OrderedDict[bytes, I64] = OrderedDict()
        self._writers: OrderedDict[int, Schema] = OrderedDict()
        self._refused: OrderedDict[int, tuple[Reason, str, float]] = OrderedDict()
        """Per id that means nothing which can be read: why, and until when that holds."""
        self._problems: OrderedDict[tuple[int, str], str] = OrderedDict()
        """Per id and text of the reader, whose defaults and aliases no fingerprint tells."""
        self._asking_until = float("inf")

    def close(self) -> None:
        """Let go of the registry's connections; used again, it opens new ones."""
        if self._registry is not None:
            self._registry.close()

    def enroll(self, subject: str, schema: Schema) -> bytes:
        """Register a schema under a subject where it is not yet, and write it by its id from now
        on; the header of its records. Single-object encoding where there is no registry.

        Raises :class:`RegistryUnavailableError`, and :class:`SchemaError` where the registry
        refuses it.
        """
        if self._registry is None:
            return framing.header(schema.fingerprint)
        schema_id = self._registry.register(subject, schema.text)
        self._learn(schema_id, schema)
        found = framing.id_header(schema_id)
        self._headers[schema.fingerprint] = found
        return found

    def enroll_records(self) -> None:
        """Enroll every version of driftloop's own records, each under its full name: one id serves
        the topics of all models, and none of them needs to be asked about later. Raises as
        :meth:`enroll`."""
        if self._registry is None:
            return
        for name, versions in schema_versions().items():
            for version in versions:
                schema = record_schema(name, version)
                self.enroll(str(schema.parsed["name"]), schema)

    def header(self, schema: Schema) -> bytes:
        """Before records of a schema: its id where it is enrolled, else its fingerprint."""
        return self._headers.get(schema.fingerprint) or framing.header(schema.fingerprint)

    def ids(self, schema: Schema) -> I64:
        """The ids known to mean exactly this schema (or one of the same canonical form)."""
        return self._ids.get(schema.fingerprint, _NO_IDS)

    @contextmanager
    def asking_within(self, seconds: float) -> Iterator[None]:
        """Ask no longer than so many seconds in all. What is left then raises
        :class:`RegistryBehindError`."""
        self._asking_until = self._monotonic() + seconds
        try:
            yield
        finally:
            self._asking_until = float("inf")

    def learn(self, ids: Iterable[int]) -> None:
        """Ask for all of these ids at once that are not known; what can be no id is passed over.

        Raises :class:`RegistryUnavailableError` where what one of them means cannot be known now.
        """
        if self._registry is None:
            return
        now = self._monotonic()
        missing = [
            schema_id
            for schema_id in dict.fromkeys(ids)
            if 1 <= schema_id <= framing.LARGEST_ID and not self._is_known(schema_id, now)
        ]
        if missing:
            self._ask(self._registry, missing, min(ASKING_S, self._asking_until - now))

    def writer(self, schema_id: int) -> Schema:
        """What an id means; the registry is asked the first time.

        Raises :class:`DecodeError` where it means nothing that can be read, and
        :class:`RegistryUnavailableError` where that cannot be known now.
        """
        if self._registry is None:
            raise DecodeError(
                Reason.NOT_AVRO,
                f"Confluent framing (schema id {schema_id}), and no registry is set; "
                "SCHEMA_REGISTRY_URL names one",
            )
        known = self._writers.get(schema_id)
        if known is None and not self._is_known(schema_id, self._monotonic()):
            self.learn([schema_id])
            known = self._writers.get(schema_id)
        if known is not None:
            return known
        reason, detail, _ = self._refused.get(schema_id, (Reason.UNKNOWN_SCHEMA, "", 0.0))
        raise DecodeError(reason, detail or f"the registry knows no schema with id {schema_id}")

    def resolved(self, schema_id: int, reader: Schema) -> Schema:
        """The writer's schema, which ``reader`` can read (Avro 1.11, Schema Resolution).

        Raises :class:`DecodeError` where it cannot, and what :meth:`writer` raises.
        """
        writer = self.writer(schema_id)
        if writer.fingerprint == reader.fingerprint:
            return writer
        key = (schema_id, reader.text)
        problem = self._problems.get(key)
        if problem is None:
            try:
                problem = "; ".join(reading_problems(reader.parsed, writer.parsed)[:3])
            except SchemaError as error:
                problem = str(error)
            _remember(self._problems, key, problem)
        if problem:
            raise DecodeError(
                Reason.WRONG_SCHEMA,
                f"written with schema id {schema_id}, which cannot be read as {reader.name!r}: "
                f"{problem}",
            )
        return writer

    def _learn(self, schema_id: int, schema: Schema) -> None:
        _remember(self._writers, schema_id, schema)
        self._refused.pop(schema_id, None)
        ids = self._ids.get(schema.fingerprint, _NO_IDS)
        if schema_id not in ids:
            # Looked through per record: the newest few will do, and others are asked for again.
            _remember(self._ids, schema.fingerprint, np.append(ids, np.int64(schema_id))[-8:])

    def _is_known(self, schema_id: int, now: float) -> bool:
        if schema_id in self._writers:
            return True
        refused = self._refused.get(schema_id)
        return refused is not None and now < refused[2]

    def _ask(self, registry: SchemaRegistry, ids: list[int], within_s: float) -> None:
        answered = 0
        if within_s > 0:
            for schema_id, text in registry.texts_of(ids, within_s):
                self._answer(schema_id, text)
                answered += 1
        if answered < len(ids):
            raise RegistryBehindError(
                f"the schema registry answered on {answered} of {len(ids)} ids that records name, "
                "and time is up; going on with the others, nothing is lost"
            )

    def _answer(self, schema_id: int, text: str | None) -> None:
        self._refused.pop(schema_id, None)  # so that the oldest answers are forgotten first
        if text is None:
            until = self._monotonic() + UNKNOWN_FOR_S
            _remember(self._refused, schema_id, (Reason.UNKNOWN_SCHEMA, "", until), REFUSED)
            return
        try:
            schema = parse_schema(text, source=f"the registry's schema {schema_id}")
            check_schema(schema, ())
        except SchemaError as error:
            why = f"schema id {schema_id} cannot be followed: {str(error)[:_LONGEST_DETAIL]}"
            # What an id means never changes.
            refused = (Reason.WRONG_SCHEMA, why, float("inf"))
            _remember(self._refused, schema_id, refused, REFUSED)
            return
        self._learn(schema_id, schema)


def events_subject(declaration: Declaration) -> str:
    """Under which subject a model's events are registered: that of their topic (TopicNameStrategy),
    with the record's name where models share the topic (TopicRecordNameStrategy)."""
    topic = declaration.topics.events
    if declaration.topics.shared:
        return f"{topic}-{declaration.events.schema.parsed['name']}"
    return f"{topic}-value"


_in_force = Wire()


def in_force() -> Wire:
    """The wire of this process."""
    return _in_force


def install(wire: Wire) -> None:
    """Make a wire that of this process."""
    global _in_force
    _in_force = wire


@contextmanager
def installed(wire: Wire) -> Iterator[Wire]:
    """:func:`install`, and back again."""
    before = _in_force
    install(wire)
    try:
        yield wire
    finally:
        install(before)


def _remember(known: OrderedDict[K, V], key: K, value: V, most: int = _REMEMBERED) -> None:
    known[key] = value
    while len(known) > most:
        known.popitem(last=False)

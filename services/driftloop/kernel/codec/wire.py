"""The framing of a process: what it writes before a body, and which schema a registry's id means.

A process has one wire, as it has one Kafka. It is installed before the first record is read or
written (:func:`install`); without a registry, which is how every process begins, records are
written in single-object encoding. Both framings are read either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from driftloop.kernel.codec import framing
from driftloop.kernel.codec.avro_types import check_schema
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.compatibility import reading_problems
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.ports import SchemaRegistry
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema, parse_schema, record_schema, schema_versions

_NO_IDS: I64 = np.empty(0, np.int64)
_REMEMBERED = 4096
"""Ids whose meaning is kept: bytes that name ever new ones must not fill the memory."""

K = TypeVar("K")
V = TypeVar("V")


class Wire:
    """What one registry's ids mean, asked once each; without one, single-object encoding only."""

    def __init__(self, registry: SchemaRegistry | None = None) -> None:
        self._registry = registry
        self._headers: dict[bytes, bytes] = {}
        self._ids: dict[bytes, I64] = {}
        self._writers: dict[int, Schema | tuple[Reason, str]] = {}
        self._problems: dict[tuple[int, str], str] = {}
        """Per id and text of the reader, whose defaults and aliases no fingerprint tells."""

    @property
    def has_registry(self) -> bool:
        return self._registry is not None

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
        if known is None:
            known = self._ask(self._registry, schema_id)
            if isinstance(known, Schema):
                self._learn(schema_id, known)
            else:
                _remember(self._writers, schema_id, known)
        if isinstance(known, Schema):
            return known
        raise DecodeError(*known)

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
        ids = self._ids.get(schema.fingerprint, _NO_IDS)
        if schema_id not in ids:
            # Looked through per record: the newest few will do, and others are asked for again.
            _remember(self._ids, schema.fingerprint, np.append(ids, np.int64(schema_id))[-8:])

    def _ask(self, registry: SchemaRegistry, schema_id: int) -> Schema | tuple[Reason, str]:
        text = registry.text_of(schema_id)
        if text is None:
            return Reason.UNKNOWN_SCHEMA, f"the registry knows no schema with id {schema_id}"
        try:
            schema = parse_schema(text, source=f"the registry's schema {schema_id}")
            check_schema(schema, ())
        except (SchemaError, RecursionError) as error:
            return Reason.WRONG_SCHEMA, f"schema id {schema_id} cannot be followed: {error}"
        return schema


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


def _remember(known: dict[K, V], key: K, value: V) -> None:
    known[key] = value
    while len(known) > _REMEMBERED:
        known.pop(next(iter(known)))

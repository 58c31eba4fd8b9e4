"""Events and labels from JSON lines or Avro files into a model's topics."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import fastavro
import orjson
from typing_extensions import override

from driftloop.client import Client
from driftloop.kernel.declaration import LabelFields
from driftloop.kernel.errors import RecordError, SchemaError
from driftloop.kernel.schemas import parse_schema

_AVRO_MAGIC = b"Obj\x01"
_REMEMBERED = 100
"""Problems that the result names; all are reported as they come."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What became of the input."""

    sent: int
    rejected: int
    problems: tuple[str, ...]
    """The first of the records that were not sent, each with its line or number, and why."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One record of the input, or what is wrong with it."""

    where: str
    record: Mapping[str, Any] | None
    problem: str = ""


def produce(
    client: Client,
    model: str,
    source: IO[bytes],
    *,
    labels: bool = False,
    strict: bool = False,
    on_problem: Callable[[str], None] = lambda text: None,
) -> Produced:
    """Send every record of ``source``, JSON lines or an Avro object container file (told apart by
    how it begins); all are written when this returns.

    A record that does not fit is left out and ``on_problem`` told of it; with ``strict`` it ends
    the sending: :class:`RecordError`, and those before it are written.
    """
    send = _label_sender(client, model) if labels else client.events(model).send
    sent, rejected = 0, 0
    problems: list[str] = []
    try:
        for row in _rows(source):
            problem = row.problem
            if row.record is not None:
                try:
                    send(row.record)
                except RecordError as error:
                    problem = str(error)
            if not problem:
                sent += 1
                continue
            told = f"{row.where}: {problem}"
            if strict:
                raise RecordError(f"{told}; {sent} records before it were sent")
            rejected += 1
            on_problem(told)
            if len(problems) < _REMEMBERED:
                problems.append(told)
    finally:
        client.flush()
    return Produced(sent, rejected, tuple(problems))


def _label_sender(client: Client, model: str) -> Callable[[Mapping[str, Any]], None]:
    fields: LabelFields = client.model(model).labels
    names = (fields.id, fields.label, fields.time)

    def send(record: Mapping[str, Any]) -> None:
        unknown = sorted(record.keys() - set(names))
        missing = [name for name in names[:2] if name not in record]
        if unknown or missing:
            wrong = f"no field {missing[0]!r}" if missing else f"a field {unknown[0]!r}"
            raise RecordError(
                f"label of model {model!r} has {wrong}; a label is {names[0]!r}, {names[1]!r} and, "
                f"unless it is known since now, {names[2]!r} (ms since the epoch)"
            )
        client.label(model, record[names[0]], record[names[1]], record.get(names[2]))

    return send


def _rows(source: IO[bytes]) -> Iterator[_Row]:
    head = source.read(len(_AVRO_MAGIC))
    whole = io.BufferedReader(_Rejoined(head, source))
    return _avro_rows(whole) if head == _AVRO_MAGIC else _json_rows(whole)


def _json_rows(source: IO[bytes]) -> Iterator[_Row]:
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield _Row(where, None, f"this is not JSON: {error}")
            continue
        if isinstance(record, dict):
            yield _Row(where, record)
        else:
            yield _Row(where, None, f"a JSON object is wanted, not {type(record).__name__}")


def _avro_rows(source: IO[bytes]) -> Iterator[_Row]:
    """Raises :class:`RecordError` where the file is damaged: what follows cannot be found again."""
    number = 0
    try:
        blocks = fastavro.block_reader(source)
        # Without logical types, as everywhere in driftloop: times stay integers.
        schema = parse_schema(json.dumps(blocks.writer_schema), source="the file's schema")
        for block in blocks:
            for body in _bodies(block, schema.parsed):
                number += 1
                yield _Row(f"record {number}", body)
    except SchemaError as error:
        raise RecordError(str(error)) from error
    except (ValueError, EOFError, IndexError, TypeError, KeyError, OverflowError) as error:
        raise RecordError(f"the Avro file is damaged after record {number}: {error!r}") from error


def _bodies(block: Any, schema: Any) -> Iterator[Mapping[str, Any]]:
    for _ in range(block.num_records):
        yield fastavro.schemaless_reader(block.bytes_, schema, None)


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest
        self._position = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)]
        if data:
            self._head = self._head[len(data) :]
        else:
            data = _some(self._rest, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    @override
    def tell(self) -> int:
        # fastavro notes where blocks lie; a pipe does not say.
        return self._position


def _some(source: IO[bytes], size: int) -> bytes:
    """What there is by now, without waiting for a full buffer: standard input may be a person."""
    read1 = getattr(source, "read1", None)
    found: bytes = source.read(size) if read1 is None else read1(size)
    return found

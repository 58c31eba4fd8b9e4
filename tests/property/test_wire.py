"""Both framings in one batch, and writers' schemas resolved: against fastavro, over generated
schemas, records and ids."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_codec_columns import QUICK, cases, encoded, plain, same
from typing_extensions import override

from driftloop.adapters.clock import ManualClock
from driftloop.kernel.codec import fallback, framing
from driftloop.kernel.codec.columns import ColumnReader, Decoded
from driftloop.kernel.codec.plan import Want
from driftloop.kernel.codec.records import read_avro
from driftloop.kernel.codec.wire import ASKING_S, REFUSED, UNKNOWN_FOR_S, Wire, installed
from driftloop.kernel.codec.writing import ColumnWriter
from driftloop.kernel.errors import (
    DecodeError,
    RegistryBehindError,
    RegistryUnavailableError,
)
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema, parse_schema
from registries import FakeRegistry

Case = tuple[Schema, dict[str, Want], list[Any]]


def renamed(value: bytes, schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + value[framing.HEADER_LENGTH :]


@QUICK
@given(cases(), st.data(), st.integers(1, 2**31 - 500), st.booleans())
def test_rows_of_both_framings_are_read_side_by_side(
    case: Case, data: st.DataObject, first: int, known: bool
) -> None:
    schema, wanted, records = case
    registry = FakeRegistry(first)
    wire = Wire(registry)
    schema_id = registry.register("s", schema.text)
    if known:
        wire.enroll("s", schema)
    values = [
        renamed(value, schema_id) if data.draw(st.booleans()) else value
        for value in encoded(schema, records)
    ]
    with installed(wire):
        reader = ColumnReader(schema, wanted)
        for _ in range(2):
            decoded = reader.read(values)
            assert decoded.rejected == []
            assert same(plain(reader, decoded), [{n: r[n] for n in wanted} for r in records])
        header = framing.header(schema.fingerprint)
        slow = Decoded(*fallback.read_rows(schema, wanted, reader.columns, header, values))
        assert same(plain(reader, slow), plain(reader, decoded))
    assert len(registry.asked) <= 1


@QUICK
@given(cases(skipped=False), st.integers(1, 2**31 - 500))
def test_rows_in_confluent_framing_are_byte_identical_with_fastavro(case: Case, first: int) -> None:
    schema, wanted, records = case
    wire = Wire(FakeRegistry(first))
    wire.enroll("s", schema)
    expected = [renamed(value, first) for value in encoded(schema, records)]
    with installed(wire):
        reader, writer = ColumnReader(schema, wanted), ColumnWriter(schema, wanted)
        columns = reader.read(expected).columns
        assert writer.write(columns) == expected
    header = framing.id_header(first)
    assert fallback.write_rows(schema, wanted, writer.columns, header, columns) == expected


@QUICK
@given(cases(), st.lists(st.binary(max_size=4) | st.integers(0, 2**32 - 1), max_size=6))
def test_hostile_ids_are_rejected_and_harm_no_neighbour(
    case: Case, strange: list[bytes | int]
) -> None:
    schema, wanted, records = case
    registry = FakeRegistry()
    wire = Wire(registry)
    wire.enroll("s", schema)
    registry.schemas[2] = '{"type": "record", "name": "Row", "fields": [{"name": "n", "type": 5}]}'
    registry.schemas[3] = '{"type": "record", "name": "Row", "fields": []}'
    registry.schemas[4] = "message Row {}"
    good = [renamed(value, 1) for value in encoded(schema, records)]
    bad = [
        b"\0" + (part if isinstance(part, bytes) else part.to_bytes(4, "big") + b"tail")
        for part in [*strange, 0, 2, 4, 2**31, 2**32 - 1]
        if part != 1 and part not in (b"\0\0\0\1",)
    ]
    with installed(wire):
        reader = ColumnReader(schema, wanted)
        decoded = reader.read([*bad, *good, None])
        header = framing.header(schema.fingerprint)
        slow = fallback.read_rows(schema, wanted, reader.columns, header, [*bad, *good, None])
    found = [row for row in decoded.rows.tolist() if row >= len(bad)]
    assert found == list(range(len(bad), len(bad) + len(good)))
    assert decoded.rows.tolist() == slow[0].tolist()
    reasons = {r.row: r.error.reason for r in decoded.rejected}
    assert reasons == {r.row: r.error.reason for r in slow[2]}
    assert all(1 <= asked < 2**31 for asked in registry.asked)
    assert len(set(registry.asked)) == len(registry.asked)


WRITERS: list[tuple[Any, Any, st.SearchStrategy[Any]]] = [
    ("int", "long", st.integers(-(2**31), 2**31 - 1)),
    ("int", "double", st.integers(-(2**31), 2**31 - 1)),
    ("long", "double", st.integers(-(2**63), 2**63 - 1)),
    ("float", "double", st.floats(width=32)),
    ("double", ["null", "double"], st.floats()),
    (["double", "null"], ["null", "double"], st.none() | st.floats()),
    ("string", ["null", "string"], st.text(max_size=5)),
    ("bytes", "string", st.text(max_size=5).map(str.encode)),
    (
        {"type": "array", "items": "double"},
        ["null", {"type": "array", "items": "double"}],
        st.lists(st.floats(), max_size=3),
    ),
    (
        {"type": "array", "items": "float"},
        {"type": "array", "items": "double"},
        st.lists(st.floats(width=32), max_size=3),
    ),
    (
        {"type": "enum", "name": "E", "symbols": ["b", "a"]},
        {"type": "enum", "name": "E", "symbols": ["a", "b", "c"]},
        st.sampled_from(["a", "b"]),
    ),
]


@st.composite
def resolutions(draw: st.DrawFn) -> tuple[Schema, Schema, dict[str, Want], list[Any]]:
    """A writer's schema, a reader's, what is wanted, and records as written."""
    wrote, reads, wanted, values = [], [], {}, {}
    for number in range(draw(st.integers(1, 4))):
        name = f"f{number}"
        written, read, strategy = draw(st.sampled_from(WRITERS))
        written, read = (
            {**node, "name": f"E{number}"} if isinstance(node, dict) and "symbols" in node else node
            for node in (written, read)
        )
        wrote.append({"name": name, "type": written})
        reads.append({"name": name, "type": read})
        wanted[name] = _want(read)
        values[name] = strategy
    if draw(st.booleans()):
        reads.append({"name": "later", "type": "long", "default": 7})
        wanted["later"] = Want.INTEGER
    if draw(st.booleans()):
        wrote.insert(0, {"name": "gone", "type": {"type": "array", "items": "string"}})
        values["gone"] = st.lists(st.text(max_size=3), max_size=2)
    if draw(st.booleans()):
        reads.reverse()
    writer, reader = (
        parse_schema(json.dumps({"type": "record", "name": "Row", "fields": fields}))
        for fields in (wrote, reads)
    )
    return writer, reader, wanted, draw(st.lists(st.fixed_dictionaries(values), max_size=4))


def _want(node: Any) -> Want:
    inner = next(b for b in node if b != "null") if isinstance(node, list) else node
    if isinstance(inner, dict):
        return Want.NUMBERS if inner["type"] == "array" else Want.TEXT
    return {"long": Want.INTEGER, "double": Want.NUMBER, "string": Want.TEXT}[inner]


@QUICK
@given(resolutions(), st.data())
def test_a_writers_schema_is_resolved_as_fastavro_resolves_it(
    case: tuple[Schema, Schema, dict[str, Want], list[Any]], data: st.DataObject
) -> None:
    writer, schema, wanted, records = case
    wire = Wire(FakeRegistry(40))
    wire.enroll("s", schema)
    written_id = 40 if writer.fingerprint == schema.fingerprint else 41
    if written_id == 41:
        wire.enroll("s", writer)
    bodies = []
    for record in records:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, writer.parsed, record)
        bodies.append(out.getvalue())
    expected = [read_avro(writer, body, reader=schema) for body in bodies]
    own = []
    for record in expected:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema.parsed, record)
        own.append(out.getvalue())
    values, rows = [], []
    for written, mine, record in zip(bodies, own, expected, strict=True):
        values += [framing.id_header(written_id) + written]
        rows += [record]
        if data.draw(st.booleans()):
            values += [framing.header(schema.fingerprint) + mine]
            rows += [record]
    with installed(wire):
        reader = ColumnReader(schema, wanted)
        decoded = reader.read(values)
    assert decoded.rejected == []
    assert decoded.rows.tolist() == list(range(len(values)))
    assert same(plain(reader, decoded), [{n: r[n] for n in wanted} for r in rows])


def test_an_incompatible_writer_is_rejected_with_the_reason() -> None:
    schema = parse_schema('{"type":"record","name":"R","fields":[{"name":"a","type":"double"}]}')
    other = parse_schema('{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}')
    wire = Wire(FakeRegistry(9))
    wire.enroll("s", other)
    with installed(wire):
        decoded = ColumnReader(schema, {"a": Want.NUMBER}).read([framing.id_header(9) + b"\2x"])
    (rejected,) = decoded.rejected
    assert rejected.error.reason == Reason.WRONG_SCHEMA
    assert "schema id 9" in rejected.error.detail
    assert "string cannot be read as double" in rejected.error.detail


@pytest.mark.parametrize("first", [True, False])
def test_readers_that_differ_in_a_default_only_do_not_share_an_answer(first: bool) -> None:
    registry = FakeRegistry()
    field = {"name": "id", "type": "string"}
    registry.schemas[7] = json.dumps({"type": "record", "name": "E", "fields": [field]})
    with installed(Wire(registry)):
        for has_default in (first, not first):
            more = {"name": "x", "type": "double"} | ({"default": 0.5} if has_default else {})
            schema = parse_schema(
                json.dumps({"type": "record", "name": "E", "fields": [field, more]})
            )
            reader = ColumnReader(schema, {"id": Want.TEXT, "x": Want.NUMBER})
            decoded = reader.read([framing.id_header(7) + b"\x02a"])
            if has_default:
                assert decoded.columns.numbers.tolist() == [[0.5]]
            else:
                (rejected,) = decoded.rejected
                assert "E.x: absent from the data and without a default" in rejected.error.detail


def test_ever_new_ids_do_not_fill_the_memory() -> None:
    wire = Wire(FakeRegistry())
    for first in range(1, 3 * REFUSED, 10_000):
        wire.learn(range(first, first + 10_000))
    with pytest.raises(DecodeError, match=str(Reason.UNKNOWN_SCHEMA)):
        wire.writer(1)
    assert len(wire._refused) == REFUSED
    assert len(wire._writers) == 0


TEXT_SCHEMA = '{"type":"record","name":"E","fields":[{"name":"id","type":"string"}]}'
POLL = 32_768
"""The most records of a poll."""


def naming(ids: Iterable[int]) -> list[bytes]:
    return [framing.id_header(schema_id) + b"\x02a" for schema_id in ids]


def reader_of(kind: Any) -> ColumnReader:
    """Of a plan; of an int or a double, fastavro."""
    node = {"name": "x", "type": kind, "default": 0}
    text = json.loads(TEXT_SCHEMA)
    text["fields"].append(node)
    return ColumnReader(parse_schema(json.dumps(text)), {"id": Want.TEXT, "x": Want.NUMBER})


@pytest.mark.parametrize("kind", ["double", ["int", "double"]])
def test_all_ids_of_a_batch_are_asked_for_together_and_once(kind: Any) -> None:
    registry = FakeRegistry()
    registry.schemas[3] = TEXT_SCHEMA
    with installed(Wire(registry)):
        reader = reader_of(kind)
        for _ in range(2):
            decoded = reader.read(naming([*range(1, 500), *range(1, 500)]))
            assert decoded.rows.tolist() == [2, 501]
            assert [bad.row for bad in decoded.rejected] == [
                row for row in range(998) if row not in (2, 501)
            ]
            assert {bad.error.reason for bad in decoded.rejected} == {Reason.UNKNOWN_SCHEMA}
            assert "schema with id 4" in decoded.rejected[2].error.detail
    assert registry.calls == 1
    assert sorted(registry.asked) == list(range(1, 500))


@pytest.mark.parametrize("kind", ["double", ["int", "double"]])
def test_a_batch_that_is_tried_again_gets_further_and_loses_nothing(kind: Any) -> None:
    registry = FakeRegistry(patience=10_000)
    registry.schemas[20_000] = TEXT_SCHEMA
    values = naming(range(1, POLL + 1))
    with installed(Wire(registry)):
        reader = reader_of(kind)
        for turn in range(1, 4):
            with pytest.raises(RegistryBehindError, match="10000 of"):
                reader.read(values)
            assert len(registry.asked) == turn * 10_000
        decoded = reader.read(values)
    assert decoded.rows.tolist() == [19_999]
    assert len(decoded.rejected) == POLL - 1
    assert len(registry.asked) == len(set(registry.asked)) == POLL


def test_answers_before_an_error_are_remembered() -> None:
    class Failing(FakeRegistry):
        @override
        def text_of(self, schema_id: int) -> str | None:
            found = super().text_of(schema_id)
            self.down = len(self.asked) == 2
            return found

    registry = Failing()
    wire = Wire(registry)
    with pytest.raises(RegistryUnavailableError):
        wire.learn([1, 2, 3])
    registry.down = False
    wire.learn([1, 2, 3])
    assert registry.asked == [1, 2, 3]


def test_a_schema_that_is_registered_later_is_found_after_a_while() -> None:
    clock = ManualClock()
    registry = FakeRegistry()
    with installed(Wire(registry, clock.monotonic)):
        reader = reader_of("double")
        assert len(reader.read(naming([5])).rejected) == 1
        registry.schemas[5] = TEXT_SCHEMA
        clock.pause(UNKNOWN_FOR_S - 1)
        assert len(reader.read(naming([5])).rejected) == 1
        clock.pause(2)
        assert reader.read(naming([5])).rows.tolist() == [0]
    assert registry.asked == [5, 5]


def test_a_schema_that_cannot_be_followed_is_asked_for_once() -> None:
    clock = ManualClock()
    registry = FakeRegistry()
    registry.schemas[5] = "message E {}"
    wire = Wire(registry, clock.monotonic)
    for _ in range(2):
        with pytest.raises(DecodeError, match="schema id 5 cannot be followed"):
            wire.writer(5)
        clock.pause(2 * UNKNOWN_FOR_S)
    assert registry.asked == [5]


def test_no_more_time_is_spent_on_asking_than_is_given() -> None:
    clock = ManualClock()
    given: list[float] = []

    class Slow(FakeRegistry):
        @override
        def texts_of(self, ids: Sequence[int], within_s: float) -> Iterator[tuple[int, str | None]]:
            given.append(within_s)
            clock.pause(within_s)
            yield from super().texts_of(ids[:1], within_s)

    registry = Slow()
    wire = Wire(registry, clock.monotonic)
    with wire.asking_within(50.0):
        for _ in range(4):
            with pytest.raises(RegistryBehindError):
                wire.learn(range(1, 100))
    assert given == [ASKING_S, ASKING_S, 50.0 - 2 * ASKING_S]
    assert registry.asked == [1, 2, 3]
    with pytest.raises(RegistryBehindError):
        wire.learn(range(1, 100))
    assert given[-1] == ASKING_S


def test_more_ids_of_one_schema_than_are_kept_are_still_read() -> None:
    schema = parse_schema('{"type":"record","name":"R","fields":[{"name":"a","type":"double"}]}')
    registry = FakeRegistry()
    registry.schemas = dict.fromkeys(range(1, 21), schema.text)
    body = np.array([2.5]).tobytes()
    values = [framing.id_header(schema_id) + body for schema_id in range(1, 21)]
    with installed(Wire(registry)):
        reader = ColumnReader(schema, {"a": Want.NUMBER})
        for _ in range(2):
            assert reader.read(values).columns.numbers[:, 0].tolist() == [2.5] * 20

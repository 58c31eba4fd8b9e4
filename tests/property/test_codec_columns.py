"""Columns against fastavro, over generated schemas, records and damaged bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import QUICK, cases, encoded, named, same
from driftloop.kernel.codec import fallback, framing
from driftloop.kernel.codec.columns import ColumnReader, Decoded
from driftloop.kernel.codec.kernels import is_utf8
from driftloop.kernel.codec.plan import Want
from driftloop.kernel.codec.writing import ColumnWriter
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema, parse_schema


def plain(reader: ColumnReader, decoded: Decoded) -> list[Any]:
    return fallback.rows_of(decoded.columns, reader.wanted, reader.columns)


@QUICK
@given(cases())
def test_columns_hold_what_fastavro_reads(case: tuple[Schema, dict[str, Want], list[Any]]) -> None:
    schema, wanted, records = case
    values = encoded(schema, records)
    reader = ColumnReader(schema, wanted)
    decoded = reader.read(values)
    assert reader.is_compiled
    assert decoded.rejected == []
    assert same(plain(reader, decoded), [{n: r[n] for n in wanted} for r in records])


@QUICK
@given(cases())
def test_the_way_through_fastavro_gives_equal_columns(
    case: tuple[Schema, dict[str, Want], list[Any]],
) -> None:
    schema, wanted, records = case
    values = encoded(schema, records)
    reader = ColumnReader(schema, wanted)
    header = framing.header(schema.fingerprint)
    rows, columns, rejected = fallback.read_rows(schema, wanted, reader.columns, header, values)
    assert rejected == []
    slow = Decoded(rows, columns, rejected)
    assert same(plain(reader, slow), plain(reader, reader.read(values)))


@QUICK
@given(cases(skipped=False))
def test_encoded_columns_are_byte_identical_with_fastavro(
    case: tuple[Schema, dict[str, Want], list[Any]],
) -> None:
    schema, wanted, records = case
    values = encoded(schema, records)
    reader, writer = ColumnReader(schema, wanted), ColumnWriter(schema, wanted)
    columns = reader.read(values).columns
    assert writer.write(columns) == values
    header = framing.header(schema.fingerprint)
    assert fallback.write_rows(schema, wanted, writer.columns, header, columns) == values


@QUICK
@given(cases())
def test_rows_cut_off_anywhere_are_truncated(
    case: tuple[Schema, dict[str, Want], list[Any]],
) -> None:
    schema, wanted, records = case
    values = encoded(schema, records[:1])
    cut = [value[:length] for value in values for length in range(len(value))]
    decoded = ColumnReader(schema, wanted).read(cut)
    assert len(decoded.rows) == 0
    assert {rejected.error.reason for rejected in decoded.rejected} <= {Reason.TRUNCATED}
    assert [rejected.row for rejected in decoded.rejected] == list(range(len(cut)))


@QUICK
@given(cases(), st.binary(min_size=1, max_size=3))
def test_bytes_after_a_row_are_rejected(
    case: tuple[Schema, dict[str, Want], list[Any]], more: bytes
) -> None:
    schema, wanted, records = case
    decoded = ColumnReader(schema, wanted).read([v + more for v in encoded(schema, records)])
    assert len(decoded.rows) == 0
    assert {r.error.reason for r in decoded.rejected} <= {Reason.TRAILING_BYTES}


@QUICK
@given(cases(), st.data())
def test_damaged_rows_are_rejected_or_read_as_fastavro_reads_them(
    case: tuple[Schema, dict[str, Want], list[Any]], data: st.DataObject
) -> None:
    schema, wanted, records = case
    damaged = []
    for value in encoded(schema, records):
        body = bytearray(value)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(body) - 1))
            body[place] = data.draw(st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF]))
        damaged.append(bytes(body))
    reader = ColumnReader(schema, wanted)
    decoded = reader.read([*damaged, None, b"", *encoded(schema, records)])
    rows = decoded.rows.tolist()
    bad = [rejected.row for rejected in decoded.rejected]
    assert sorted(rows + bad) == list(range(len(damaged) + 2 + len(records)))
    # Undamaged rows stay unharmed by their neighbours.
    assert rows[len(rows) - len(records) :] == list(
        range(len(damaged) + 2, len(damaged) + 2 + len(records))
    )
    header = framing.header(schema.fingerprint)
    chosen = [damaged[row] for row in rows if row < len(damaged)]
    _, columns, rejected = fallback.read_rows(schema, wanted, reader.columns, header, chosen)
    assert rejected == []
    slow = fallback.rows_of(columns, wanted, reader.columns)
    assert same(slow, plain(reader, decoded)[: len(slow)])


@QUICK
@given(cases(), st.lists(st.binary(max_size=40), max_size=5))
def test_garbage_behind_a_good_header_never_raises(
    case: tuple[Schema, dict[str, Want], list[Any]], bodies: list[bytes]
) -> None:
    schema, wanted, _ = case
    header = framing.header(schema.fingerprint)
    decoded = ColumnReader(schema, wanted).read([header + body for body in bodies])
    assert len(decoded.rows) + len(decoded.rejected) == len(bodies)
    assert all(isinstance(rejected.error, DecodeError) for rejected in decoded.rejected)


@pytest.mark.parametrize("kind", ["int", "long", "boolean", "ENUM"])
@pytest.mark.parametrize("nullable", [True, False])
def test_null_is_written_only_where_the_schema_has_it(kind: str, nullable: bool) -> None:
    node = named(kind, 0)
    fields = [
        {"name": "a", "type": "double"},
        {"name": "f", "type": ["null", node] if nullable else node},
    ]
    schema = parse_schema(json.dumps({"type": "record", "name": "Row", "fields": fields}))
    writer = ColumnWriter(schema, {"a": Want.NUMBER, "f": Want.INTEGER}, framed=False)
    rows: list[dict[str, Any]] = [{"a": 1.0, "f": 1}, {"a": 2.0, "f": None}]
    columns = fallback.columns_from(rows, writer.wanted, writer.columns)
    if nullable:
        expected = fallback.write_rows(schema, writer.wanted, writer.columns, b"", columns)
        assert list(writer.write(columns)) == expected
        return
    with pytest.raises(SchemaError, match="row 1, field 'f' of a Row: null, where the schema"):
        writer.write(columns)
    if kind != "boolean":  # of which fastavro takes None for False
        with pytest.raises(SchemaError, match="row 1 does not fit"):
            fallback.write_rows(schema, writer.wanted, writer.columns, b"", columns)


@QUICK
@given(st.binary(max_size=12) | st.text(max_size=6).map(str.encode))
def test_utf8_is_what_python_takes_for_it(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        expected = False
    else:
        expected = True
    assert is_utf8(np.frombuffer(data, np.uint8), 0, len(data)) == expected

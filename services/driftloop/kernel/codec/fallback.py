"""Columns through fastavro, row by row: for wanted fields that a plan cannot express."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np

from driftloop.kernel.codec import framing, wire
from driftloop.kernel.codec.blocks import I64, Rejected
from driftloop.kernel.codec.columns import Columns, empty_columns, wrong_schema
from driftloop.kernel.codec.plan import Column, Kind, Want
from driftloop.kernel.codec.records import read_avro
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema


def read_rows(
    schema: Schema,
    wanted: Mapping[str, Want],
    columns: Mapping[str, Column],
    header: bytes,
    values: Sequence[bytes | None],
) -> tuple[I64, Columns, list[Rejected]]:
    """Indices of the good rows, their columns, and the others."""
    good: list[int] = []
    plain: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    if header:
        wire.in_force().learn(
            int.from_bytes(value[1 : framing.ID_HEADER_LENGTH], "big")
            for value in values
            if value is not None
            and value[:1] == framing.MAGIC
            and len(value) >= framing.ID_HEADER_LENGTH
        )
    for row, value in enumerate(values):
        try:
            plain.append(_read(schema, wanted, columns, header, value))
            good.append(row)
        except DecodeError as error:
            rejected.append(Rejected(row, error))
    return np.array(good, dtype=np.int64), columns_from(plain, wanted, columns), rejected


def columns_from(
    rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, Want], columns: Mapping[str, Column]
) -> Columns:
    """Columns of plain values. Raises what a value of the wrong kind raises."""
    blob = bytearray()
    flat_numbers: list[float] = []
    flat: list[tuple[int, int]] = []

    def put(value: Any) -> tuple[int, int]:
        if value is None:
            return 0, -1
        raw = value if isinstance(value, bytes) else value.encode()
        blob.extend(raw)
        return len(blob) - len(raw), len(raw)

    widths = {kind: sum(c.kind is kind for c in columns.values()) for kind in Kind}
    out = empty_columns(len(rows), widths)
    for row, record in enumerate(rows):
        for name, column in columns.items():
            value, slot = record[name], column.slot
            match column.kind:
                case Kind.NUMBER:
                    out.numbers[row, slot] = math.nan if value is None else value
                    out.number_null[row, slot] = value is None
                case Kind.INTEGER:
                    out.integers[row, slot] = 0 if value is None else value
                    out.integer_null[row, slot] = value is None
                case Kind.SLICE:
                    out.at[row, slot], out.length[row, slot] = put(value)
                case Kind.ARRAY:
                    numbers = wanted[name] is Want.NUMBERS
                    out.seq_at[row, slot] = len(flat_numbers) if numbers else len(flat)
                    out.seq_count[row, slot] = -1 if value is None else len(value)
                    if numbers:
                        flat_numbers.extend(value or ())
                    else:
                        flat.extend(put(item) for item in value or ())
    pairs = np.array(flat, dtype=np.int64).reshape(len(flat), 2)
    return replace(
        out,
        data=np.frombuffer(bytes(blob), np.uint8),
        flat_numbers=np.array(flat_numbers, dtype=np.float64),
        flat_at=np.ascontiguousarray(pairs[:, 0]),
        flat_length=np.ascontiguousarray(pairs[:, 1]),
    )


def write_rows(
    schema: Schema,
    wanted: Mapping[str, Want],
    columns: Mapping[str, Column],
    header: bytes,
    source: Columns,
) -> list[bytes]:
    """Raises :class:`SchemaError` naming the row that does not fit."""
    written = []
    for row, record in enumerate(rows_of(source, wanted, columns)):
        out = io.BytesIO()
        out.write(header)
        try:
            fastavro.schemaless_writer(out, schema.parsed, record)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise SchemaError(f"row {row} does not fit {schema.name!r}: {error}") from error
        written.append(out.getvalue())
    return written


def rows_of(
    source: Columns, wanted: Mapping[str, Want], columns: Mapping[str, Column]
) -> list[dict[str, Any]]:
    """Plain values of columns. Slices become str where that is what they hold, else bytes."""

    def cut(at: int, length: int, *, text: bool) -> str | bytes | None:
        if length < 0:
            return None
        raw = source.data[at : at + length].tobytes()
        return raw.decode() if text else raw

    rows: list[dict[str, Any]] = []
    for row in range(len(source)):
        record: dict[str, Any] = {}
        for name, column in columns.items():
            slot = column.slot
            match column.kind:
                case Kind.NUMBER:
                    null = source.number_null[row, slot]
                    record[name] = None if null else float(source.numbers[row, slot])
                case Kind.INTEGER:
                    value = int(source.integers[row, slot])
                    null = source.integer_null[row, slot]
                    record[name] = None if null else _named(column, value)
                case Kind.SLICE:
                    at, length = int(source.at[row, slot]), int(source.length[row, slot])
                    record[name] = cut(at, length, text=wanted[name] is not Want.BYTES)
                case Kind.ARRAY:
                    first, count = int(source.seq_at[row, slot]), int(source.seq_count[row, slot])
                    span = slice(first, first + max(count, 0))
                    items: list[Any]
                    if wanted[name] is Want.NUMBERS:
                        items = source.flat_numbers[span].tolist()
                    else:
                        pairs = zip(
                            source.flat_at[span].tolist(),
                            source.flat_length[span].tolist(),
                            strict=True,
                        )
                        items = [cut(at, length, text=True) for at, length in pairs]
                    record[name] = None if count < 0 else items
        rows.append(record)
    return rows


def _read(
    schema: Schema,
    wanted: Mapping[str, Want],
    columns: Mapping[str, Column],
    header: bytes,
    value: bytes | None,
) -> dict[str, Any]:
    if value is None:
        raise DecodeError(Reason.EMPTY, f"a {schema.name} was expected, this is a tombstone")
    writer, start = schema, 0
    if header:
        frame = framing.frame_of(value)
        start = frame.length
        if frame.schema_id:
            writer = wire.in_force().resolved(frame.schema_id, schema)
        elif frame.fingerprint != schema.fingerprint:
            raise wrong_schema(schema, value)
    record = read_avro(writer, value[start:], reader=schema)
    return {name: _fit(name, record[name], wanted[name], columns[name]) for name in wanted}


def _fit(name: str, value: Any, want: Want, column: Column) -> Any:
    """The value as the column takes it. Raises :class:`DecodeError` where it is none for it."""
    if value is None:
        return None
    if column.symbols:
        return column.symbols.index(value)
    match column.kind:
        case Kind.NUMBER if isinstance(value, int | float):
            return float(value)
        case Kind.INTEGER if isinstance(value, int):
            return int(value)
        case Kind.SLICE if isinstance(value, bytes if want is Want.BYTES else str):
            return value
        case Kind.SLICE if want is Want.TEXT and isinstance(value, int):
            return str(value).lower() if isinstance(value, bool) else str(value)
        case Kind.ARRAY if isinstance(value, list):
            numbers = want is Want.NUMBERS
            if numbers and all(isinstance(item, int | float) for item in value):
                return [float(item) for item in value]
            if not numbers and all(item is None or isinstance(item, str) for item in value):
                return value
        case _:
            pass
    raise DecodeError(
        Reason.WRONG_TYPE, f"field {name!r} is {type(value).__name__}, {want.value} is wanted"
    )


def _named(column: Column, value: int) -> Any:
    if column.symbols:
        return column.symbols[value]
    return value != 0 if column.type == "boolean" else value

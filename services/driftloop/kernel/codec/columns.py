"""Batches of Avro bytes to columns: a compiled plan, or fastavro with the same results.

The two ways give equal columns for every row a writer could have written. They differ in what they
call wrong of bytes that no writer makes (fastavro lets pass a boolean of 7 or an int of 40 bits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from driftloop.kernel.codec import framing, kernels
from driftloop.kernel.codec.avro_types import check_schema
from driftloop.kernel.codec.blocks import F64, I64, U8, U64, Rejected
from driftloop.kernel.codec.plan import (
    Column,
    Kind,
    Plan,
    PlanUnsupported,
    Want,
    compile_plan,
    resolve_columns,
)
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema
from driftloop.kernel.slices import Slices

_NO_BYTES = np.frombuffer(b"", np.uint8)


@dataclass(frozen=True, slots=True)
class Columns:
    """n rows as arrays per kind of column. Slices are positions in ``data``; length -1 is null."""

    data: U8
    """Read-only."""
    numbers: F64
    """Shape (n, N); null is NaN."""
    number_null: U8
    integers: I64
    """Shape (n, I); null is 0."""
    integer_null: U8
    at: I64
    """Shape (n, S)."""
    length: I64
    seq_at: I64
    """Shape (n, A): where an array begins in ``flat_numbers``, or in ``flat_at``."""
    seq_count: I64
    """-1 is null."""
    flat_numbers: F64
    flat_at: I64
    flat_length: I64

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: I64) -> Columns:
        """The rows of these indices; ``data`` and the flat arrays are shared."""
        chosen = {
            f.name: getattr(self, f.name)[rows]
            for f in fields(self)
            if f.name != "data" and not f.name.startswith("flat_")
        }
        return replace(self, **chosen)

    def slices(self, slot: int) -> Slices[bytes]:
        """The bytes of a slice column; null gives b""."""
        return Slices(
            self.data,
            np.ascontiguousarray(self.at[:, slot]),
            np.maximum(self.length[:, slot], 0),
        )


def empty_columns(
    rows: int,
    widths: Mapping[Kind, int],
    data: U8 = _NO_BYTES,
    *,
    flat_numbers: F64 | None = None,
    flat_at: I64 | None = None,
    flat_length: I64 | None = None,
) -> Columns:
    """Columns to be filled: zero where they say what is null, and undefined elsewhere."""

    def shape(kind: Kind) -> tuple[int, int]:
        return rows, widths.get(kind, 0)

    none = np.zeros(0, np.int64)
    return Columns(
        data=data,
        numbers=np.empty(shape(Kind.NUMBER), np.float64),
        number_null=np.zeros(shape(Kind.NUMBER), np.uint8),
        integers=np.empty(shape(Kind.INTEGER), np.int64),
        integer_null=np.zeros(shape(Kind.INTEGER), np.uint8),
        at=np.empty(shape(Kind.SLICE), np.int64),
        length=np.empty(shape(Kind.SLICE), np.int64),
        seq_at=np.empty(shape(Kind.ARRAY), np.int64),
        seq_count=np.empty(shape(Kind.ARRAY), np.int64),
        flat_numbers=np.zeros(0, np.float64) if flat_numbers is None else flat_numbers,
        flat_at=none if flat_at is None else flat_at,
        flat_length=none if flat_length is None else flat_length,
    )


@dataclass(frozen=True, slots=True)
class Decoded:
    """The good rows of a batch, as columns, and the others."""

    rows: I64
    """Which rows of the batch the columns hold, ascending."""
    columns: Columns
    rejected: list[Rejected]


@dataclass(slots=True)
class ColumnReader:
    """Reads the wanted fields of one schema. ``framed``: single-object encoding, and every row must
    name this schema's fingerprint. Raises :class:`SchemaError` (see ``codec.plan``)."""

    schema: Schema
    wanted: Mapping[str, Want]
    framed: bool = True
    columns: Mapping[str, Column] = field(init=False)
    """Where the wanted fields are found."""
    _plan: Plan | None = field(init=False, default=None)
    _header: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        check_schema(self.schema, self.wanted)
        try:
            self._plan = compile_plan(self.schema, self.wanted)
            self.columns = self._plan.columns
        except PlanUnsupported:
            self.columns = resolve_columns(self.schema, self.wanted, lenient=True)
        if self.framed:
            self._header = framing.header(self.schema.fingerprint)

    @property
    def is_compiled(self) -> bool:
        return self._plan is not None

    def read(self, values: Sequence[bytes | None]) -> Decoded:
        """Never raises: a row that cannot be read is rejected."""
        if self._plan is None:
            from driftloop.kernel.codec.fallback import read_rows

            rows, columns, rejected = read_rows(
                self.schema, self.wanted, self.columns, self._header, values
            )
            return Decoded(rows, columns, rejected)
        return self._read_compiled(self._plan, values)

    def _read_compiled(self, plan: Plan, values: Sequence[bytes | None]) -> Decoded:
        n = len(values)
        rows = Slices.of(values)
        data = rows.data
        kinds = {column.type for column in plan.columns.values()}
        room = rows.total() + 1 if "array" in kinds else 0
        columns = empty_columns(
            n,
            {kind: plan.width(kind) for kind in Kind},
            data,
            flat_numbers=np.empty(room // 8 + 1, np.float64),
            flat_at=np.empty(room, np.int64),
            flat_length=np.empty(room, np.int64),
        )
        errors = np.zeros(n, np.int32)
        error_at = np.zeros(n, np.int64)
        error_op = np.zeros(n, np.int64)
        kernels.decode(
            data,
            rows.at,
            rows.length,
            np.frombuffer(self._header, np.uint8),
            plan.ops,
            plan.jumps,
            plan.depth,
            bits(columns.numbers),
            columns.number_null,
            columns.integers,
            columns.integer_null,
            columns.at,
            columns.length,
            columns.seq_at,
            columns.seq_count,
            bits(columns.flat_numbers),
            columns.flat_at,
            columns.flat_length,
            errors,
            error_at,
            error_op,
        )
        if not errors.any():
            return Decoded(np.arange(n, dtype=np.int64), columns, [])
        good = np.flatnonzero(errors == kernels.FINE)
        rejected = []
        for row in np.flatnonzero(errors).tolist():
            value = values[row]
            error = (
                _empty(self.schema)
                if value is None
                else self._error(
                    plan, value, int(errors[row]), int(error_at[row]), int(error_op[row])
                )
            )
            rejected.append(Rejected(row, error))
        return Decoded(good, columns.take(good), rejected)

    def _error(self, plan: Plan, value: bytes, code: int, at: int, op: int) -> DecodeError:
        name = self.schema.name
        if code == kernels.NOT_AVRO or (code == kernels.TRUNCATED and at < len(self._header)):
            try:
                framing.fingerprint_of(value)
            except DecodeError as error:
                return error
        if code == kernels.WRONG_SCHEMA:
            return wrong_schema(self.schema, value)
        if code == kernels.TRAILING:
            return DecodeError(
                Reason.TRAILING_BYTES, f"{len(value) - at} bytes after the end of a {name}"
            )
        names = plan.names[op]
        # Of doubles read in one run, the first that does not fit is the one that is cut off.
        which = names[min((len(value) - at) // 8, len(names) - 1)] if len(names) > 1 else names[0]
        if code == kernels.TRUNCATED:
            return DecodeError(Reason.TRUNCATED, f"ends inside field {which!r} of a {name}")
        reason = Reason.NOT_UTF8 if code == kernels.NOT_UTF8 else Reason.MALFORMED
        found = value[at : at + 10].hex()
        return DecodeError(reason, f"field {which!r}, byte {at} ({found}): {WRONG[code]}")


def bits(numbers: F64) -> U64:
    """Doubles seen as integers, so that no NaN loses its payload."""
    seen: U64 = numbers.view(np.uint64)
    return seen


def wrong_schema(schema: Schema, value: bytes) -> DecodeError:
    """``value`` names another schema than ``schema``."""
    return DecodeError(
        Reason.WRONG_SCHEMA,
        f"fingerprint {value[2 : framing.HEADER_LENGTH].hex()} is not that of"
        f" {schema.name!r} ({schema.fingerprint.hex()})",
    )


def _empty(schema: Schema) -> DecodeError:
    return DecodeError(Reason.EMPTY, f"a {schema.name} was expected, this is a tombstone")


WRONG: Mapping[int, str] = {
    kernels.BAD_VARINT: "a number of more than 64 bits",
    kernels.BAD_LENGTH: "a length that cannot be",
    kernels.BAD_BRANCH: "no branch of the union",
    kernels.BAD_SYMBOL: "no symbol of the enum",
    kernels.BAD_INT: "an int of more than 32 bits",
    kernels.BAD_BOOLEAN: "a boolean that is neither 0 nor 1",
    kernels.NOT_UTF8: "a string that is not UTF-8",
    kernels.MISSING: "null, where the schema has none",
}

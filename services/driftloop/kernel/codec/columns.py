"""Batches of Avro bytes to columns: a compiled plan, or fastavro with the same results.

The two ways give equal columns for every row a writer could have written. They differ in what they
call wrong of bytes that no writer makes (fastavro lets pass a boolean of 7 or an int of 40 bits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec import framing, kernels, wire
from driftloop.kernel.codec.avro_types import check_schema
from driftloop.kernel.codec.blocks import F64, I32, I64, U8, U64, Rejected
from driftloop.kernel.codec.plan import (
    Column,
    Kind,
    Plan,
    PlanUnsupported,
    Want,
    compile_plan,
    resolve_columns,
)
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema
from driftloop.kernel.slices import Slices

_NO_BYTES = np.frombuffer(b"", np.uint8)
_NO_IDS: I64 = np.empty(0, np.int64)


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
    """Reads the wanted fields of one schema. Raises :class:`SchemaError` (see ``codec.plan``).

    ``framed``: every row must name a schema, by this one's fingerprint or by a registry's id
    (``codec.wire``). Rows whose id means another schema, which this one can read, are resolved.
    """

    schema: Schema
    wanted: Mapping[str, Want]
    framed: bool = True
    columns: Mapping[str, Column] = field(init=False)
    """Where the wanted fields are found."""
    _plan: Plan | None = field(init=False, default=None)
    _header: bytes = field(init=False, default=b"")
    _resolving: dict[bytes, ColumnReader | None] = field(init=False, default_factory=dict)
    """Per fingerprint of a writer's schema who reads it with a plan; None: fastavro must."""

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
        """A row that cannot be read is rejected. Raises :class:`RegistryUnavailableError` where an
        id's meaning cannot be known now; nothing else."""
        if self._plan is None:
            return self._read_slowly(values)
        rows = Slices.of(values)
        read = wire.in_force().ids(self.schema) if self.framed else _NO_IDS
        columns, errors, error_at, error_op = self._run(self._plan, rows, read)
        if not errors.any():
            return Decoded(np.arange(len(rows), dtype=np.int64), columns, [])
        strange = np.flatnonzero(errors == kernels.OTHER_ID)
        if len(strange):
            return self._read_others(rows, strange)
        return self._sifted(self._plan, values, columns, errors, error_at, error_op)

    def _read_slowly(self, values: Sequence[bytes | None]) -> Decoded:
        from driftloop.kernel.codec.fallback import read_rows

        return Decoded(*read_rows(self.schema, self.wanted, self.columns, self._header, values))

    def _read_others(self, rows: Slices[Any], strange: I64) -> Decoded:
        """A batch of which the ``strange`` rows name ids that are not known to mean this schema."""
        current = wire.in_force()
        ids = ids_of_rows(rows, strange)
        order = np.argsort(ids, kind="stable")
        distinct, starts = np.unique(ids[order], return_index=True)
        current.learn(distinct.tolist())
        parts: list[tuple[I64, Decoded]] = []
        refused: list[tuple[I64, DecodeError]] = []
        same = False
        groups = np.split(strange[order], starts[1:])
        for schema_id, chosen in zip(distinct.tolist(), groups, strict=True):
            try:
                framing.frame_of(framing.MAGIC + schema_id.to_bytes(4, "big"))
                writer = current.resolved(schema_id, self.schema)
            except DecodeError as error:
                refused.append((chosen, error))
                continue
            if writer.fingerprint == self.schema.fingerprint:
                same = True
                continue
            reader = self._reader_of(writer)
            some = rows.take(chosen)
            parts.append((chosen, reader.read(some) if reader else self._read_slowly(some)))
        if refused:
            errors = [error for chosen, error in refused for _ in range(len(chosen))]
            rejected = [Rejected(row, error) for row, error in enumerate(errors)]
            none = Decoded(np.empty(0, np.int64), self._run_empty(), rejected)
            parts.append((np.concatenate([chosen for chosen, _ in refused]), none))
        others = np.sort(np.concatenate([at for at, _ in parts])) if parts else _NO_IDS
        own = np.setdiff1d(np.arange(len(rows), dtype=np.int64), others, assume_unique=True)
        if len(own):
            # Known by now; an id so old that it was forgotten is read the slow way.
            some = rows if not len(others) else rows.take(own)
            read = self._read_known(some) if same or not len(others) else self.read(some)
            parts.insert(0, (own, read))
        return joined(parts, self.columns, self.wanted)

    def _read_known(self, rows: Slices[Any]) -> Decoded:
        """Rows that all are of this schema, whatever its ids; but for what is no row at all."""
        assert self._plan is not None
        ids = wire.in_force().ids(self.schema)
        columns, errors, error_at, error_op = self._run(self._plan, rows, ids)
        if (errors == kernels.OTHER_ID).any():
            return self._read_slowly(rows)
        return self._sifted(self._plan, rows, columns, errors, error_at, error_op)

    def _reader_of(self, writer: Schema) -> ColumnReader | None:
        """Who makes the same columns of a writer's rows with a plan; None where only fastavro's
        resolution can."""
        if writer.fingerprint not in self._resolving:
            if len(self._resolving) >= _MOST_READERS:
                self._resolving.pop(next(iter(self._resolving)))
            self._resolving[writer.fingerprint] = self._new_reader(writer)
        return self._resolving[writer.fingerprint]

    def _new_reader(self, writer: Schema) -> ColumnReader | None:
        if any("aliases" in part for part in self.schema.parsed["fields"]):
            return None
        try:
            reader = ColumnReader(writer, self.wanted)
        except SchemaError:  # it lacks a field that has a default
            return None
        alike = all(_alike(reader.columns[name], own) for name, own in self.columns.items())
        return reader if reader.is_compiled and alike else None

    def _run_empty(self) -> Columns:
        assert self._plan is not None
        return empty_columns(0, {kind: self._plan.width(kind) for kind in Kind})

    def _run(self, plan: Plan, rows: Slices[Any], ids: I64) -> tuple[Columns, I32, I64, I64]:
        """Columns, and per row its error, where it is and the opcode."""
        n = len(rows)
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
            ids,
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
        return columns, errors, error_at, error_op

    def _sifted(
        self,
        plan: Plan,
        values: Sequence[bytes | None],
        columns: Columns,
        errors: I32,
        error_at: I64,
        error_op: I64,
    ) -> Decoded:
        """The good rows, and what is wrong with the others."""
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
                framing.frame_of(value)
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


def ids_of_rows(rows: Slices[Any], chosen: I64) -> I64:
    """The ids that these rows name, which have five bytes at least."""
    at = rows.at[chosen][:, None] + np.arange(1, framing.ID_HEADER_LENGTH)
    found: I64 = rows.data[at].astype(np.int64) @ np.array([1 << 24, 1 << 16, 1 << 8, 1])
    return found


def joined(
    parts: Sequence[tuple[I64, Decoded]], columns: Mapping[str, Column], wanted: Mapping[str, Want]
) -> Decoded:
    """One batch from parts of it, each with the rows of the batch it was read from."""
    rejected = [Rejected(int(rows[bad.row]), bad.error) for rows, d in parts for bad in d.rejected]
    rejected.sort(key=lambda bad: bad.row)
    found = [(rows[decoded.rows], decoded.columns) for rows, decoded in parts if len(decoded.rows)]
    if not found:
        return Decoded(np.empty(0, np.int64), parts[0][1].columns, rejected)
    if len(found) == 1:
        return Decoded(found[0][0], found[0][1], rejected)
    rows = np.concatenate([rows for rows, _ in found])
    numbers = np.array(
        [wanted[name] is Want.NUMBERS for name, c in columns.items() if c.kind is Kind.ARRAY], bool
    )
    order = np.argsort(rows)
    made = _stacked([part for _, part in found], numbers).take(order)
    return Decoded(rows[order], made, rejected)


def _stacked(parts: Sequence[Columns], numbers: npt.NDArray[np.bool_]) -> Columns:
    """Rows of one part after the other; ``numbers``: which of the array columns hold numbers."""
    shared = all(part.data is parts[0].data for part in parts)
    moved = []
    at = flat_numbers = flat_texts = 0
    for part in parts:
        shift = np.where(numbers, flat_numbers, flat_texts)
        moved.append(
            replace(
                part,
                at=part.at + at,
                seq_at=part.seq_at + shift,
                flat_at=part.flat_at + at,
            )
        )
        at += 0 if shared else len(part.data)
        flat_numbers += len(part.flat_numbers)
        flat_texts += len(part.flat_at)
    made: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for part in moved])
        for f in fields(Columns)
        if f.name != "data"
    }
    data = parts[0].data if shared else np.concatenate([part.data for part in parts])
    data.flags.writeable = False
    return Columns(data=data, **made)


def _alike(written: Column, own: Column) -> bool:
    """Whether a writer's column holds, without more ado, what resolution would make of it."""
    if written == own:
        return True
    widened = (written.type, own.type) in _WIDENED
    return widened and (written.kind, written.slot) == (own.kind, own.slot)


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


_WIDENED = {("int", "long"), ("int", "double"), ("long", "double"), ("float", "double")}
_MOST_READERS = 256
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

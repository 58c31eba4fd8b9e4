"""Batches of columns to Avro bytes: the plan run backwards, or fastavro with the same results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from driftloop.kernel.codec import kernels, wire
from driftloop.kernel.codec.avro_types import check_schema
from driftloop.kernel.codec.columns import WRONG, Columns, bits
from driftloop.kernel.codec.plan import (
    Column,
    Plan,
    PlanUnsupported,
    Want,
    compile_plan,
    resolve_columns,
)
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.schemas import Schema
from driftloop.kernel.slices import Slices

_INTEGERS = (kernels.LONG, kernels.INT, kernels.BOOLEAN, kernels.ENUM)
_NULLABLE_INTEGER = [kernels.NULLABLE, kernels.ON_INTEGER]


@dataclass(slots=True)
class ColumnWriter:
    """Writes rows of one schema from columns; ``wanted`` names every field of it.

    A double must be wanted as NUMBER, any whole number or enum as INTEGER, a string as TEXT,
    bytes as BYTES. Strings must be UTF-8. Raises :class:`SchemaError`.
    """

    schema: Schema
    wanted: Mapping[str, Want]
    framed: bool = True
    columns: Mapping[str, Column] = field(init=False)
    _plan: Plan | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        every = [name for name, _ in check_schema(self.schema, self.wanted)]
        if set(every) != set(self.wanted):
            raise SchemaError(f"all fields of {self.schema.name!r} must be written: {every}")
        try:
            plan = compile_plan(self.schema, self.wanted)
            self.columns = plan.columns
            self._plan = plan if plan.writable else None
        except PlanUnsupported:
            self.columns = resolve_columns(self.schema, self.wanted, lenient=True)

    def write(self, columns: Columns) -> Slices[bytes]:
        """Raises :class:`SchemaError` naming row and field of a value that does not fit."""
        header = wire.in_force().header(self.schema) if self.framed else b""
        if self._plan is None:
            from driftloop.kernel.codec.fallback import write_rows

            return Slices.of(write_rows(self.schema, self.wanted, self.columns, header, columns))
        return self._write_compiled(self._plan, header, columns)

    def _write_compiled(self, plan: Plan, framed: bytes, columns: Columns) -> Slices[bytes]:
        columns = _contiguous(columns)
        # One look at all, as mostly none is null: the loop would look once per value.
        if np.count_nonzero(columns.integer_null.view(np.bool_)):
            self._check_nulls(plan, columns)
        header = np.frombuffer(framed, np.uint8)
        slices = (columns.length, columns.seq_at, columns.seq_count, columns.flat_length)
        out = np.empty(kernels.encoded_bound(plan.ops, len(header), *slices), np.uint8)
        ends = np.zeros(len(columns) + 1, np.int64)
        code, row, op = kernels.encode(
            header,
            plan.ops,
            columns.data,
            columns.numbers,
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
            out,
            ends[1:],
        )
        if code != kernels.FINE:
            raise SchemaError(
                f"row {row}, field {plan.names[op][0]!r} of a {self.schema.name}: {WRONG[code]}"
            )
        return Slices(out, ends[:-1], ends[1:] - ends[:-1])

    def _check_nulls(self, plan: Plan, columns: Columns) -> None:
        """Raises :class:`SchemaError` where an integer is null that the schema does not let be."""
        found = []
        nullable = {op[1] for op in plan.ops.tolist() if op[::4] == _NULLABLE_INTEGER}
        for place, (op, slot, *_) in enumerate(plan.ops.tolist()):
            if op in _INTEGERS and slot not in nullable:
                rows = np.flatnonzero(columns.integer_null[:, slot])
                found += [(int(row), place) for row in rows[:1]]
        if found:
            row, place = min(found)
            raise SchemaError(
                f"row {row}, field {plan.names[place][0]!r} of a {self.schema.name}: "
                f"{WRONG[kernels.MISSING]}"
            )


def _contiguous(columns: Columns) -> Columns:
    """Each loop is compiled for arrays in C order only; another order would compile it anew, in the
    middle of the service."""
    names = [f.name for f in fields(columns) if f.name != "data"]
    turned: dict[str, Any] = {
        name: np.ascontiguousarray(getattr(columns, name))
        for name in names
        if not getattr(columns, name).flags.c_contiguous
    }
    return replace(columns, **turned) if turned else columns

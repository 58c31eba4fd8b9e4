"""The user's events, in batches, to columns: decoded, checked, rejected where they are wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.kernel.codec.avro_types import check_schema, is_optional, items_of
from driftloop.kernel.codec.blocks import F64, I32, I64, Categories, EventBlock, Features, Rejected
from driftloop.kernel.codec.categories import categories_of_slices, codes_of_integers
from driftloop.kernel.codec.columns import ColumnReader, Columns, bits
from driftloop.kernel.codec.faults import (
    Faults,
    TimeLimits,
    check_categories,
    check_ids,
    check_times,
    ids_of,
)
from driftloop.kernel.codec.json_rows import JsonReader
from driftloop.kernel.codec.json_types import JsonField
from driftloop.kernel.codec.plan import Column, Kind, Want, resolve_columns
from driftloop.kernel.codec.slice_kernels import first_outside, gather
from driftloop.kernel.declaration import Declaration, Format, VectorFeature
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.reasons import Reason


@dataclass(frozen=True, slots=True)
class _Limits:
    lowest: F64
    highest: F64


class EventDecoder:
    """Decodes the events of one declaration.

    Avro: behind the fingerprint of the declared schema, or a registry's id of it or of one that it
    can read (``codec.wire``). JSON: objects whose fields are of their Avro types
    (``codec.json_rows``); one that is null or left out is missing, where the schema lets it be null
    or gives it a default, and so is a float or double that is null. Raises :class:`SchemaError`
    when the schema lacks a declared field, or no reader may follow it.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        events = declaration.events
        arrays = {vector.field for vector in declaration.vectors}
        wanted: dict[str, Want] = {
            name: Want.NUMBERS if name in arrays else Want.NUMBER
            for name in declaration.numeric_fields
        }
        # A number that is the event time too is read as an integer, and copied from there.
        wanted[events.time] = Want.INTEGER
        for part in declaration.categorical:
            wanted[part.name] = Want.TEXT
        wanted[events.id] = Want.TEXT
        if wanted[events.time] is not Want.INTEGER:
            raise SchemaError(
                f"field {events.time!r} is the event time; it cannot be the id or a category too"
            )
        self._reader: ColumnReader | JsonReader
        if events.format is Format.AVRO:
            self._reader = ColumnReader(events.schema, wanted)
        else:
            check_schema(events.schema, wanted)
            self._reader = JsonReader(self._json_fields(wanted))
        columns = self._reader.columns
        self._id, self._time = columns[events.id], columns[events.time]
        self._numeric = [columns[name] for name in declaration.numeric_fields]
        self._categorical_names = [part.name for part in declaration.categorical]
        self._categorical = [columns[name] for name in self._categorical_names]
        if any(column.kind is Kind.SLICE for column in self._numeric):
            raise SchemaError("the id or a categorical feature cannot be a numeric feature too")
        # So infinities are outside, whatever was declared.
        most = sys.float_info.max
        self._times = TimeLimits(events.earliest, events.latest, events.ahead)
        self._limits = _Limits(
            np.array([max(part.lowest, -most) for part in declaration.numeric], np.float64),
            np.array([min(part.highest, most) for part in declaration.numeric], np.float64),
        )

    def decode(
        self, values: Sequence[bytes | None], recorded: I64 | None = None
    ) -> tuple[EventBlock, list[Rejected]]:
        """The events of a batch, and its other rows in ascending order. ``recorded``: the times of
        their records, negative where they have none, ms; None where they are not to be compared
        with. Raises :class:`RegistryUnavailableError` where an id's meaning cannot be known now."""
        decoded = self._reader.read(values)
        faults = Faults(decoded)
        columns = decoded.columns
        numeric = self._numbers(faults, columns)
        events = self.declaration.events
        check_ids(faults, events.id, columns, self._id)
        check_times(faults, events.time, columns, self._time, self._times, recorded)
        self._check_numbers(faults, numeric)
        check_categories(faults, self._categorical_names, columns, self._categorical)
        if faults:
            keep = faults.keep()
            columns = columns.take(keep)
            numeric = numeric[keep]
        block = EventBlock(
            rows=faults.rows(),
            ids=ids_of(columns, self._id),
            times=np.ascontiguousarray(columns.integers[:, self._time.slot]),
            features=Features(numeric, self._categories(columns)),
        )
        return block, faults.rejected()

    def _json_fields(self, wanted: Mapping[str, Want]) -> list[JsonField]:
        events = self.declaration.events
        always = (events.id, events.time)
        types = resolve_columns(events.schema, wanted, lenient=True)
        fields = []
        for name, want in wanted.items():
            # The checks of id and time say better what is wrong when they are missing.
            optional = name in always or is_optional(events.schema, name)
            kind = "array" if want is Want.NUMBERS else types[name].type
            if name == events.id or kind == "any":
                # An id may be an integer, whatever the schema calls it: it is read as its digits.
                fields.append(JsonField(name, want, optional, booleans=name != events.id))
                continue
            items = items_of(events.schema, name) if want is Want.NUMBERS else ""
            symbols = types[name].symbols
            fields.append(JsonField(name, want, optional, kind=kind, symbols=symbols, items=items))
        return fields

    def _numbers(self, faults: Faults, columns: Columns) -> F64:
        wide = [column.slot for column in self._numeric if column.kind is Kind.NUMBER]
        if wide == list(range(len(self._numeric))):
            return np.ascontiguousarray(columns.numbers)
        out = np.empty((len(columns), len(self._numeric)), np.float64)
        for place, column in enumerate(self._numeric):
            if column.kind is Kind.NUMBER:
                out[:, place] = columns.numbers[:, column.slot]
            elif column.kind is Kind.INTEGER:
                null = columns.integer_null[:, column.slot] != 0
                out[:, place] = np.where(null, np.nan, columns.integers[:, column.slot])
        for vector in self.declaration.vectors:
            slot = self._numeric[vector.first].slot
            span = out[:, vector.first : vector.first + vector.length]
            self._vector(faults, columns, slot, vector, span)
        return out

    def _vector(
        self, faults: Faults, columns: Columns, slot: int, vector: VectorFeature, out: F64
    ) -> None:
        count = columns.seq_count[:, slot]
        for index in np.flatnonzero((count != vector.length) & (count >= 0)).tolist():
            faults.add(
                index,
                Reason.WRONG_LENGTH,
                f"field {vector.field!r} has {int(count[index])} numbers, not {vector.length}",
            )
        right = np.flatnonzero(count == vector.length)
        found = np.empty((len(right), vector.length), np.float64)
        gather(bits(columns.flat_numbers), columns.seq_at[right, slot], bits(found))
        out[:] = np.nan
        out[right] = found

    def _check_numbers(self, faults: Faults, numeric: F64) -> None:
        outside: I64 = np.empty(len(numeric), np.int64)
        if not first_outside(numeric, self._limits.lowest, self._limits.highest, outside):
            return
        for index in np.flatnonzero(outside >= 0).tolist():
            place = int(outside[index])
            part = self.declaration.numeric[place]
            faults.add(
                index,
                Reason.OUT_OF_LIMITS,
                f"field {part.name!r} is {float(numeric[index, place])!r},"
                f" outside [{part.lowest!r}, {part.highest!r}]",
            )

    def _categories(self, columns: Columns) -> Categories:
        if all(column.kind is Kind.SLICE for column in self._categorical):
            slots = [column.slot for column in self._categorical]
            return categories_of_slices(
                columns.data, columns.at[:, slots], columns.length[:, slots]
            )
        codes = np.empty((len(columns), len(self._categorical)), np.int32)
        levels: list[tuple[str, ...]] = []
        for place, column in enumerate(self._categorical):
            codes[:, place], texts = _coded(columns, column)
            levels.append(texts)
        return Categories(codes, tuple(levels))


def _coded(columns: Columns, column: Column) -> tuple[I32, tuple[str, ...]]:
    slot = column.slot
    if column.kind is Kind.SLICE:
        one = categories_of_slices(
            columns.data, columns.at[:, slot : slot + 1], columns.length[:, slot : slot + 1]
        )
        return one.codes[:, 0], one.levels[0]
    return codes_of_integers(
        columns.integers[:, slot], columns.integer_null[:, slot] != 0, column.text
    )

"""Columns of JSON objects: the same columns that ``codec.columns`` makes of Avro."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from driftloop.kernel.codec.blocks import Rejected
from driftloop.kernel.codec.columns import Columns, Decoded, empty_columns
from driftloop.kernel.codec.json_types import JsonField, Rule, fitted, shown
from driftloop.kernel.codec.plan import Column, Kind, Want
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason

_ABSENT = object()


@dataclass(slots=True)
class JsonReader:
    """Reads objects, other fields ignored. Columns are in the order of ``wanted``, per kind.

    An integer or boolean wanted as TEXT becomes ``17``, ``true``; a number never a fraction's text.
    """

    wanted: Sequence[JsonField]
    columns: Mapping[str, Column] = field(init=False)
    _values: Callable[[Any], tuple[Any, ...]] = field(init=False)
    _rules: Sequence[Rule] = field(init=False)
    """Of each field of ``wanted``."""

    def __post_init__(self) -> None:
        names = [part.name for part in self.wanted]
        kinds = {
            Want.NUMBER: Kind.NUMBER,
            Want.INTEGER: Kind.INTEGER,
            Want.TEXT: Kind.SLICE,
            Want.NUMBERS: Kind.ARRAY,
        }
        used = dict.fromkeys(Kind, 0)
        columns: dict[str, Column] = {}
        for part in self.wanted:
            kind = kinds[part.want]
            columns[part.name] = Column(kind, used[kind], "string")
            used[kind] += 1
        self.columns = columns
        # Twice the first, so that one field too gives a tuple.
        self._values = operator.itemgetter(*names, names[0])
        self._rules = [Rule.of(part) for part in self.wanted]

    def read(self, values: Sequence[bytes | None]) -> Decoded:
        """Never raises: a row that cannot be read is rejected."""
        errors: dict[int, DecodeError] = {}
        good: list[int] = []
        rows: list[tuple[Any, ...]] = []
        for row, value in enumerate(values):
            try:
                rows.append(self._row(value))
                good.append(row)
            except DecodeError as error:
                errors[row] = error
        widths = {kind: sum(c.kind is kind for c in self.columns.values()) for kind in Kind}
        columns = empty_columns(len(rows), widths)
        blob: list[bytes] = []
        flat: list[float] = []
        for rule, raw in zip(self._rules, zip(*rows, strict=True), strict=False):
            column: Sequence[Any] = raw
            if not rule.is_met(raw):
                column, wrong = fitted(rule, raw)
                for index, misfit in wrong.items():
                    errors.setdefault(good[index], misfit)
            self._fill(columns, rule.part, column, blob, flat)
        columns = replace(
            columns,
            data=np.frombuffer(b"".join(blob), np.uint8),
            flat_numbers=np.array(flat, dtype=np.float64),
        )
        kept = np.array(good, dtype=np.int64)
        if len(errors) + len(good) > len(values):
            keep = np.array([i for i, row in enumerate(good) if row not in errors], np.int64)
            kept, columns = kept[keep], columns.take(keep)
        return Decoded(kept, columns, [Rejected(row, errors[row]) for row in sorted(errors)])

    def _row(self, value: bytes | None) -> tuple[Any, ...]:
        if value is None:
            raise DecodeError(Reason.EMPTY, "a JSON object was expected, this is a tombstone")
        try:
            plain = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            try:
                value.decode()
            except UnicodeDecodeError as cause:
                raise DecodeError(Reason.NOT_UTF8, str(cause)) from cause
            raise DecodeError(Reason.NOT_JSON, str(error)) from error
        if type(plain) is not dict:
            raise DecodeError(
                Reason.WRONG_TYPE, f"a JSON object was expected, this is {shown(plain)}"
            )
        try:
            return self._values(plain)
        except KeyError:
            found = []
            for part in self.wanted:
                item = plain.get(part.name, _ABSENT)
                if item is _ABSENT:
                    if not part.optional:
                        raise DecodeError(
                            Reason.MISSING_FIELD, f"field {part.name!r} is missing"
                        ) from None
                    item = None
                found.append(item)
            return (*found, None)

    def _fill(
        self,
        columns: Columns,
        part: JsonField,
        column: Sequence[Any],
        blob: list[bytes],
        flat: list[float],
    ) -> None:
        slot = self.columns[part.name].slot
        null = [value is None for value in column]
        match part.want:
            case Want.NUMBER:
                if part.words:
                    words = part.words
                    column = [words[v] if type(v) is str else v for v in column]
                columns.numbers[:, slot] = np.array(column, dtype=np.float64)
                columns.number_null[:, slot] = null
            case Want.INTEGER:
                columns.integers[:, slot] = [value or 0 for value in column]
                columns.integer_null[:, slot] = null
            case Want.NUMBERS:
                sizes = np.array([-1 if value is None else len(value) for value in column])
                lengths = np.maximum(sizes, 0)
                columns.seq_at[:, slot] = np.cumsum(lengths) - lengths + len(flat)
                columns.seq_count[:, slot] = sizes
                for value in column:
                    flat.extend(math.nan if item is None else item for item in value or ())
            case _:
                texts = [_text(value) for value in column]
                sizes = np.fromiter(map(len, texts), np.int64, len(texts))
                columns.at[:, slot] = np.cumsum(sizes) - sizes + sum(map(len, blob))
                columns.length[:, slot] = np.where(null, -1, sizes)
                blob.append(b"".join(texts))


def _text(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if value is None:
        return b""
    if type(value) is bool:
        return b"true" if value else b"false"
    return b"%d" % value

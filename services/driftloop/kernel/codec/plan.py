"""Compiles an Avro record schema, and the fields wanted of it, to a plan for ``codec.kernels``.

Values of fields not wanted are checked and skipped, whatever their types (records, arrays, maps,
unions, fixed). A wanted field is a scalar, an array of doubles or of strings, or a union of one of
these with null. What else is wanted raises :class:`PlanUnsupported`; ``codec.columns`` then reads
through fastavro.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftloop.kernel.codec import kernels as k
from driftloop.kernel.codec.avro_types import Names, check_schema, nullable, type_of
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.schemas import Schema


class PlanUnsupported(Exception):  # noqa: N818 - a signal to take the other way, not a fault
    """A wanted field has a type that the plan cannot express."""


class Want(enum.Enum):
    """What a field shall become."""

    NUMBER = "number"
    """A double, of any number or boolean; null is NaN."""
    INTEGER = "integer"
    """An int64, of an int, long, boolean, or an enum (its symbol's index)."""
    TEXT = "text"
    """A slice of UTF-8, of a string; an enum, integer or boolean becomes an integer, and
    :meth:`Column.text` says what it reads."""
    BYTES = "bytes"
    """A slice, of bytes."""
    NUMBERS = "numbers"
    """Of an array of doubles."""
    TEXTS = "texts"
    """Of an array of strings, or of strings and null."""


class Kind(enum.IntEnum):
    """Which of the arrays of ``codec.columns.Columns`` holds a column."""

    NUMBER = k.ON_NUMBER
    INTEGER = k.ON_INTEGER
    SLICE = k.ON_TEXT
    ARRAY = k.ON_ARRAY


@dataclass(frozen=True, slots=True)
class Column:
    """Where a wanted field ends up: column ``slot`` of the arrays of ``kind``."""

    kind: Kind
    slot: int
    type: str
    """The Avro type, null left out."""
    symbols: tuple[str, ...] = ()
    """Of an enum."""

    def text(self, value: int) -> str:
        """What an integer column's value reads: a symbol, ``true`` or ``false``, or digits."""
        if self.symbols:
            return self.symbols[value]
        if self.type == "boolean":
            return "true" if value else "false"
        return str(value)


@dataclass(frozen=True, slots=True)
class Plan:
    """Opcodes, and what they refer to."""

    ops: I64
    """Shape (m, 5)."""
    jumps: I64
    depth: int
    """Deepest nesting of skipped arrays and maps."""
    columns: Mapping[str, Column]
    names: tuple[tuple[str, ...], ...]
    """Per opcode the fields it reads."""
    writable: bool
    """Whether every field is wanted as it is, so that the plan can be run backwards."""

    def width(self, kind: Kind) -> int:
        """How many columns of a kind there are."""
        return sum(column.kind is kind for column in self.columns.values())


def compile_plan(schema: Schema, wanted: Mapping[str, Want]) -> Plan:
    """The order of ``wanted`` is that of the columns of each kind.

    Raises :class:`PlanUnsupported`, or :class:`SchemaError` for a schema that no reader may follow
    or that lacks a wanted field.
    """
    fields = check_schema(schema, wanted)
    columns = resolve_columns(schema, wanted)
    names = Names()
    names.learn(schema.parsed)
    emitter = _Emitter(names)
    for name, node in fields:
        emitter.field(name, node, columns.get(name))
    ops = np.array(emitter.ops, dtype=np.int64).reshape(len(emitter.ops), 5)
    jumps = np.array(emitter.jumps, dtype=np.int64)
    natural = all(
        name in columns and (columns[name].kind is not Kind.NUMBER or _is_float(columns[name]))
        for name, _ in fields
    )
    read = tuple(tuple(fields) for fields in emitter.names)
    return Plan(ops, jumps, emitter.depth, columns, read, natural)


@dataclass(frozen=True, slots=True)
class Cut:
    """How a record is skipped over, and which of its arrays are left out on the way."""

    ops: I64
    """Shape (ops, 5): see ``codec.kernels``."""
    jumps: I64
    depth: int
    left_out: I64
    """Shape (ops,): 1 where such an array begins."""


def compile_cut(schema: Schema, names: Set[str]) -> Cut:
    """``names``: of fields that are arrays; all that are called so, wherever they are.

    Raises :class:`SchemaError` for a schema that no reader may follow, and where a field of such a
    name is no array.
    """
    fields = check_schema(schema, ())
    known = Names()
    known.learn(schema.parsed)
    emitter = _Emitter(known, cut=names)
    for name, node in fields:
        emitter.field(name, node, None)
    ops = np.array(emitter.ops, dtype=np.int64).reshape(len(emitter.ops), 5)
    left_out = np.zeros(len(ops), dtype=np.int64)
    left_out[emitter.left_out] = 1
    return Cut(ops, np.array(emitter.jumps, dtype=np.int64), emitter.depth, left_out)


def resolve_columns(
    schema: Schema, wanted: Mapping[str, Want], *, lenient: bool = False
) -> dict[str, Column]:
    """Where each wanted field ends up. ``lenient``: one that a plan cannot express gets a column by
    what is wanted alone, of type ``any``, instead of raising :class:`PlanUnsupported`."""
    names = Names()
    names.learn(schema.parsed)
    types = dict(check_schema(schema, wanted))
    columns: dict[str, Column] = {}
    used = dict.fromkeys(Kind, 0)
    for name, want in wanted.items():
        _, inner = nullable(names.resolve(types[name]))
        try:
            kind, type_name, symbols = _column(schema, name, names.resolve(inner), want)
        except PlanUnsupported:
            if not lenient:
                raise
            kind, type_name, symbols = _KINDS[want], "any", ()
        columns[name] = Column(kind, used[kind], type_name, symbols)
        used[kind] += 1
    return columns


def _is_float(column: Column) -> bool:
    return column.type in ("double", "float")


def _column(schema: Schema, name: str, node: Any, want: Want) -> tuple[Kind, str, tuple[str, ...]]:
    kind = type_of(node)
    whole = ("int", "long", "boolean")
    if want is Want.NUMBER and kind in ("double", "float", *whole):
        return Kind.NUMBER, kind, ()
    if (want, kind) in ((Want.TEXT, "string"), (Want.BYTES, "bytes")):
        return Kind.SLICE, kind, ()
    if want in (Want.INTEGER, Want.TEXT) and kind in whole:
        return Kind.INTEGER, kind, ()
    if want in (Want.INTEGER, Want.TEXT) and kind == "enum":
        return Kind.INTEGER, kind, tuple(node["symbols"])
    if kind == "array":
        item = node["items"]
        if want is Want.NUMBERS and type_of(item) == "double":
            return Kind.ARRAY, kind, ()
        if want is Want.TEXTS and type_of(nullable(item)[1]) == "string":
            return Kind.ARRAY, kind, ()
    raise PlanUnsupported(f"field {name!r} of {schema.name!r} is {kind}, wanted as {want.value}")


@dataclass(slots=True)
class _Emitter:
    known: Names
    ops: list[list[int]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    jumps: list[int] = field(default_factory=list)
    depth: int = 0
    cut: Set[str] = frozenset()
    left_out: list[int] = field(default_factory=list)
    """Opcodes at which arrays begin that are fields of these names."""
    _nesting: int = 0
    _label: int = 0
    """Opcodes before this one may be jumped over or past: nothing is merged into them."""
    _field: str = ""

    def field(self, name: str, node: Any, column: Column | None) -> None:
        self._field = name
        if column is None:
            self._skip_field(name, node)
            return
        null, inner = nullable(self.known.resolve(node))
        if null < 0:
            self._read(self.known.resolve(inner), column)
            return
        branch = self._add(k.NULLABLE, column.slot, null, 0, int(column.kind))
        self._mark()
        self._read(self.known.resolve(inner), column)
        self.ops[branch][3] = self._mark()

    def _add(self, op: int, slot: int = -1, a: int = 0, b: int = 0, c: int = 0) -> int:
        if self.ops and len(self.ops) > self._label:
            last = self.ops[-1]
            if op == last[0] == k.FIXED:
                last[2] += a
                self.names[-1].append(self._field)
                return len(self.ops) - 1
            if op == last[0] == k.DOUBLE and slot == last[1] + last[2]:
                last[2] += 1
                self.names[-1].append(self._field)
                return len(self.ops) - 1
        self.ops.append([op, slot, a, b, c])
        self.names.append([self._field])
        return len(self.ops) - 1

    def _mark(self) -> int:
        self._label = len(self.ops)
        return self._label

    def _read(self, node: Any, column: Column) -> None:
        into = k.TO_NUMBER if column.kind is Kind.NUMBER else k.TO_INTEGER
        match column.type:
            case "double":
                self._add(k.DOUBLE, column.slot, 1)
            case "float":
                self._add(k.FLOAT, column.slot)
            case "long" | "int" | "boolean" | "enum":
                self._add(_WHOLE[column.type], column.slot, into, len(column.symbols))
            case "string" | "bytes":
                self._add(k.TEXT, column.slot, int(column.type == "string"))
            case _:
                null, item = nullable(node["items"])
                if type_of(item) == "double":
                    self._add(k.NUMBERS, column.slot)
                else:
                    self._add(k.TEXTS, column.slot, null)

    def _skip_field(self, name: str, node: Any) -> None:
        if name in self.cut:
            if type_of(self.known.resolve(node)) != "array":
                raise SchemaError(f"field {name!r} is no array, and cannot be left out")
            self.left_out.append(len(self.ops))
        self._skip(node)

    def _skip(self, node: Any) -> None:
        node = self.known.resolve(node)
        kind = type_of(node)
        match kind:
            case "null":
                pass
            case "double" | "float" | "fixed":
                size = {"double": 8, "float": 4}.get(kind) or int(node["size"])
                if size:
                    self._add(k.FIXED, -1, size)
            case "long" | "int" | "boolean" | "enum":
                symbols = len(node["symbols"]) if kind == "enum" else 0
                self._add(_WHOLE[kind], -1, k.DROP, symbols)
            case "string" | "bytes":
                self._add(k.TEXT, -1, int(kind == "string"))
            case "record" | "error":
                for part in node["fields"]:
                    self._skip_field(part["name"], part["type"])
            case "array":
                self._block(None, node["items"])
            case "map":
                self._block("string", node["values"])
            case "union":
                self._union(node)
            case _:
                raise SchemaError(f"field {self._field!r} has the unknown type {kind!r}")

    def _block(self, key: str | None, item: Any) -> None:
        least = min(self.known.extent(item).least + (key is not None), k.LONGEST)
        begin = self._add(k.BLOCK_BEGIN, -1, 0, least)
        self._mark()
        self._nesting += 1
        self.depth = max(self.depth, self._nesting)
        if key is not None:
            self._skip(key)
        self._skip(item)
        self._add(k.BLOCK_END, -1, begin)
        self._nesting -= 1
        self.ops[begin][2] = self._mark()

    def _union(self, branches: list[Any]) -> None:
        table = len(self.jumps)
        self.jumps.extend([0] * len(branches))
        self._add(k.UNION, -1, table, len(branches))
        leave = []
        for number, branch in enumerate(branches):
            self.jumps[table + number] = self._mark()
            self._skip(branch)
            leave.append(self._add(k.JUMP))
        end = self._mark()
        for jump in leave:
            self.ops[jump][2] = end


_KINDS = {
    Want.NUMBER: Kind.NUMBER,
    Want.INTEGER: Kind.INTEGER,
    Want.TEXT: Kind.SLICE,
    Want.BYTES: Kind.SLICE,
    Want.NUMBERS: Kind.ARRAY,
    Want.TEXTS: Kind.ARRAY,
}
_WHOLE = {"long": k.LONG, "int": k.INT, "boolean": k.BOOLEAN, "enum": k.ENUM}

"""Avro types as they are parsed: names, unions with null, and which schemas no reader may follow.

Some are refused, because hostile bytes would make a reader overflow its stack (fastavro's ends the
process) or loop for ever: recursive ones, arrays whose items take no bytes, and fixed values whose
size is none. Others, because a few lines of schema would be endless work: names that stand for
others twice over, again and again, are more types than any reader could go through, and types that
take no bytes are work that no length of a record bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.kernel.errors import SchemaError
from driftloop.kernel.schemas import MOST_NESTED, Schema

MOST_TYPES = 20_000
"""Of a schema, every name written out; a thousand nullable features are 4,001. A plan has at most
three opcodes for each, and fastavro needs some 2 us for one."""
MOST_EMPTY = 100
"""Types of a value that take no bytes, as nulls outside of unions."""
_LARGEST_FIXED = 2**31 - 1


def check_schema(schema: Schema, wanted: Iterable[str]) -> list[tuple[str, Any]]:
    """The record's fields as (name, type). Raises :class:`SchemaError` (see the module)."""
    node = schema.parsed
    if not isinstance(node, Mapping) or node.get("type") not in ("record", "error"):
        raise SchemaError(f"schema {schema.name!r} is no record")
    fields = [(str(f["name"]), f["type"]) for f in node["fields"]]
    lacking = [name for name in wanted if name not in dict(fields)]
    if lacking:
        raise SchemaError(
            f"schema {schema.name!r} has no field {lacking[0]!r}; it has "
            + ", ".join(repr(name) for name, _ in fields)
        )
    names = Names()
    names.learn(node)
    names.extent(node)
    return fields


def nullable(node: Any) -> tuple[int, Any]:
    """The branch that is null (-1: none) and the other one's type, of a union of null and one."""
    if isinstance(node, list) and len(node) == 2:
        for branch in (0, 1):
            if node[branch] in ("null", {"type": "null"}):
                return branch, node[1 - branch]
    return -1, node


def is_optional(schema: Schema, name: str) -> bool:
    """Whether a field may be null or has a default."""
    for part in schema.parsed["fields"]:
        if part["name"] == name:
            return "default" in part or nullable(part["type"])[0] >= 0
    return False


def items_of(schema: Schema, name: str) -> str:
    """The type of the items of a field that is an array, null left out; empty: it is none."""
    names = Names()
    names.learn(schema.parsed)
    for part in schema.parsed["fields"]:
        if part["name"] == name:
            array = names.resolve(nullable(names.resolve(part["type"]))[1])
            if type_of(array) == "array":
                return type_of(names.resolve(nullable(names.resolve(array["items"]))[1]))
    return ""


def type_of(node: Any) -> str:
    if isinstance(node, list):
        return "union"
    kind = node["type"] if isinstance(node, Mapping) else node
    return str(kind) if isinstance(kind, str) else type_of(kind)


@dataclass(frozen=True, slots=True)
class Extent:
    """What there is to go through of a type, every name in it written out."""

    least: int
    """Bytes of any value."""
    types: int
    empty: int
    """Types of a value that no byte of it is read for, at most."""
    depth: int
    """Types within one another."""


@dataclass(slots=True)
class Names:
    """Named types, and what must be known of types before bytes are read."""

    types: dict[str, Any] = field(default_factory=dict)
    _known: dict[str, Extent | None] = field(default_factory=dict)
    """Of records: each is gone through once, however many names stand for it. None: it is being
    gone through."""

    def learn(self, node: Any) -> None:
        if isinstance(node, list):
            for branch in node:
                self.learn(branch)
        elif isinstance(node, Mapping):
            if "name" in node and node.get("type") in ("record", "error", "enum", "fixed"):
                name = str(node["name"])
                if name in _BUILT_IN:
                    raise SchemaError(f"a type is named {name!r}, which means another one")
                self.types[name] = node
            for part in node.get("fields", ()):
                self.learn(part["type"])
            for key in ("items", "values"):
                if key in node:
                    self.learn(node[key])
            if isinstance(node.get("type"), Mapping | list):
                self.learn(node["type"])

    def resolve(self, node: Any) -> Any:
        """A name's definition; a type wrapped in an object of its own, unwrapped."""
        while True:
            if isinstance(node, str) and node in self.types:
                node = self.types[node]
            elif isinstance(node, Mapping) and isinstance(node["type"], Mapping | list):
                node = node["type"]
            elif isinstance(node, Mapping) and node["type"] in self.types:
                node = self.types[node["type"]]
            else:
                return node

    def extent(self, node: Any) -> Extent:
        """Raises :class:`SchemaError` for what no reader may follow (see the module)."""
        if type(node) is str and node in _PRIMITIVES:
            return _PRIMITIVES[node]
        node = self.resolve(node)
        match type_of(node):
            case "union":
                parts = [self.extent(branch) for branch in node]
                return Extent(
                    1 + min((part.least for part in parts), default=0),
                    1 + sum(part.types for part in parts),
                    # The branch's number is a byte, and stands for one of its types.
                    max(0, *(part.empty - 1 for part in parts)) if parts else 0,
                    1 + max((part.depth for part in parts), default=0),
                )
            case "record" | "error":
                name = str(node["name"])
                if name not in self._known:
                    self._known[name] = None
                    self._known[name] = self._of_record(name, node["fields"])
                known = self._known[name]
                if known is None:
                    raise SchemaError(
                        f"record {name!r} contains itself; bytes that nest without end would crash"
                        " a reader: use a schema without recursion"
                    )
                return known
            case "array" | "map" as kind:
                item = self.extent(node["items" if kind == "array" else "values"])
                if kind == "array" and item.least == 0:
                    raise SchemaError(
                        "an array whose items take no bytes could claim any length: give its items"
                        " a type that takes bytes"
                    )
                return Extent(1, 1 + item.types, item.empty, 1 + item.depth)
            case "fixed":
                size = node["size"]
                if type(size) is not int or not 0 <= size <= _LARGEST_FIXED:
                    raise SchemaError(f"fixed {node['name']!r} has the size {str(size)[:40]}")
                return Extent(size, 1, int(size == 0), 1)
            case kind:
                return _PRIMITIVES.get(kind) or Extent(1, 1, 0, 1)

    def _of_record(self, name: str, fields: Iterable[Mapping[str, Any]]) -> Extent:
        parts = [self.extent(part["type"]) for part in fields]
        found = Extent(
            sum(part.least for part in parts),
            1 + sum(part.types for part in parts),
            sum(part.empty for part in parts) if parts else 1,
            1 + max((part.depth for part in parts), default=0),
        )
        if found.types > MOST_TYPES:
            raise SchemaError(
                f"record {name!r} has {_count(found.types)} types, every name in it written out; no"
                f" reader follows more than {MOST_TYPES}"
            )
        if found.empty > MOST_EMPTY:
            raise SchemaError(
                f"record {name!r} has {_count(found.empty)} types that take no bytes; no reader"
                f" follows more than {MOST_EMPTY}"
            )
        if found.depth > MOST_NESTED:
            raise SchemaError(
                f"record {name!r} has {_count(found.depth)} types within one another, every name in"
                f" it written out; no reader follows more than {MOST_NESTED}"
            )
        return found


def _count(number: int) -> str:
    return str(number) if number < 10**9 else "more than 10^9"


_PRIMITIVES = {
    name: Extent(least, 1, int(least == 0), 1)
    for least, names in (
        (0, ("null",)),
        (1, ("boolean", "int", "long", "bytes", "string")),
        (4, ("float",)),
        (8, ("double",)),
    )
    for name in names
}
_BUILT_IN = {*_PRIMITIVES, "record", "error", "enum", "array", "map", "fixed", "union"}

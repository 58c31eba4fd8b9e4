"""Avro types as they are parsed: names, unions with null, and which schemas no reader may follow.

Two kinds are refused, because hostile bytes would make a reader overflow its stack (fastavro's ends
the process) or loop for ever: recursive ones, and arrays whose items take no bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.kernel.errors import SchemaError
from driftloop.kernel.schemas import Schema


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
    names.least_bytes(node, ())
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


def type_of(node: Any) -> str:
    if isinstance(node, list):
        return "union"
    kind = node["type"] if isinstance(node, Mapping) else node
    return str(kind) if isinstance(kind, str) else type_of(kind)


@dataclass(slots=True)
class Names:
    """Named types, and what must be known of types before bytes are read."""

    types: dict[str, Any] = field(default_factory=dict)

    def learn(self, node: Any) -> None:
        if isinstance(node, list):
            for branch in node:
                self.learn(branch)
        elif isinstance(node, Mapping):
            if "name" in node and "type" in node:
                self.types[str(node["name"])] = node
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

    def least_bytes(self, node: Any, within: tuple[str, ...]) -> int:
        """Of any value. Raises :class:`SchemaError` on recursion and on items of no bytes."""
        node = self.resolve(node)
        match type_of(node):
            case "union":
                return 1 + min((self.least_bytes(branch, within) for branch in node), default=0)
            case "record" | "error":
                name = str(node["name"])
                if name in within:
                    raise SchemaError(
                        f"record {name!r} contains itself; bytes that nest without end would crash"
                        " a reader: use a schema without recursion"
                    )
                inside = (*within, name)
                return sum(self.least_bytes(part["type"], inside) for part in node["fields"])
            case "array":
                if self.least_bytes(node["items"], within) == 0:
                    raise SchemaError(
                        "an array whose items take no bytes could claim any length: give its items"
                        " a type that takes bytes"
                    )
                return 1
            case "map":
                self.least_bytes(node["values"], within)
                return 1
            case "double":
                return 8
            case "float":
                return 4
            case "fixed":
                return int(node["size"])
            case "null":
                return 0
            case _:
                return 1

"""What a user's event schema offers: its fields, and what each can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

NUMERIC_TYPES = ("double", "float", "int", "long", "boolean")
VECTOR_TYPES = ("array of double", "array of float", "array of long", "array of int")
CATEGORICAL_TYPES = ("string", "enum", "int", "long", "boolean")


@dataclass(frozen=True, slots=True)
class EventField:
    """One field of a record schema."""

    type: str
    """An Avro type's name; of a union with null the other branch; of other unions ``union``; of an
    array ``array of`` its items' type."""
    logical: str
    """Its logical type, or empty."""
    nullable: bool

    @override
    def __str__(self) -> str:
        name = f"{self.type} ({self.logical})" if self.logical else self.type
        return f"nullable {name}" if self.nullable else name


def event_fields(text: str) -> Mapping[str, EventField] | None:
    """Fields by name, in order, of a schema ``parse_schema`` takes; None if it is no record."""
    raw = json.loads(text)
    if not isinstance(raw, dict) or raw.get("type") != "record":
        return None
    named: dict[str, str] = {}
    return {field["name"]: _field(field["type"], named) for field in raw["fields"]}


def _field(node: Any, named: dict[str, str]) -> EventField:
    """``named``: types that the schema has named so far, and what they are."""
    if isinstance(node, list):
        fields = [_field(branch, named) for branch in node]
        others = [field for field in fields if field.type != "null"]
        nullable = len(others) < len(fields) or any(field.nullable for field in others)
        if len(others) != 1:
            return EventField("union", "", nullable)
        return EventField(others[0].type, others[0].logical, nullable)
    if isinstance(node, dict):
        kind = node["type"]
        if isinstance(kind, dict | list):
            return _field(kind, named)
        if "name" in node:
            named[str(node["name"])] = str(kind)
        if kind == "array":
            item = _field(node["items"], named)
            return EventField(f"array of {item}", "", False)
        return EventField(str(kind), str(node.get("logicalType", "")), False)
    return EventField(named.get(str(node), str(node)), "", False)

"""Avro schemas: where they lie, how they are parsed, and their CRC-64-AVRO fingerprints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import fastavro
import fastavro.schema

from driftloop.kernel.errors import SchemaError

MOST_NESTED = 100
"""Types within one another. Whoever follows a schema calls itself once or twice for each."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A parsed schema and what identifies it."""

    name: str
    text: str
    parsed: Any
    """fastavro's parsed form, logical types removed: times stay integers."""
    fingerprint: bytes
    """CRC-64-AVRO of the canonical form, 8 bytes little-endian (Avro 1.11, single-object
    encoding)."""


@lru_cache(maxsize=256)
def parse_schema(text: str, *, source: str = "schema") -> Schema:
    """Parse Avro JSON text. Raises :class:`SchemaError` naming ``source``."""
    try:
        raw = json.loads(text)
        _check_records(raw, 0)
        plain = _without_logical_types(raw)
        parsed = fastavro.schema.parse_schema(plain)
        canonical = fastavro.schema.to_parsing_canonical_form(plain)
        digest = fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
    except (ValueError, KeyError, TypeError, fastavro.schema.SchemaParseException) as error:
        raise SchemaError(f"{source} is no valid Avro schema: {error}") from error
    except RecursionError as error:
        raise SchemaError(f"{source} is nested too deep for an Avro schema") from error
    name = raw.get("name", "") if isinstance(raw, Mapping) else ""
    return Schema(str(name), text, parsed, bytes.fromhex(digest))


@cache
def record_schema(name: str, version: int | None = None) -> Schema:
    """The schema of one of driftloop's records (``window``); the newest without a version."""
    versions = schema_versions().get(name)
    if not versions:
        raise SchemaError(f"no schema named {name!r} is shipped with driftloop")
    chosen = versions[-1] if version is None else version
    file = resources.files("driftloop") / "schemas" / f"{name}.{chosen}.avsc"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SchemaError(f"schema {name!r} has no version {chosen}; it has {versions}") from error
    return parse_schema(text, source=f"{name}.{chosen}.avsc")


@cache
def schema_versions() -> Mapping[str, tuple[int, ...]]:
    """Record name to the versions of its schema, ascending."""
    found: dict[str, list[int]] = {}
    for file in (resources.files("driftloop") / "schemas").iterdir():
        parts = file.name.split(".")
        if len(parts) == 3 and parts[2] == "avsc" and parts[1].isdigit():
            found.setdefault(parts[0], []).append(int(parts[1]))
    return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}


def _check_records(node: Any, depth: int) -> None:
    """What fastavro takes for granted. Raises ValueError, KeyError or TypeError."""
    if depth > MOST_NESTED:
        raise ValueError(f"more than {MOST_NESTED} types are nested in one another")
    if isinstance(node, list):
        for branch in node:
            _check_records(branch, depth + 1)
    elif isinstance(node, dict):
        kind = node.get("type")
        if kind in ("record", "error"):
            name, fields = node.get("name"), node.get("fields")
            if not isinstance(fields, list):
                raise ValueError(f"record {name!r} has no list of fields")
            names = [field["name"] for field in fields]
            strange = [name for name in names if not isinstance(name, str)]
            if strange:
                raise ValueError(f"record {name!r} has a field that is named {strange[0]!r}")
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"record {name!r} has two fields {twice!r}")
            for field in fields:
                _check_records(field.get("type"), depth + 1)
        elif isinstance(kind, dict | list):
            _check_records(kind, depth + 1)
        for part in ("items", "values"):
            _check_records(node.get(part), depth + 1)


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_logical_types(v) for k, v in node.items() if k != "logicalType"}
    if isinstance(node, list):
        return [_without_logical_types(item) for item in node]
    return node

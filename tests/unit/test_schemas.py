"""Every record fits its newest schema, and what was given out stays readable and untouched."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.records import codec, schema_name
from driftloop.kernel.compatibility import version_problems
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.records import RECORDS
from driftloop.kernel.schemas import parse_schema, record_schema, schema_versions

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a record's field type that every Avro type of that field can hold."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = {f.name: values(hints[f.name]) for f in dataclasses.fields(kind)}
        return st.builds(typing.cast(Any, kind), **parts)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is collections.abc.Mapping:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*(values(argument) for argument in arguments))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(-(2**31), 2**31 - 1),
        float: st.floats(allow_nan=False),
        str: st.text(max_size=5),
        bytes: st.binary(max_size=5),
    }
    return simple[kind]


def field_names(kind: Any) -> Any:
    """Nested names in order, of every dataclass inside: what its schema's fields must be."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {f.name: field_names(hints[f.name]) for f in dataclasses.fields(kind)}
    inner = [field_names(a) for a in typing.get_args(kind)]
    return next((names for names in inner if names), None)


def schema_names(node: Any, known: dict[str, Any]) -> Any:
    """The same of a schema in JSON."""
    if isinstance(node, str):
        return schema_names(known[node], known) if node in known else None
    if isinstance(node, list):
        return next((n for n in (schema_names(b, known) for b in node) if n), None)
    if node["type"] == "record":
        known[node["name"]] = node
        return {item["name"]: schema_names(item["type"], known) for item in node["fields"]}
    inner = node.get("items") or node.get("values") or node["type"]
    return None if inner == node["type"] and isinstance(inner, str) else schema_names(inner, known)


def in_order(names: Any) -> Any:
    """Dicts compare without order; lists of pairs do not."""
    if isinstance(names, dict):
        return [(name, in_order(inner)) for name, inner in names.items()]
    return names


@pytest.mark.parametrize("kind", RECORDS, ids=schema_name)
def test_a_record_has_the_fields_of_its_newest_schema_in_order(kind: type) -> None:
    schema = json.loads(record_schema(schema_name(kind)).text)

    assert in_order(field_names(kind)) == in_order(schema_names(schema, {}))


@pytest.mark.parametrize("kind", RECORDS, ids=schema_name)
@given(data=st.data())
@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
def test_a_record_comes_back_from_its_schema_unchanged(kind: type, data: st.DataObject) -> None:
    record = data.draw(values(kind))

    assert codec(kind).decode(codec(kind).encode(record)) == record


def test_every_schema_belongs_to_a_record() -> None:
    assert set(schema_versions()) == {schema_name(kind) for kind in RECORDS}


def test_published_versions_are_untouched_and_every_version_reads_every_other() -> None:
    files = {path.name: path.read_bytes() for path in SCHEMAS.glob("*.avsc")}
    published = json.loads((SCHEMAS / "published.json").read_text(encoding="utf-8"))

    assert version_problems(files, published) == []


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ('{"type": "record", "name": "A", "fimlds": []}', "record 'A' has no list of fields"),
        ('{"type": "record", "name": "A", "fields": {"name": "x"}}', "no list of fields"),
        ('{"type": "record", "name": "A", "fields": [{"name": 5, "type": "int"}]}', "named 5"),
        (
            '{"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"},'
            ' {"name": "x", "type": "long"}]}',
            "two fields 'x'",
        ),
        (
            '{"type": "record", "name": "A", "fields": [{"name": "x", "type": ["null",'
            ' {"type": "array", "items": {"type": "record", "name": "B"}}]}]}',
            "record 'B' has no list of fields",
        ),
    ],
)
def test_a_record_without_proper_fields_is_refused(schema: str, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        parse_schema(schema)

"""Schemas that no reader may follow: a few lines of them would be endless work, or crash it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from driftloop.kernel.codec.avro_types import MOST_EMPTY, MOST_TYPES, Names, check_schema
from driftloop.kernel.codec.columns import ColumnReader
from driftloop.kernel.codec.plan import Want, compile_cut, compile_plan
from driftloop.kernel.codec.wire import Wire
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import MOST_NESTED, Schema, parse_schema
from registries import FakeRegistry

WANTED = {"id": Want.TEXT}


def text_of(*kinds: Any) -> str:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(kinds)]
    fields.insert(0, {"name": "id", "type": "string"})
    return json.dumps({"type": "record", "name": "Top", "fields": fields})


def doubling(levels: int, leaf: Any = "int") -> dict[str, Any]:
    """A record whose every level holds the one below twice: 2^levels leaves, in a few lines."""
    inner: dict[str, Any] = {
        "type": "record",
        "name": "R0",
        "fields": [{"name": "a", "type": leaf}],
    }
    for level in range(1, levels + 1):
        again = {"name": "b", "type": f"R{level - 1}"}
        fields = [{"name": "a", "type": inner}, again]
        inner = {"type": "record", "name": f"R{level}", "fields": fields}
    return inner


def chain(length: int) -> list[dict[str, Any]]:
    """Records side by side, each of which names the one before."""
    return [
        {
            "type": "record",
            "name": f"R{number}",
            "fields": [{"name": "a", "type": f"R{number - 1}" if number else "int"}],
        }
        for number in range(length)
    ]


HOSTILE = {
    "doubled": (doubling(60), "types, every name in it written out"),
    "doubled in arrays": (
        {"type": "array", "items": doubling(60)},
        "types, every name in it written out",
    ),
    "doubled in a union": (["null", doubling(60)], "types, every name in it written out"),
    "doubled nulls": (doubling(8, "null"), "128 types that take no bytes"),
    "doubled empty fixed": (
        doubling(8, {"type": "fixed", "name": "F", "size": 0}),
        "128 types that take no bytes",
    ),
    "a fixed of no size": ({"type": "fixed", "name": "F", "size": -8}, "fixed 'F' has the size -8"),
    "a fixed beyond 64 bits": (
        {"type": "fixed", "name": "F", "size": 2**70},
        "fixed 'F' has the size",
    ),
    "a name that means another type": (
        {"type": "enum", "name": "enum", "symbols": ["a"]},
        "a type is named 'enum'",
    ),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_schema_of_endless_work_is_refused(which: str) -> None:
    kind, why = HOSTILE[which]
    schema = parse_schema(text_of(kind))
    with pytest.raises(SchemaError, match=why):
        ColumnReader(schema, WANTED)
    with pytest.raises(SchemaError, match=why):
        compile_cut(schema, set())


@pytest.mark.parametrize("which", HOSTILE)
def test_a_registrys_schema_of_endless_work_is_a_dead_letter(which: str) -> None:
    kind, why = HOSTILE[which]
    registry = FakeRegistry()
    registry.schemas[5] = text_of(kind)
    with pytest.raises(DecodeError, match=why) as caught:
        Wire(registry).writer(5)
    assert caught.value.reason == Reason.WRONG_SCHEMA


def test_types_are_nested_no_deeper_than_a_reader_can_call_itself() -> None:
    deep: Any = "int"
    for _ in range(MOST_NESTED):
        deep = {"type": "array", "items": deep}
    with pytest.raises(SchemaError, match="nested"):
        parse_schema(text_of(deep))
    with pytest.raises(SchemaError, match="nested too deep"):
        parse_schema('{"type": "array", "items": ' * 100_000)
    with pytest.raises(SchemaError, match="types within one another"):
        check_schema(parse_schema(text_of(*chain(5000))), ())
    assert compile_plan(parse_schema(text_of(*chain(MOST_NESTED - 2))), WANTED).ops.shape[0] > 0


def test_every_name_is_gone_through_once() -> None:
    class Counting(Names):
        seen = 0

        def _of_record(self, name: str, fields: Any) -> Any:
            Counting.seen += 1
            return super()._of_record(name, fields)

    schema = parse_schema(text_of(doubling(10)))
    names = Counting()
    names.learn(schema.parsed)
    found = names.extent(schema.parsed)
    assert Counting.seen == 12
    # The string, 2^10 ints, and as many records as a full tree of that height has.
    assert (found.least, found.types) == (1 + 1024, 1 + 1 + 1024 + 2047)


def opcodes(schema: Schema, wanted: Mapping[str, Want]) -> int:
    return len(compile_plan(schema, wanted).ops)


def test_wide_schemas_and_names_used_often_are_still_read() -> None:
    wide = parse_schema(text_of(*[["null", "double"]] * 6000))
    assert opcodes(wide, WANTED) <= 3 * MOST_TYPES
    assert opcodes(parse_schema(text_of(doubling(11))), WANTED) == 1 + 2048
    point = {"type": "record", "name": "P", "fields": [{"name": "x", "type": "double"}]}
    uses = [{"type": "array", "items": point}, *[["null", "P"]] * 500]
    assert opcodes(parse_schema(text_of(*uses)), WANTED) < 3000
    nulls = parse_schema(text_of(*["null"] * MOST_EMPTY))
    assert opcodes(nulls, WANTED) == 1

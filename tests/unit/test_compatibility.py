"""The schema checker finds what is incompatible, and only that."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.kernel.compatibility import (
    default_problems,
    digest,
    full_problems,
    reading_problems,
    version_problems,
)
from driftloop.kernel.errors import SchemaError


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def item(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
A = item("a", "int")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (record(A), record(A, item("b", "string"))),
        (record(A, item("b", "string")), record(A)),
        (record(A), record(item("a", "long"))),
        (record(A), record(item("a", "string"))),
        (record(A), record(item("c", "int"))),
        (record(A), record(A, name="S")),
        (record(A), record(item("a", ["null", "int"]))),
        (record(item("a", ENUM)), record(item("a", {**ENUM, "symbols": ["A", "B", "C"]}))),
        (
            record(item("a", {"type": "array", "items": record(A, name="I")})),
            record(item("a", {"type": "array", "items": record(A, item("b", "int"), name="I")})),
        ),
        (
            record(item("a", {"type": "map", "values": "long"})),
            record(item("a", {"type": "map", "values": "double"})),
        ),
        (
            record(item("a", {"type": "fixed", "name": "F", "size": 4})),
            record(item("a", {"type": "fixed", "name": "F", "size": 8})),
        ),
    ],
    ids=[
        "field added without default", "field removed without default", "type widened",
        "type changed", "field renamed", "record renamed", "made optional", "symbol added",
        "inside an array", "inside a map", "size changed",
    ],
)  # fmt: skip
def test_an_incompatible_change_is_found(older: Any, newer: Any) -> None:
    assert full_problems(older, newer)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (record(A), record(A)),
        (record(A), record(A, item("b", "string", default=""))),
        (record(A, item("b", "string", default="")), record(A)),
        (record(A, item("b", "int")), record(item("b", "int"), A)),
        (record(A), record({**A, "doc": "about a"})),
        (record(item("a", "string")), record(item("a", "bytes"))),
        (record(item("a", "long")), record(item("a", {"type": "long", "logicalType": "t"}))),
        (
            record(item("a", {**ENUM, "default": "A"})),
            record(item("a", {**ENUM, "symbols": ["A", "B", "C"], "default": "A"})),
        ),
        (record(item("a", ["null", "R"])), record(item("a", ["null", "R"]))),
    ],
    ids=[
        "nothing", "field added with default", "field removed with default", "order", "doc",
        "string as bytes", "logical type", "symbol added beside a default", "recursion",
    ],
)  # fmt: skip
def test_a_compatible_change_passes(older: Any, newer: Any) -> None:
    assert full_problems(older, newer) == []


def test_a_promotion_reads_one_way_only() -> None:
    assert reading_problems("double", "int") == []
    assert reading_problems("int", "double")


def test_a_problem_names_where_it_is() -> None:
    nested = {"type": "array", "items": record(A, item("b", "int"), name="I")}
    before = {"type": "array", "items": record(A, name="I")}

    (text,) = reading_problems(record(item("list", nested)), record(item("list", before)))

    assert text == "R.list[].b: absent from the data and without a default"


@pytest.mark.parametrize(("written", "fits"), [("int", True), ("string", False)])
def test_names_in_unions_do_not_double_the_work_at_every_level(written: str, fits: bool) -> None:
    def tower(kind: str) -> Any:
        inner = record(item("a", kind), name="R0")
        for level in range(1, 60):
            again = item("b", ["null", f"R{level - 1}"])
            inner = record(item("a", ["null", inner]), again, name=f"R{level}")
        return inner

    assert (reading_problems(tower("long"), tower(written)) == []) is fits


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int", "1"), ("int", 2**31), ("int", True), ("string", None), (["int", "null"], None),
     ({"type": "array", "items": "int"}, ["x"]), (record(A, name="I"), {})],
)  # fmt: skip
def test_a_default_of_another_type_is_found(kind: Any, value: Any) -> None:
    assert default_problems(record(item("b", kind, default=value)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int", 1), ("double", 1), ("string", ""), (["null", "int"], None), ("bytes", ""),
     ({"type": "map", "values": "int"}, {"x": 1}), (record(A, name="I"), {"a": 1})],
)  # fmt: skip
def test_a_default_of_its_type_passes(kind: Any, value: Any) -> None:
    assert default_problems(record(item("b", kind, default=value))) == []


def test_a_type_that_is_defined_nowhere_is_an_error() -> None:
    with pytest.raises(SchemaError, match="Missing"):
        reading_problems(record(item("a", "Missing")), record(item("a", "Missing")))


def _file(schema: Any) -> bytes:
    return json.dumps(schema).encode()


def test_a_published_version_edited_in_place_is_found() -> None:
    (text,) = version_problems({"r.1.avsc": _file(record(A))}, {"r.1.avsc": digest(b"before")})

    assert "edited in place" in text
    assert "r.2.avsc" in text


def test_a_published_version_that_is_gone_is_found() -> None:
    (text,) = version_problems({}, {"r.1.avsc": digest(b"")})

    assert "gone" in text


def test_a_version_that_was_never_recorded_is_found() -> None:
    (text,) = version_problems({"r.1.avsc": _file(record(A))}, {})

    assert "not recorded" in text


def test_every_pair_of_versions_is_compared_not_only_neighbours() -> None:
    files = {
        "r.1.avsc": _file(record(A)),
        "r.2.avsc": _file(record(A, item("b", "int", default=0))),
        "r.3.avsc": _file(record(A, item("b", "int"))),
    }
    problems = version_problems(files, {name: digest(text) for name, text in files.items()})

    assert [text.partition(":")[0] for text in problems] == ["r.3.avsc against r.1.avsc"]


def test_versions_count_up_from_one() -> None:
    files = {"r.2.avsc": _file(record(A))}

    (text,) = version_problems(files, {name: digest(data) for name, data in files.items()})

    assert "count up" in text


def test_a_file_that_is_no_version_is_found() -> None:
    assert version_problems({"R.avsc": b"{}"}, {})


PRIMITIVES = ("boolean", "int", "long", "float", "double", "string", "bytes")
TYPES = st.one_of(
    st.sampled_from(PRIMITIVES),
    st.sampled_from(PRIMITIVES).map(lambda p: ["null", p]),
    st.sampled_from(PRIMITIVES).map(lambda p: {"type": "array", "items": p}),
)
VALUES: dict[str, Any] = {
    "boolean": True, "int": 7, "long": 7, "float": 0.5, "double": 0.5, "string": "x", "bytes": b"x",
}  # fmt: skip
DEFAULTS: dict[str, Any] = {**VALUES, "bytes": "x"}


def _value(kind: Any, values: dict[str, Any]) -> Any:
    if isinstance(kind, str):
        return values[kind]
    return None if isinstance(kind, list) else []


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    kinds = draw(st.dictionaries(st.sampled_from("abc"), TYPES, min_size=1))
    return record(
        *(
            item(name, kind, default=_value(kind, DEFAULTS))
            if draw(st.booleans())
            else item(name, kind)
            for name, kind in kinds.items()
        )
    )


@given(reader=schemas(), writer=schemas())
def test_what_passes_is_read_by_fastavro(reader: dict[str, Any], writer: dict[str, Any]) -> None:
    if reading_problems(reader, writer):
        return
    data = {field["name"]: _value(field["type"], VALUES) for field in writer["fields"]}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(writer), data)
    out.seek(0)

    read = fastavro.schemaless_reader(
        out, fastavro.parse_schema(writer), fastavro.parse_schema(reader)
    )

    assert set(read) == {field["name"] for field in reader["fields"]}


@given(schema=schemas())
def test_a_schema_reads_itself(schema: dict[str, Any]) -> None:
    assert full_problems(schema, schema) == []

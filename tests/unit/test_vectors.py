"""Arrays of numbers as features: declared, decoded by every way alike, wrong lengths rejected."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import orjson
import pytest
from test_event_decoder import FIELDS, declaration, schema_of

from driftloop.kernel import declaration_fields
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.declaration import Declaration, Format, NumericFeature, VectorFeature
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.errors import DeclarationError
from driftloop.kernel.reasons import Reason

ARRAY = {"type": "array", "items": "double"}
NAN = float("nan")
ROWS: list[list[float] | None] = [[0.5, 1.5, -2.0], [NAN, 3.0, 4.0], None]


def model(node: Any, form: Format = Format.AVRO) -> Declaration:
    """Seats, then the vector, then speed."""
    fields = [*FIELDS, {"name": "embedding", "type": node}]
    elements = [NumericFeature(f"embedding[{k}]", -10.0, 10.0) for k in range(3)]
    base = declaration(form, schema_of(*fields))
    return replace(
        base,
        numeric=(base.numeric[0], *elements, base.numeric[1]),
        vectors=(VectorFeature("embedding", 3, 1),),
    )


def event(vector: Any) -> dict[str, Any]:
    return {
        "id": "e1",
        "when": 1500,
        "note": None,
        "speed": 2.5,
        "seats": 180,
        "carrier": "A",
        "rank": -3,
        "night": True,
        "kind": "prop",
        "embedding": vector,
    }


def encoded(declared: Declaration, vector: Any) -> bytes:
    if declared.events.format is Format.JSON:
        return orjson.dumps(event(vector))
    schema = declared.events.schema
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema.parsed, event(vector))
    return framing.header(schema.fingerprint) + out.getvalue()


WAYS = [
    (["null", ARRAY], Format.AVRO),
    ([ARRAY, "null"], Format.AVRO),
    (["null", {"type": "array", "items": "float"}], Format.AVRO),
    (["null", ARRAY], Format.JSON),
]


@pytest.mark.parametrize(("node", "form"), WAYS)
def test_each_number_is_a_feature_in_its_place(node: Any, form: Format) -> None:
    declared = model(node, form)
    block, rejected = EventDecoder(declared).decode([encoded(declared, row) for row in ROWS])
    assert rejected == []
    np.testing.assert_array_equal(
        block.features.numeric,
        [[180, 0.5, 1.5, -2, 2.5], [180, NAN, 3, 4, 2.5], [180, NAN, NAN, NAN, 2.5]],
    )


@pytest.mark.parametrize(("node", "form"), WAYS)
def test_a_wrong_length_or_value_is_rejected_beside_good_rows(node: Any, form: Format) -> None:
    declared = model(node, form)
    vectors = [[], [1.0, 2.0], [1.0, 2.0, 3.0], [1.0] * 4, [1.0, 11.0, 0.0]]
    block, rejected = EventDecoder(declared).decode([encoded(declared, v) for v in vectors])
    assert block.rows.tolist() == [2]
    assert block.features.numeric[0].tolist() == [180, 1, 2, 3, 2.5]
    assert [(r.row, r.error.reason) for r in rejected] == [
        (0, Reason.WRONG_LENGTH),
        (1, Reason.WRONG_LENGTH),
        (3, Reason.WRONG_LENGTH),
        (4, Reason.OUT_OF_LIMITS),
    ]
    assert rejected[1].error.detail == "field 'embedding' has 2 numbers, not 3"
    assert "'embedding[1]' is 11.0" in rejected[3].error.detail


@pytest.mark.parametrize("vector", [[1.0, "2", 3.0], [1, True, 3], [[1], 2, 3], "abc", 7, {}])
def test_json_that_is_no_array_of_numbers_is_rejected(vector: Any) -> None:
    declared = model(["null", ARRAY], Format.JSON)
    values = [encoded(declared, vector), encoded(declared, [1, 2.5, 3])]
    block, rejected = EventDecoder(declared).decode(values)
    assert [r.error.reason for r in rejected] == [Reason.WRONG_TYPE]
    assert block.features.numeric[0].tolist() == [180, 1, 2.5, 3, 2.5]


@pytest.mark.parametrize(
    ("items", "vector", "detail"),
    [
        ("int", [1, 2.5, 3], "entry 1, is 2.5, an int is wanted"),
        ("int", [1, 2, 2**31], "entry 2, is 2147483648, more than 32 bits"),
        ("long", [-1e300, 2, 3], "entry 0, is -1e+300, more than 64 bits"),
        ("float", [1, 2, 1e39], "entry 2, is 1e+39, more than a float can be"),
        ("double", [1, True, 3], "entry 1, is True, a number is wanted"),
    ],
)
def test_entries_of_json_arrays_are_of_their_type(
    items: str, vector: list[Any], detail: str
) -> None:
    declared = model({"type": "array", "items": items}, Format.JSON)
    values = [encoded(declared, row) for row in (vector, [1.0, None, 3], None)]
    block, rejected = EventDecoder(declared).decode(values)
    assert block.rows.tolist() == [1]
    assert [r.error.detail for r in rejected] == [
        f"field 'embedding', {detail}",
        "field 'embedding' is null, which the schema does not let it be",
    ]


def test_avro_arrays_take_the_compiled_way() -> None:
    reader = EventDecoder(model(ARRAY))._reader
    assert reader.is_compiled  # type: ignore[union-attr]


TOML = """
[model]
name = "m"
[events]
schema = "e.avsc"
id = "id"
time = "when"
[[features]]
name = "seats"
kind = "numeric"
[[features]]
name = "embedding"
kind = "vector"
length = 3
limits = [-1, 1]
[[features]]
name = "speed"
kind = "numeric"
"""


def parsed(text: str, node: Any = ARRAY) -> Declaration:
    fields = [*FIELDS, {"name": "embedding", "type": node}]
    schema = json.dumps({"type": "record", "name": "E", "fields": fields})
    return parse_declaration(text, source="m.toml", event_schema=schema)


def test_a_declared_vector_stands_among_the_numeric_features() -> None:
    declared = parsed(TOML)
    names = ["seats", "embedding[0]", "embedding[1]", "embedding[2]", "speed"]
    assert [part.name for part in declared.numeric] == names
    assert declared.numeric[2] == NumericFeature("embedding[1]", -1.0, 1.0)
    assert declared.vectors == (VectorFeature("embedding", 3, 1),)
    assert declared.numeric_fields == ("seats", *["embedding"] * 3, "speed")


def test_there_are_no_more_features_than_a_record_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declaration_fields, "MOST_FEATURES", 4)
    with pytest.raises(DeclarationError, match="there are 5 features"):
        parsed(TOML)


@pytest.mark.parametrize(
    ("text", "node", "says"),
    [
        (TOML.replace("length = 3\n", ""), ARRAY, "lacks length"),
        (TOML.replace("length = 3", "length = 0"), ARRAY, "between 1 and 1024"),
        (TOML, {"type": "array", "items": "string"}, "is a array of string in the schema"),
        (TOML, "double", "must be array of double"),
        (TOML.replace('"vector"', '"numeric"'), ARRAY, "only a vector has a length"),
    ],
)
def test_a_wrong_declaration_of_one_says_what_is_wrong(text: str, node: Any, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        parsed(text, node)

"""Generated Avro schemas with records of them."""

from __future__ import annotations

import io
import json
import math
import struct
from typing import Any

import fastavro
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from driftloop.kernel.codec import framing
from driftloop.kernel.codec.plan import Want
from driftloop.kernel.schemas import Schema, parse_schema

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXTS = st.text(max_size=12)
SINGLES = st.floats(width=32, allow_nan=True)
LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
NULLABLE_TEXT = ["null", "string"]

SCALARS: list[tuple[Any, Want, st.SearchStrategy[Any]]] = [
    ("double", Want.NUMBER, st.floats()),
    ("float", Want.NUMBER, SINGLES),
    ("int", Want.INTEGER, INTS),
    ("long", Want.INTEGER, LONGS),
    ({"type": "long", "logicalType": "timestamp-millis"}, Want.INTEGER, LONGS),
    ("boolean", Want.INTEGER, st.booleans()),
    ("string", Want.TEXT, TEXTS),
    ("bytes", Want.BYTES, st.binary(max_size=12)),
    ("ENUM", Want.INTEGER, st.sampled_from(["red", "green", "blue"])),
    ({"type": "array", "items": "double"}, Want.NUMBERS, st.lists(st.floats(), max_size=5)),
    ({"type": "array", "items": "string"}, Want.TEXTS, st.lists(TEXTS, max_size=5)),
    (
        {"type": "array", "items": NULLABLE_TEXT},
        Want.TEXTS,
        st.lists(st.none() | TEXTS, max_size=5),
    ),
    (
        {"type": "array", "items": ["string", "null"]},
        Want.TEXTS,
        st.lists(st.none() | TEXTS, max_size=5),
    ),
]
_POINT = [{"name": "x", "type": "double"}, {"name": "label", "type": NULLABLE_TEXT}]
SKIPPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("RECORD", st.fixed_dictionaries({"x": st.floats(), "label": st.none() | TEXTS})),
    ("FIXED", st.binary(min_size=5, max_size=5)),
    ("null", st.none()),
    ({"type": "map", "values": "int"}, st.dictionaries(TEXTS, INTS, max_size=3)),
    (
        {"type": "array", "items": {"type": "array", "items": "long"}},
        st.lists(st.lists(LONGS, max_size=3), max_size=3),
    ),
    (["int", "null", "string", "double"], st.none() | TEXTS | st.floats() | INTS),
    (["null", {"type": "array", "items": "boolean"}], st.none() | st.lists(st.booleans())),
]


@st.composite
def cases(draw: st.DrawFn, *, skipped: bool = True) -> tuple[Schema, dict[str, Want], list[Any]]:
    """A schema, what is wanted of it, and records."""
    fields, wanted, values = [], {}, {}
    for number in range(draw(st.integers(1, 6))):
        name = f"f{number}"
        if skipped and draw(st.integers(0, 2)) == 0:
            kind, strategy = draw(st.sampled_from(SKIPPED))
        else:
            kind, want, strategy = draw(st.sampled_from(SCALARS))
            wanted[name] = want
            null_first = draw(st.sampled_from([None, True, False]))
            if null_first is not None:
                kind = ["null", kind] if null_first else [kind, "null"]
                strategy = st.none() | strategy
            if skipped and draw(st.integers(0, 3)) == 0:
                del wanted[name]
        fields.append({"name": name, "type": named(kind, number)})
        values[name] = strategy
    schema = parse_schema(json.dumps({"type": "record", "name": "Row", "fields": fields}))
    return schema, wanted, draw(st.lists(st.fixed_dictionaries(values), max_size=4))


def named(kind: Any, number: int) -> Any:
    match kind:
        case "ENUM":
            return {"type": "enum", "name": f"E{number}", "symbols": ["red", "green", "blue"]}
        case "FIXED":
            return {"type": "fixed", "name": f"F{number}", "size": 5}
        case "RECORD":
            return {"type": "record", "name": f"R{number}", "fields": _POINT}
        case list():
            return [named(branch, number) for branch in kind]
        case _:
            return kind


def encoded(schema: Schema, records: list[Any]) -> list[bytes]:
    out = []
    for record in records:
        buffer = io.BytesIO()
        buffer.write(framing.header(schema.fingerprint))
        fastavro.schemaless_writer(buffer, schema.parsed, record)
        out.append(buffer.getvalue())
    return out


def same(left: Any, right: Any) -> bool:
    """Equal, with NaN equal to NaN and -0.0 not to 0.0."""
    if isinstance(left, float) or isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return bool(left == right)

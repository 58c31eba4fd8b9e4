"""Records read without some of their arrays, over generated schemas, records and damaged bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_cases import QUICK, cases, encoded, same
from decision_builders import outcomes, predictions
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.kernels import cut
from driftloop.kernel.codec.plan import Want, compile_cut
from driftloop.kernel.codec.records import codec, read_avro
from driftloop.kernel.decisions import HISTOGRAMS
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.records import Window
from driftloop.kernel.schemas import Schema, parse_schema

Case = tuple[Schema, dict[str, Want], list[Any]]


def shortened(schema: Schema, body: bytes, names: set[str]) -> bytes | None:
    how = compile_cut(schema, names)
    out = np.empty(len(body), dtype=np.uint8)
    data = np.frombuffer(body, dtype=np.uint8)
    length = cut(data, how.ops, how.jumps, how.depth, how.left_out, out)
    return out[:length].tobytes() if length >= 0 else None


def arrays(schema: Schema) -> list[str]:
    return [
        field["name"]
        for field in schema.parsed["fields"]
        if isinstance(field["type"], dict) and field["type"]["type"] == "array"
    ]


@QUICK
@given(cases(), st.data())
def test_everything_else_is_as_it_was(case: Case, data: st.DataObject) -> None:
    schema, _, records = case
    known = arrays(schema)
    names = set(data.draw(st.lists(st.sampled_from(known)))) if known else set()
    for value in encoded(schema, records):
        body = value[len(framing.header(schema.fingerprint)) :]
        less = shortened(schema, body, names)
        assert less is not None
        whole = read_avro(schema, body)
        for name in names:
            whole[name] = []
        assert same(read_avro(schema, less), whole)
        if not names:
            assert less == body


@QUICK
@given(cases(), st.data())
def test_damaged_bytes_are_told_or_read_as_fastavro_reads_them(
    case: Case, data: st.DataObject
) -> None:
    schema, _, records = case
    names = set(arrays(schema))
    for value in encoded(schema, records):
        body = bytearray(value[len(framing.header(schema.fingerprint)) :])
        if not body:
            continue
        for _ in range(data.draw(st.integers(1, 4))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        less = shortened(schema, bytes(body), names)
        if less is None:
            continue
        try:
            whole = read_avro(schema, bytes(body))
        except DecodeError:
            continue  # fastavro looks into what is left out, too
        for name in names:
            whole[name] = []
        assert same(read_avro(schema, less), whole)


NESTED = parse_schema(
    json.dumps(
        {
            "type": "record",
            "name": "Outer",
            "fields": [
                {
                    "name": "parts",
                    "type": {
                        "type": "array",
                        "items": {
                            "type": "record",
                            "name": "Part",
                            "fields": [
                                {"name": "long", "type": {"type": "array", "items": "long"}},
                                {"name": "name", "type": "string"},
                            ],
                        },
                    },
                },
                {"name": "at", "type": "long"},
            ],
        }
    )
)


@QUICK
@given(
    st.lists(
        st.fixed_dictionaries(
            {"long": st.lists(st.integers(-(2**63), 2**63 - 1)), "name": st.text(max_size=5)}
        )
    ),
    st.integers(-(2**63), 2**63 - 1),
)
def test_arrays_within_arrays_are_left_out_each(parts: list[Any], at: int) -> None:
    (value,) = encoded(NESTED, [{"parts": parts, "at": at}])
    less = shortened(NESTED, value[len(framing.header(NESTED.fingerprint)) :], {"long"})
    assert less is not None
    expected = {"parts": [{**part, "long": []} for part in parts], "at": at}
    assert read_avro(NESTED, less) == expected


@pytest.mark.parametrize("name", ["at", "name"])
def test_only_arrays_can_be_left_out(name: str) -> None:
    with pytest.raises(SchemaError, match=f"field '{name}' is no array"):
        compile_cut(NESTED, {name})


def test_blocks_of_a_left_out_array_may_be_many_and_say_their_size() -> None:
    # One part whose array has two blocks, of which the second gives its size in bytes.
    body = bytes([2, 4, 2, 4, 1, 2, 6, 0, 2, 97, 0, 14])
    assert read_avro(NESTED, body) == {"parts": [{"long": [1, 2, 3], "name": "a"}], "at": 7}
    assert shortened(NESTED, body, {"long"}) == bytes([2, 0, 2, 97, 0, 14])


@pytest.mark.parametrize("window", [predictions(1), outcomes(1, [0.3] * 20)])
def test_a_window_without_its_log_buckets_is_else_the_same(window: Window) -> None:
    value = codec(Window).encode(window)
    assert codec(Window).decode(value, leaving_out=HISTOGRAMS) == window


@pytest.mark.parametrize("length", [0, 5, 11, 40, 100])
def test_a_window_that_ends_too_soon_is_said_to(length: int) -> None:
    value = codec(Window).encode(predictions(1))[:length]
    with pytest.raises(DecodeError) as whole:
        codec(Window).decode(value)
    with pytest.raises(DecodeError) as less:
        codec(Window).decode(value, leaving_out=HISTOGRAMS)
    assert less.value.reason is whole.value.reason

"""Tensors of a request to rows: every datatype, in JSON and in bytes; what is refused, and how."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from driftloop.inference.protocol import parse_request
from driftloop.inference.rows import RowReader, Rows, join_features
from driftloop.inference.tensors import DATATYPES, ProtocolError
from http_builders import MODEL, tensor

READER = RowReader(MODEL, 8)
KIND = tensor("kind", "BYTES", ["a"])
Y = tensor("y", "FP64", [2.0])


def read(*inputs: Any, **more: Any) -> Rows:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return READER.read(parse_request(body, None))


def read_binary(inputs: list[dict[str, Any]], *blobs: bytes) -> Rows:
    for entry, blob in zip(inputs, blobs, strict=False):
        entry["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"inputs": inputs}).encode()
    body = head + b"".join(blobs)
    return READER.read(parse_request(body, b"%d" % len(head)))


def binary(name: str, datatype: str, n: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [n]}


def refused(*inputs: Any, **more: Any) -> str:
    with pytest.raises(ProtocolError) as found:
        read(*inputs, **more)
    assert found.value.status == 400
    return found.value.message


def test_named_tensors_become_rows_in_the_declared_order() -> None:
    rows = read(
        tensor("kind", "BYTES", ["a", "b"]),
        tensor("y", "FP64", [3.0, 4.0]),
        tensor("x", "FP64", [1.0, 2.0]),
    )
    np.testing.assert_array_equal(rows.numeric, [[1.0, 3.0], [2.0, 4.0]])
    assert rows.categories == [["a", "b"]]
    assert (rows.count, rows.ids, rows.times) == (2, None, None)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_is_a_number_in_json(datatype: str) -> None:
    value = True if datatype == "BOOL" else 1
    rows = read(tensor("x", datatype, [value, None]), tensor("y", "FP64", [2, 2]),
                tensor("kind", "BYTES", ["a", "a"]))  # fmt: skip
    np.testing.assert_array_equal(rows.numeric[:, 0], [1.0, np.nan])


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_is_a_number_in_bytes(datatype: str) -> None:
    blob = np.array([1, 0], DATATYPES[datatype].array).tobytes()
    inputs = [binary("x", datatype, 2), binary("y", "FP64", 2), binary("kind", "BYTES", 2)]
    text = b"\1\0\0\0a" + b"\0\0\0\0"
    rows = read_binary(inputs, blob, np.array([5.0, np.nan]).tobytes(), text)
    np.testing.assert_array_equal(rows.numeric, [[1.0, 5.0], [0.0, np.nan]])
    assert rows.categories == [["a", ""]]


def test_true_and_false_are_numbers_as_in_events() -> None:
    rows = read(tensor("x", "FP64", [True]), Y, KIND)
    assert rows.numeric[0, 0] == 1.0


def test_less_precise_floats_are_the_same_in_json_and_in_bytes() -> None:
    for datatype in ("FP16", "FP32"):
        value = np.array([0.1], DATATYPES[datatype].array)
        asked = read(tensor("x", datatype, [0.1]), Y, KIND)
        assert asked.numeric[0, 0] == float(value[0]) != 0.1


def test_numbers_alone_in_bytes_are_the_same_as_in_json_in_any_order() -> None:
    from dataclasses import replace

    reader = RowReader(replace(MODEL, categorical=()), 8)
    x, y = [1.0, float("nan"), 3.0], [4.0, 5.0, 6.0]
    inputs = [binary("y", "FP64", 3), binary("x", "FP64", 3)]
    for entry in inputs:
        entry["parameters"] = {"binary_data_size": 24}
    head = json.dumps({"inputs": inputs}).encode()
    body = head + np.array([y, x]).tobytes()
    rows = reader.read(parse_request(body, b"%d" % len(head)))
    np.testing.assert_array_equal(rows.numeric, np.array([x, y]).T)
    with pytest.raises(ProtocolError, match="belong to no input"):
        reader.read(parse_request(body + b"12345678", b"%d" % len(head)))
    twice = json.dumps({"inputs": [inputs[0], inputs[0]]}).encode()
    doubled = parse_request(twice + np.array([y, x]).tobytes(), b"%d" % len(twice))
    with pytest.raises(ProtocolError, match="twice"):
        reader.read(doubled)


def test_json_and_bytes_can_be_mixed() -> None:
    rows = read_binary([binary("x", "FP64", 1), Y, KIND], struct.pack("<d", 7.0))
    np.testing.assert_array_equal(rows.numeric, [[7.0, 2.0]])


def test_columns_may_have_the_shape_n_1_nested_or_flat() -> None:
    nested = {"name": "x", "datatype": "FP64", "shape": [2, 1], "data": [[1.0], [2.0]]}
    flat = {"name": "y", "datatype": "FP64", "shape": [2, 1], "data": [3.0, 4.0]}
    rows = read(nested, flat, tensor("kind", "BYTES", ["a", "b"]))
    np.testing.assert_array_equal(rows.numeric, [[1.0, 3.0], [2.0, 4.0]])


def test_what_events_may_leave_out_a_request_may_leave_out() -> None:
    rows = read(Y)
    np.testing.assert_array_equal(rows.numeric, [[np.nan, 2.0]])
    assert rows.categories == [[None]]
    assert refused(tensor("x", "FP64", [1.0])) == (
        "input 'y' is missing; send it, with null where it is unknown"
    )


def test_numbers_and_booleans_are_categories_by_their_text() -> None:
    def kind(datatype: str, value: Any) -> str | None:
        return read(Y, tensor("kind", datatype, [value])).categories[0][0]

    assert kind("INT64", 7) == "7"
    assert kind("BOOL", True) == "true"
    assert kind("BOOL", None) is None
    assert "FP64" in refused(Y, tensor("kind", "FP64", [7.0]))


def test_the_ids_of_several_rows_fit_too() -> None:
    both = tensor("y", "FP64", [2.0, 3.0]), tensor("kind", "BYTES", ["a", "b"])
    assert read(*both, id="x" * 1022).count == 2
    assert "more than 1022 bytes" in refused(*both, id="x" * 1023)
    assert read(Y, KIND, id="x" * 1024).count == 1


def test_a_category_has_a_bound() -> None:
    longest = "ö" * 512
    assert read(Y, tensor("kind", "BYTES", [longest])).categories[0][0] == longest
    assert "1024 bytes" in refused(Y, tensor("kind", "BYTES", [longest + "x"]))
    assert "row 1" in refused(
        tensor("y", "FP64", [2.0, 3.0]), tensor("kind", "BYTES", ["b", longest + "x"])
    )


def test_ids_and_times_may_be_tensors() -> None:
    rows = read(Y, tensor("id", "BYTES", ["a7"]), tensor("time", "INT64", [77]))
    assert (rows.ids, rows.times) == (["a7"], [77])
    assert "1024 bytes" in refused(Y, tensor("id", "BYTES", ["x" * 1025]))


def test_the_event_time_may_be_a_parameter_of_the_request() -> None:
    assert read(Y, parameters={"event_time": 5}).times == 5
    assert "milliseconds" in refused(Y, parameters={"event_time": "5"})


def test_event_times_outside_the_declared_ones_are_refused() -> None:
    READER.check_times([0, (1 << 40) - 1], 1, "as given")
    for times in ([1 << 40], [5, -1]):
        with pytest.raises(ProtocolError, match="event time"):
            READER.check_times(times, 1, "as given")


def test_event_times_far_ahead_of_the_server_are_refused() -> None:
    reader = RowReader(replace(MODEL, events=replace(MODEL.events, ahead=10)), 8)
    reader.check_times([12], 2, "as given")
    with pytest.raises(ProtocolError, match="10 ms ahead of now"):
        reader.check_times([12, 13], 2, "as given")


def test_messages_name_tensor_and_row() -> None:
    two = {"y": tensor("y", "FP64", [1, 1]), "kind": tensor("kind", "BYTES", ["a", "a"])}
    assert refused(tensor("x", "FP64", [1.0, "2"]), *two.values()) == (
        "input 'x': row 1 is '2', no number (FP64); null is a missing value"
    )
    assert refused(tensor("x", "INT8", [1, 200]), *two.values()) == (
        "input 'x': row 1 is 200, outside INT8"
    )
    assert refused(tensor("x", "INT32", [1, 1.5]), *two.values()) == (
        "input 'x': row 1 is 1.5, no whole number (INT32); null is a missing value"
    )
    assert refused(tensor("x", "INT64", [1, True]), *two.values()) == (
        "input 'x': row 1 is true, no whole number (INT64); null is a missing value"
    )
    assert refused(two["y"], tensor("kind", "BYTES", ["a", 5])) == (
        "input 'kind': row 1 is 5, no string; null is a missing value"
    )
    assert refused(Y, tensor("id", "BYTES", [""])) == "input 'id': row 0 has no id"
    assert refused(Y, tensor("time", "INT64", [None])) == "input 'time': row 0 has no time"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "xx", "datatype": "FP64", "shape": [1], "data": [1]}, "did you mean 'x'?"),
        ({"name": "x", "shape": [1], "data": [1]}, "it has no datatype"),
        ({"name": "x", "datatype": "FP64", "data": [1]}, "it has no shape"),
        ({"name": "x", "datatype": "FP64", "shape": [1]}, "neither data nor"),
        ({"name": "x", "datatype": "TEXT", "shape": [1], "data": [1]}, "datatype is 'TEXT'"),
        ({"name": "x", "datatype": 5, "shape": [1], "data": [1]}, "datatype is 5"),
        ({"name": "x", "datatype": "FP64", "shape": [2], "data": [1, 2]}, "2 rows"),
        ({"name": "x", "datatype": "FP64", "shape": [1], "data": [1, 2]}, "data has 2"),
        ({"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}, "it is [ROWS]"),
        ({"name": "x", "datatype": "FP64", "shape": ["1"], "data": [1]}, "it is [ROWS]"),
        ({"name": "x", "datatype": "FP64", "shape": 1, "data": [1]}, "shape is 1"),
        ({"name": "x", "datatype": "FP64", "shape": [1], "data": 1}, "data is 1"),
        ({"name": ["x"], "datatype": "FP64", "shape": [1], "data": [1]}, "name is a list"),
        (["x"], "an input is a list"),
        (dict(Y), "twice"),
    ],
)
def test_malformed_tensors_are_refused(entry: Any, message: str) -> None:
    assert message in refused(Y, entry)


def test_the_first_tensor_without_a_shape_is_refused_as_any_other() -> None:
    assert "shape is null" in refused({"name": "x", "datatype": "FP64", "shape": None}, Y)


def test_rows_have_a_limit() -> None:
    nine = [tensor("y", "FP64", [1.0] * 9)]
    assert "at most 8" in refused(*nine)
    assert "no rows" in refused(tensor("y", "FP64", []))


@pytest.mark.parametrize(
    ("datatype", "blob"),
    [
        ("FP64", b"1234567"),
        ("BOOL", b"\2"),
        ("BYTES", b"\5\0\0\0abc"),
        ("BYTES", b"\1\0\0\0ab"),
        ("BYTES", b"\1\0\0\0\xff"),
        ("BYTES", b"\xff\xff\xff\xffa"),
        ("BYTES", b"\1"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype: str, blob: bytes) -> None:
    name = "kind" if datatype == "BYTES" else "x"
    with pytest.raises(ProtocolError) as found:
        read_binary([binary(name, datatype, 1), Y], blob)
    assert found.value.status == 400


def test_bytes_left_over_or_missing_are_refused() -> None:
    with pytest.raises(ProtocolError, match="belong to no input"):
        read_binary([Y], b"extra")
    head = json.dumps(
        {"inputs": [{**binary("x", "FP64", 1), "parameters": {"binary_data_size": 8}}, Y]}
    ).encode()
    for length in (None, b"%d" % len(head)):
        with pytest.raises(ProtocolError, match="Inference-Header-Content-Length"):
            READER.read(parse_request(head, length))


def test_requests_joined_have_one_dictionary_of_categories() -> None:
    parts = [read(Y, tensor("kind", "BYTES", [level])) for level in ("b", "a", "b")]
    features = join_features([*parts, read(Y)])
    assert features.categories.levels == (("b", "a"),)
    assert features.categories.codes.ravel().tolist() == [0, 1, 0, -1]
    assert features.numeric.flags.c_contiguous


def test_infinity_is_outside_every_limit() -> None:
    rows = read_binary([binary("x", "FP64", 1), Y, KIND], struct.pack("<d", float("inf")))
    outside = READER.outside(np.ascontiguousarray(rows.numeric))
    assert outside is not None
    assert outside.tolist() == [0]

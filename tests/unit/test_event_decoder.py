"""Events and labels: what is decoded, and which reason each wrong row gets."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftloop.kernel.codec import framing
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import (
    AlertPolicy,
    CategoricalFeature,
    Declaration,
    EventFields,
    Format,
    LabelFields,
    NumericFeature,
    PromotionPolicy,
    Task,
    TrainingPolicy,
    WindowPolicy,
)
from driftloop.kernel.errors import SchemaError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Label
from driftloop.kernel.schemas import Schema, parse_schema
from driftloop.kernel.topics import ModelTopics

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "note", "type": ["null", "string"]},
    {"name": "speed", "type": ["null", "double"]},
    {"name": "seats", "type": "int"},
    {"name": "carrier", "type": ["null", "string"]},
    {"name": "rank", "type": "int"},
    {"name": "night", "type": "boolean"},
    {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["jet", "prop"]}},
]
EVENT: dict[str, Any] = {
    "id": "e1",
    "when": 1500,
    "note": None,
    "speed": 2.5,
    "seats": 180,
    "carrier": "AÖ",
    "rank": -3,
    "night": True,
    "kind": "prop",
}


def schema_of(*fields: dict[str, Any]) -> Schema:
    text = json.dumps({"type": "record", "name": "Flight", "fields": fields})
    return parse_schema(text)


def declaration(
    form: Format = Format.AVRO, schema: Schema | None = None, task: Task = Task.BINARY
) -> Declaration:
    return Declaration(
        name="flights",
        task=task,
        prior=0.2,
        topics=ModelTopics.of("flights"),
        partitions=2,
        events=EventFields(form, schema or schema_of(*FIELDS), "id", "when", 1000, 2000, 1 << 62),
        labels=LabelFields(form, "flight", "late", "landed", 500),
        numeric=(NumericFeature("seats", 0, 500), NumericFeature("speed", -1.0, 10.0)),
        categorical=tuple(map(CategoricalFeature, ("carrier", "rank", "night", "kind"))),
        windows=WindowPolicy(1000, 0, 0),
        alerts=AlertPolicy(1.0, 0.1, 0.01, 0.01, 1000),
        training=TrainingPolicy((), 1, 0, 0, 0, (), 0.2, 1.0, 1, 0),
        promotion=PromotionPolicy(0.05, 1000, 0),
        classes=("early", "late", "never") if task is Task.MULTICLASS else (),
    )


def avro(record: dict[str, Any], schema: Schema | None = None) -> bytes:
    schema = schema or schema_of(*FIELDS)
    out = io.BytesIO()
    out.write(framing.header(schema.fingerprint))
    fastavro.schemaless_writer(out, schema.parsed, record)
    return out.getvalue()


def reasons(form: Format, *values: bytes | None) -> list[str]:
    block, rejected = EventDecoder(declaration(form)).decode(values)
    assert sorted([*block.rows.tolist(), *(r.row for r in rejected)]) == list(range(len(values)))
    assert [r.row for r in rejected] == sorted(r.row for r in rejected)
    return [r.error.reason for r in rejected]


@pytest.mark.parametrize("form", list(Format))
def test_an_event_becomes_columns_in_the_declarations_order(form: Format) -> None:
    second = EVENT | {"id": "e2", "speed": None, "carrier": None, "rank": 7, "night": False}
    write = avro if form is Format.AVRO else (lambda record: json.dumps(record).encode())
    block, rejected = EventDecoder(declaration(form)).decode([write(EVENT), None, write(second)])
    assert [(r.row, r.error.reason) for r in rejected] == [(1, Reason.EMPTY)]
    assert block.rows.tolist() == [0, 2]
    assert list(block.ids) == [b"e1", b"e2"]
    assert block.times.tolist() == [1500, 1500]
    assert block.features.numeric.flags.c_contiguous
    np.testing.assert_array_equal(block.features.numeric, [[180.0, 2.5], [180.0, np.nan]])
    codes, levels = block.features.categories.codes, block.features.categories.levels
    read = [
        [None if code < 0 else levels[k][code] for k, code in enumerate(row)]
        for row in codes.tolist()
    ]
    assert read == [["AÖ", "-3", "true", "prop"], [None, "7", "false", "prop"]]


def limited(form: Format = Format.AVRO) -> Declaration:
    declared = declaration(form)
    return replace(declared, events=replace(declared.events, ahead=100))


@pytest.mark.parametrize("form", list(Format))
def test_a_time_lies_at_most_so_far_ahead_of_its_record(form: Format) -> None:
    write = avro if form is Format.AVRO else (lambda record: json.dumps(record).encode())
    sent: list[bytes | None] = [write(EVENT | {"id": f"e{k}"}) for k in range(4)]
    # Each event is of 1,500: just near enough, too far, and of a record without a time; and the
    # second record is none.
    recorded = np.array([1400, 1, 1399, -1], np.int64)
    sent[1] = None
    block, rejected = EventDecoder(limited(form)).decode(sent, recorded)
    assert block.rows.tolist() == [0, 3]
    assert [(r.row, r.error.reason) for r in rejected] == [
        (1, Reason.EMPTY),
        (2, Reason.OUT_OF_LIMITS),
    ]
    assert "101 ms ahead of its record" in str(rejected[1].error)
    block, rejected = EventDecoder(limited(form)).decode(sent)
    assert block.rows.tolist() == [0, 2, 3]


def test_a_label_lies_at_most_so_far_ahead_of_its_record() -> None:
    values = [
        json.dumps({"flight": "e", "late": 1, "landed": landed}).encode() for landed in (1500, 1501)
    ]
    recorded = np.array([1400, 1400], np.int64)
    block, (bad,) = LabelDecoder(limited(Format.JSON)).decode(values, recorded)
    assert block.rows.tolist() == [0]
    assert (bad.row, bad.error.reason) == (1, Reason.OUT_OF_LIMITS)


@pytest.mark.parametrize("form", list(Format))
def test_a_category_has_a_bound_in_bytes(form: Format) -> None:
    longest = "\u00f6" * 512
    write = avro if form is Format.AVRO else (lambda record: json.dumps(record).encode())
    sent = [longest, longest + "x", "x" * 900_000, None, "UA"]
    block, rejected = EventDecoder(declaration(form)).decode(
        [write(EVENT | {"id": f"e{i}", "carrier": carrier}) for i, carrier in enumerate(sent)]
    )
    assert block.rows.tolist() == [0, 3, 4]
    assert block.features.categories.codes[:, 0].tolist() == [0, -1, 1]
    assert block.features.categories.levels[0] == (longest, "UA")
    assert [(r.row, r.error.detail) for r in rejected] == [
        (1, "field 'carrier', a category, has 1025 bytes, more than 1024"),
        (2, "field 'carrier', a category, has 900000 bytes, more than 1024"),
    ]


def test_equal_categories_share_a_code() -> None:
    carriers = ["UA", "DL", None, "UA", "", "DL", "U"]
    values = [avro(EVENT | {"carrier": carrier}) for carrier in carriers]
    block, _ = EventDecoder(declaration()).decode(values)
    assert block.features.categories.codes[:, 0].tolist() == [0, 1, -1, 0, 2, 1, 3]
    assert block.features.categories.levels[0] == ("UA", "DL", "", "U")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.TRUNCATED),
        (avro(EVENT)[:9], Reason.TRUNCATED),
        (avro(EVENT)[:-1], Reason.TRUNCATED),
        (avro(EVENT) + b"!", Reason.TRAILING_BYTES),
        (b"not an event at all", Reason.NOT_AVRO),
        (b"\xc3\x01" + b"x" * 20, Reason.WRONG_SCHEMA),
        (avro(EVENT)[:10] + b"\x01abcdefghijkl", Reason.MALFORMED),
        (avro(EVENT)[:10] + b"\x80" * 12, Reason.MALFORMED),
        (avro(EVENT).replace("Ö".encode(), b"\xff\xfe"), Reason.NOT_UTF8),
        (avro(EVENT | {"id": ""}), Reason.MISSING_FIELD),
        (avro(EVENT | {"id": "x" * 1025}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"carrier": "x" * 1025}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"when": 999}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"when": 2000}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"when": -(2**63)}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"speed": 10.5}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"speed": -math.inf}), Reason.OUT_OF_LIMITS),
        (avro(EVENT | {"seats": -1}), Reason.OUT_OF_LIMITS),
    ],
)
def test_a_wrong_avro_row_is_rejected_and_its_neighbours_are_not(
    value: bytes | None, reason: Reason
) -> None:
    assert reasons(Format.AVRO, avro(EVENT), value, avro(EVENT)) == [reason]


NESTED = b"[" * 1000 + b"]" * 1000
"""As deep as JSON is read, and deeper than ``repr`` goes."""


def as_json(**changes: Any) -> bytes:
    return json.dumps(EVENT | changes).encode()


def without(*names: str) -> bytes:
    return json.dumps({k: v for k, v in EVENT.items() if k not in names}).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.NOT_JSON),
        (b'{"id": "e1"', Reason.NOT_JSON),
        (as_json(speed=math.nan), Reason.NOT_JSON),
        (b"[" * 5000, Reason.NOT_JSON),
        (b'{"id": "\xff"}', Reason.NOT_UTF8),
        (b"[1, 2]", Reason.WRONG_TYPE),
        (without("id"), Reason.MISSING_FIELD),
        (without("when"), Reason.MISSING_FIELD),
        (without("seats"), Reason.MISSING_FIELD),
        (as_json(id=None), Reason.MISSING_FIELD),
        (as_json(id=""), Reason.MISSING_FIELD),
        (as_json(id="\u00f6" * 513), Reason.OUT_OF_LIMITS),
        (as_json(carrier="\u00f6" * 513), Reason.OUT_OF_LIMITS),
        (as_json(id=True), Reason.WRONG_TYPE),
        (as_json(id=1.5), Reason.WRONG_TYPE),
        (as_json(when="1500"), Reason.WRONG_TYPE),
        (as_json(when=1500.5), Reason.WRONG_TYPE),
        (as_json(when=2**63), Reason.OUT_OF_LIMITS),
        (as_json(when=2000), Reason.OUT_OF_LIMITS),
        (as_json(speed="2.5"), Reason.WRONG_TYPE),
        (as_json(speed=[1]), Reason.WRONG_TYPE),
        (as_json(speed=99), Reason.OUT_OF_LIMITS),
        (as_json(carrier=1.5), Reason.WRONG_TYPE),
        (as_json(carrier={"a": 1}), Reason.WRONG_TYPE),
        (NESTED, Reason.WRONG_TYPE),
        (as_json(carrier=0).replace(b": 0", b": " + NESTED), Reason.WRONG_TYPE),
        (as_json(speed=-7).replace(b"-7", NESTED.replace(b"[]", b"{}")), Reason.WRONG_TYPE),
        (as_json(carrier=7), Reason.WRONG_TYPE),
        (as_json(carrier=True), Reason.WRONG_TYPE),
        (as_json(kind="zeppelin"), Reason.OUT_OF_LIMITS),
        (as_json(kind=1), Reason.WRONG_TYPE),
        (as_json(kind=None), Reason.MISSING_FIELD),
        (as_json(seats=1.5), Reason.WRONG_TYPE),
        (as_json(seats=True), Reason.WRONG_TYPE),
        (as_json(seats=None), Reason.MISSING_FIELD),
        (as_json(rank=2**31), Reason.OUT_OF_LIMITS),
        (as_json(rank=-(2**31) - 1), Reason.OUT_OF_LIMITS),
        (as_json(rank=2**70), Reason.OUT_OF_LIMITS),
        (as_json(rank=0.5), Reason.WRONG_TYPE),
        (as_json(rank="3"), Reason.WRONG_TYPE),
        (as_json(night=1), Reason.WRONG_TYPE),
        (as_json(night=None), Reason.MISSING_FIELD),
        (as_json(speed=True), Reason.WRONG_TYPE),
    ],
)
def test_a_wrong_json_row_is_rejected_and_its_neighbours_are_not(
    value: bytes | None, reason: Reason
) -> None:
    assert reasons(Format.JSON, as_json(), value, as_json()) == [reason]


def typed(kind: Any) -> EventDecoder:
    """Of JSON events whose ``seats`` are of another type, without limits."""
    fields = [f | {"type": kind} if f["name"] == "seats" else f for f in FIELDS]
    declared = declaration(Format.JSON, schema_of(*fields))
    numeric = (NumericFeature("seats", -math.inf, math.inf), *declared.numeric[1:])
    return EventDecoder(replace(declared, numeric=numeric))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", [0, -(2**31), 2**31 - 1, 3.0, -7.0], [2**31, -(2**31) - 1, 1e10, 0.5, False]),
        (
            "long",
            [0, -(2**63), 2**63 - 1, 2**62 + 1, 3.0, 1e18],
            [2**63, 2**64, -(2**63) - 1, 2**70, -1e300, 2.5, True, "7", [1]],
        ),
        ("float", [1, 0.1, 3.4e38, -3.4e38, None], [3.5e38, -1e300, True]),
        ("double", [1, 0.1, 1e308, 2**64, None], [False, "1.5"]),
        ("boolean", [True, False], [0, 1, 1.0, None]),
        (["null", "int"], [None, 5], [2**31, 1.5]),
        (["boolean", "null"], [None, True], [0]),
    ],
)
def test_a_json_number_is_one_of_its_type(kind: Any, good: list[Any], bad: list[Any]) -> None:
    values = [as_json(id=f"e{n}", seats=seats) for n, seats in enumerate([*good, *bad])]
    block, rejected = typed(kind).decode(values)
    assert block.rows.tolist() == list(range(len(good)))
    read = block.features.numeric[:, 0].tolist()
    assert [None if math.isnan(x) else x for x in read] == [
        None if x is None else float(x) for x in good
    ]
    assert all(r.error.detail.startswith("field 'seats' is ") for r in rejected)


@pytest.mark.parametrize("bad", [True, False])
def test_whole_numbered_doubles_are_integers(bad: bool) -> None:
    values = [as_json(id="a", when=1500.0, rank=-3.0, seats=7.0)]
    values += [as_json(rank=1e10), as_json(when=1e300), as_json(when=0.5)] if bad else []
    block, rejected = EventDecoder(declaration(Format.JSON)).decode(values)
    assert block.times.tolist() == [1500]
    assert block.features.numeric[0, 0] == 7.0
    assert block.features.categories.levels[1] == ("-3",)
    assert len(rejected) == 3 * bad


def test_the_detail_of_a_json_row_names_field_and_value() -> None:
    values = [
        as_json(kind="zeppelin"),
        as_json(rank=2**40),
        as_json(seats=1.5),
        as_json(night=3),
        as_json(rank=None),
        as_json(speed=None),
    ]
    _, rejected = EventDecoder(declaration(Format.JSON)).decode(values)
    assert [r.error.detail for r in rejected] == [
        "field 'kind' is 'zeppelin', not one of 'jet, prop'",
        "field 'rank' is 1099511627776, more than 32 bits",
        "field 'seats' is 1.5, an int is wanted",
        "field 'night' is 3, true or false is wanted",
        "field 'rank' is null, which the schema does not let it be",
    ]


JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**31, 2**31 - 1, -(2**31), 2**63 - 1, 2**63, -(2**63), 1.0, -2.0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["jet", "prop", "", "x"]),
)


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(EVENT, JSON_VALUES)), max_size=5))
def test_a_json_event_is_accepted_only_if_avro_can_hold_it(changes: list[dict[str, Any]]) -> None:
    fields = [f for f in FIELDS if f["name"] != "note"]
    schema = schema_of(*fields)
    numeric = tuple(NumericFeature(name, -math.inf, math.inf) for name in ("seats", "speed"))
    declared = replace(declaration(Format.JSON, schema), numeric=numeric)
    events = [EVENT | {k: v for k, v in change.items() if k != "id"} for change in changes]
    block, _ = EventDecoder(declared).decode([json.dumps(event).encode() for event in events])
    accepted = [events[row] for row in block.rows.tolist()]
    for event in accepted:
        # As Avro has them: whole-numbered doubles for whole types, which fastavro does not take.
        for name in ("when", "seats", "rank"):
            event[name] = int(event[name])
        fastavro.validate(event, schema.parsed)
    same, rejected = EventDecoder(
        replace(declared, events=replace(declared.events, format=Format.AVRO))
    ).decode([avro(event, schema) for event in accepted])
    assert rejected == []
    np.testing.assert_array_equal(same.features.numeric, block.features.numeric)
    assert same.times.tolist() == block.times.tolist()
    for number, levels in enumerate(same.features.categories.levels):
        others = block.features.categories
        assert [levels[c] for c in same.features.categories.codes[:, number] if c >= 0] == [
            others.levels[number][c] for c in others.codes[:, number] if c >= 0
        ]


def test_json_ids_may_be_integers_and_optional_fields_left_out() -> None:
    decoder = EventDecoder(declaration(Format.JSON))
    block, rejected = decoder.decode([as_json(id=17), without("speed", "carrier", "note")])
    assert rejected == []
    assert list(block.ids) == [b"17", b"e1"]
    assert math.isnan(block.features.numeric[1, 1])
    assert block.features.categories.codes[1, 0] == -1


def test_the_detail_names_field_and_value() -> None:
    decoder = EventDecoder(declaration())
    _, rejected = decoder.decode([avro(EVENT | {"speed": 1e300}), avro(EVENT)[:20]])
    assert rejected[0].error.detail == "field 'speed' is 1e+300, outside [-1.0, 10.0]"
    assert "'speed'" in rejected[1].error.detail


def test_an_empty_batch_is_an_empty_block() -> None:
    for form in Format:
        block, rejected = EventDecoder(declaration(form)).decode([])
        assert (len(block.ids), block.features.numeric.shape, rejected) == (0, (0, 2), [])


def test_a_schema_beyond_the_plan_gives_the_same_events() -> None:
    mixed = [f | {"type": ["null", "int", "double"]} if f["name"] == "speed" else f for f in FIELDS]
    slow = schema_of(*mixed)
    changes: list[dict[str, Any]] = [{}, {"speed": None}, {"speed": 99.0}, {"carrier": None}]
    quick_block, quick = EventDecoder(declaration()).decode([avro(EVENT | c) for c in changes])
    slow_block, others = EventDecoder(declaration(schema=slow)).decode(
        [avro(EVENT | c, slow) for c in changes]
    )
    assert [str(r.error) for r in quick] == [str(r.error) for r in others]
    assert list(quick_block.ids) == list(slow_block.ids)
    np.testing.assert_array_equal(quick_block.features.numeric, slow_block.features.numeric)
    assert quick_block.features.categories.levels == slow_block.features.categories.levels


def test_a_schema_without_a_declared_field_is_refused() -> None:
    with pytest.raises(SchemaError, match="no field 'kind'"):
        EventDecoder(declaration(schema=schema_of(*FIELDS[:-1])))


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (["null", "Flight"], "contains itself"),
        ({"type": "array", "items": "null"}, "take no bytes"),
    ],
)
def test_a_schema_that_would_crash_or_hang_a_reader_is_refused(kind: Any, match: str) -> None:
    with pytest.raises(SchemaError, match=match):
        EventDecoder(declaration(schema=schema_of(*FIELDS, {"name": "more", "type": kind})))


def test_avro_labels_are_decoded_and_checked() -> None:
    encode = codec(Label).encode
    values = [
        encode(Label("e1", 1.0, 2400)),
        encode(Label("e2", 0.5, 1500)),
        encode(Label("", 0.0, 1500)),
        encode(Label("e4", 0.0, 2500)),
        encode(Label("e5", math.nan, 1500)),
        encode(Label("e6", 0.0, 1500)),
        encode(Label("e7", 0.0, 1500))[:-1],
    ]
    block, rejected = LabelDecoder(declaration()).decode(values)
    assert block.rows.tolist() == [0, 5]
    assert list(block.ids) == [b"e1", b"e6"]
    assert block.label.tolist() == [1.0, 0.0]
    assert block.observed_at.tolist() == [2400, 1500]
    assert [(r.row, r.error.reason) for r in rejected] == [
        (1, Reason.OUT_OF_LIMITS),
        (2, Reason.MISSING_FIELD),
        (3, Reason.OUT_OF_LIMITS),
        (4, Reason.MISSING_FIELD),
        (6, Reason.TRUNCATED),
    ]


def test_json_labels_have_the_declared_names_and_may_be_booleans() -> None:
    values = [
        b'{"flight": 7, "late": true, "landed": 1500}',
        b'{"flight": "a", "late": 0, "landed": 1600}',
        b'{"flight": "a", "late": 2, "landed": 1600}',
        b'{"flight": "a", "landed": 1600}',
        b'{"flight": "a", "late": "yes", "landed": 1600}',
        b'{"flight": "a", "late": 1}',
    ]
    block, rejected = LabelDecoder(declaration(Format.JSON)).decode(values)
    assert (list(block.ids), block.label.tolist()) == ([b"7", b"a"], [1.0, 0.0])
    assert [r.error.reason for r in rejected] == [
        Reason.OUT_OF_LIMITS,
        Reason.MISSING_FIELD,
        Reason.WRONG_TYPE,
        Reason.MISSING_FIELD,
    ]


@pytest.mark.parametrize(
    ("task", "good", "bad"),
    [(Task.MULTICLASS, 2.0, 1.5), (Task.MULTICLASS, 0.0, 3.0), (Task.REGRESSION, -1.5, math.inf)],
)
def test_what_a_label_may_be_depends_on_the_task(task: Task, good: float, bad: float) -> None:
    values = [codec(Label).encode(Label("e", value, 1500)) for value in (good, bad)]
    block, rejected = LabelDecoder(declaration(task=task)).decode(values)
    assert block.label.tolist() == [good]
    assert [r.error.reason for r in rejected] == [Reason.OUT_OF_LIMITS]


def test_json_labels_may_be_names_of_classes() -> None:
    values = [
        b'{"flight": "a", "late": "never", "landed": 1500}',
        b'{"flight": "b", "late": 1, "landed": 1500}',
        b'{"flight": "c", "late": "soon", "landed": 1500}',
        b'{"flight": "d", "late": true, "landed": 1500}',
        b'{"flight": "e", "late": null, "landed": 1500}',
        b'{"flight": "f", "late": 3, "landed": 1500}',
    ]
    decoder = LabelDecoder(declaration(Format.JSON, task=Task.MULTICLASS))
    block, rejected = decoder.decode(values)
    assert (list(block.ids), block.label.tolist()) == ([b"a", b"b"], [2.0, 1.0])
    assert [r.error.reason for r in rejected] == [
        Reason.OUT_OF_LIMITS,
        Reason.WRONG_TYPE,
        Reason.MISSING_FIELD,
        Reason.OUT_OF_LIMITS,
    ]
    assert "'soon', not one of 'early, late, never'" in rejected[0].error.detail


def test_a_name_is_no_number() -> None:
    values = [b'{"flight": "a", "late": "late", "landed": 1500}']
    _, (rejected,) = LabelDecoder(declaration(Format.JSON, task=Task.REGRESSION)).decode(values)
    assert rejected.error.reason is Reason.WRONG_TYPE

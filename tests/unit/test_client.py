"""The client on a log in memory."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import orjson
import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.client import (
    Alert,
    AlertKind,
    AlertStatus,
    Client,
    ConfigurationError,
    RecordError,
    Severity,
)
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.records import codec, read_avro
from driftloop.kernel.ports import RecordBatch, Send
from driftloop.kernel.records import Evidence, Label, ModelRecord
from driftloop.kernel.topics import ControlTopics

CONTROL = ControlTopics()
NOW = 1_700_000_000_000

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "payment_id", "type": "string"},
            {"name": "paid_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "amount", "type": "double"},
            {"name": "country", "type": ["null", "string"]},
        ],
    }
)
DECLARATION = """
[model]
name = "payments"
[events]
schema = "payment.avsc"
id = "payment_id"
time = "paid_at"
[[features]]
name = "amount"
kind = "numeric"
"""
JSON = DECLARATION.replace('id = "payment_id"', 'id = "payment_id"\nformat = "json"') + (
    '[labels]\nformat = "json"\nid = "payment"\nlabel = "fraud"\ntime = "seen"\n'
)
PAYMENT = {"payment_id": "p1", "paid_at": NOW, "amount": 9.5, "country": "NL"}


def log_with(*declarations: str) -> MemoryLog:
    log = MemoryLog(ManualClock(NOW))
    log.ensure_topics(CONTROL.specs())
    for text in declarations:
        declare(log, text)
    return log


def declare(log: MemoryLog, text: str) -> None:
    record = ModelRecord("payments", text, SCHEMA, "tests", NOW)
    value = codec(ModelRecord).encode(record)
    partition = CONTROL.partition("payments")
    log.producer("tests").send(Send(CONTROL.models, [b"payments"], [value], partition))
    client = Client(log=log)
    model = client.model("payments")
    log.ensure_topics(model.topics.specs(2))


def written(log: MemoryLog, topic: str) -> list[tuple[bytes | None, bytes]]:
    batches: list[RecordBatch] = list(log.follow([topic]).poll(10_000, 0))
    return [
        (key, value)
        for batch in batches
        for key, value in zip(batch.keys, batch.values, strict=True)
        if value is not None
    ]


def alert(at: int, model: str = "payments") -> Alert:
    evidence = Evidence("shiryaev_roberts", 5.0, 4.0, 0.3, "psi", 0.1, 100, ("w",))
    return Alert(
        id=f"{model}-{at}",
        model=model,
        kind=AlertKind.DATA_DRIFT,
        status=AlertStatus.OPENED,
        severity=Severity.WARNING,
        subject="amount",
        version=1,
        sequence=0,
        opened_at=at,
        at=at,
        onset=at,
        onset_sources=(),
        evidence=evidence,
        summary="amount drifts",
        action="look",
    )


def publish(log: MemoryLog, *alerts: Alert) -> None:
    for one in alerts:
        value = codec(Alert).encode(one)
        partition = CONTROL.partition(one.model)
        log.producer("tests").send(Send(CONTROL.alerts, [one.model.encode()], [value], partition))


def test_an_event_is_written_in_avro_under_its_id() -> None:
    log = log_with(DECLARATION)
    with Client(log=log) as client:
        stream = client.events("payments")
        stream.send(PAYMENT)
    ((key, value),) = written(log, "payments.events")
    assert key == b"p1"
    schema = stream.model.events.schema
    assert framing.frame_of(value).fingerprint == schema.fingerprint
    assert read_avro(schema, value[framing.HEADER_LENGTH :]) == PAYMENT


def test_an_event_is_written_in_json_where_the_model_says_so() -> None:
    log = log_with(JSON)
    with Client(log=log) as client:
        client.events("payments").send(PAYMENT)
    ((key, value),) = written(log, "payments.events")
    assert key == b"p1"
    assert orjson.loads(value) == PAYMENT


def test_a_datetime_becomes_milliseconds() -> None:
    log = log_with(JSON)
    moment = datetime.datetime.fromtimestamp(NOW / 1000, datetime.UTC)
    with Client(log=log) as client:
        client.events("payments").send({**PAYMENT, "paid_at": moment})
    assert orjson.loads(written(log, "payments.events")[0][1])["paid_at"] == NOW


def test_many_events_are_written_and_counted() -> None:
    log = log_with(DECLARATION)
    records = ({**PAYMENT, "payment_id": f"p{i}"} for i in range(2500))
    with Client(log=log) as client:
        assert client.events("payments").send_many(records) == 2500
    assert {key for key, _ in written(log, "payments.events")} == {
        f"p{i}".encode() for i in range(2500)
    }


def test_those_before_one_that_does_not_fit_are_written() -> None:
    log = log_with(DECLARATION)
    with Client(log=log) as client, pytest.raises(RecordError):
        client.events("payments").send_many([PAYMENT, {**PAYMENT, "amount": "much"}, PAYMENT])
    assert len(written(log, "payments.events")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amount": "9.5"}, r"field 'amount' is '9.5' \(str\); it must be double"),
        ({"amount": None}, r"field 'amount' is None \(NoneType\); it must be double"),
        ({"payment_id": 7}, r"field 'payment_id' is 7 \(int\); it must be string"),
        ({"country": 1.5}, r"field 'country' is 1.5 \(float\); it must be null or string"),
        ({"amuont": 1.0}, "no field 'amuont'; did you mean 'amount'?"),
        ({"payment_id": ""}, "field 'payment_id' is empty"),
        ({"paid_at": datetime.datetime(2024, 1, 1)}, "paid_at is .* without a time zone"),
    ],
)
def test_an_event_that_does_not_fit_names_the_field(
    change: dict[str, object], message: str
) -> None:
    log = log_with(DECLARATION)
    with Client(log=log) as client, pytest.raises(RecordError, match=message):
        client.events("payments").send({**PAYMENT, **change})
    assert written(log, "payments.events") == []


def test_an_event_that_lacks_a_field_names_it() -> None:
    lacking = {name: value for name, value in PAYMENT.items() if name != "amount"}
    with (
        Client(log=log_with(DECLARATION)) as client,
        pytest.raises(RecordError, match="field 'amount' is missing; it is double"),
    ):
        client.events("payments").send(lacking)


def test_a_label_is_a_label_record() -> None:
    log = log_with(DECLARATION)
    with Client(log=log) as client:
        client.label("payments", "p1", 1, NOW)
    ((key, value),) = written(log, "payments.labels")
    assert key == b"p1"
    assert codec(Label).decode(value) == Label("p1", 1.0, NOW)


def test_a_json_label_has_the_declared_fields() -> None:
    log = log_with(JSON)
    with Client(log=log) as client:
        client.label("payments", "p1", True, NOW)
    assert orjson.loads(written(log, "payments.labels")[0][1]) == {
        "payment": "p1",
        "fraud": 1.0,
        "seen": NOW,
    }


def test_a_label_without_a_time_is_observed_now() -> None:
    log = log_with(DECLARATION)
    with Client(log=log, clock=ManualClock(NOW + 5)) as client:
        client.label("payments", "p1", 0)
    assert codec(Label).decode(written(log, "payments.labels")[0][1]).observed_at == NOW + 5


@pytest.mark.parametrize("wrong", [2, -1, 0.5, "1", None, float("nan")])
def test_a_label_that_is_no_class_is_refused(wrong: float) -> None:
    with Client(log=log_with(DECLARATION)) as client, pytest.raises(RecordError, match="label is"):
        client.label("payments", "p1", wrong, NOW)


COLOURS = DECLARATION.replace(
    'name = "payments"',
    'name = "payments"\ntask = "multiclass"\nclasses = ["red", "green", "blue"]',
)
METRES = DECLARATION.replace(
    'name = "payments"', 'name = "payments"\ntask = "regression"\nerror_bound = 2'
)


@pytest.mark.parametrize(
    ("declared", "given", "wire"),
    [
        (COLOURS, "green", 1.0),
        (COLOURS, 2, 2.0),
        (COLOURS, 0.0, 0.0),
        (METRES, -7.25, -7.25),
        (METRES, 3, 3.0),
    ],
)
def test_a_label_may_be_a_class_by_name_or_place_or_a_number(
    declared: str, given: float | str, wire: float
) -> None:
    log = log_with(declared)
    with Client(log=log) as client:
        client.label("payments", "p1", given, NOW)
    assert codec(Label).decode(written(log, "payments.labels")[0][1]).label == wire


@pytest.mark.parametrize(
    ("declared", "given", "why"),
    [
        (COLOURS, "gren", "did you mean 'green'"),
        (COLOURS, 3, "one of red, green, blue"),
        (COLOURS, 0.5, "one of red, green, blue"),
        (COLOURS, True, "one of red, green, blue"),
        (COLOURS, float("nan"), "one of red, green, blue"),
        (METRES, "7", "must be a number"),
        (METRES, True, "must be a number"),
        (METRES, float("inf"), "must be finite"),
    ],
)
def test_a_label_of_another_task_is_refused(declared: str, given: float | str, why: str) -> None:
    with Client(log=log_with(declared)) as client, pytest.raises(RecordError, match=why):
        client.label("payments", "p1", given, NOW)


def test_a_model_that_is_not_declared_is_named_with_those_that_are() -> None:
    with (
        Client(log=log_with(DECLARATION)) as client,
        pytest.raises(ConfigurationError, match=r"no model 'payment' .*declared are payments"),
    ):
        client.events("payment")


def test_the_newest_declaration_counts() -> None:
    log = log_with(DECLARATION, DECLARATION + "[windows]\nsize = '2h'\n")
    assert Client(log=log).model("payments").windows.size == 7_200_000


def test_without_control_topics_the_way_on_is_named() -> None:
    client = Client(log=MemoryLog(ManualClock()))
    with pytest.raises(ConfigurationError, match="driftloop apply"):
        client.events("payments")
    with pytest.raises(ConfigurationError, match=r"driftloop\.alerts"):
        next(client.alerts())


def test_without_an_address_the_way_on_is_named() -> None:
    with pytest.raises(ConfigurationError, match="address of Kafka"):
        Client()


def test_alerts_are_those_of_the_model_since_a_time() -> None:
    log = log_with()
    publish(log, alert(10), alert(20, "others"), alert(30))
    client = Client(log=log)
    assert list(client.alerts("payments", follow=False)) == [alert(10), alert(30)]
    assert list(client.alerts("payments", since=20, follow=False)) == [alert(30)]
    assert {a.model for a in client.alerts(follow=False)} == {"payments", "others"}


def test_following_goes_on_with_alerts_that_come_later() -> None:
    log = log_with()
    publish(log, alert(10))
    seen = Client(log=log).alerts("payments")
    assert next(seen) == alert(10)
    later = replace(alert(10), status=AlertStatus.RESOLVED, sequence=1)
    publish(log, later)
    assert next(seen) == later

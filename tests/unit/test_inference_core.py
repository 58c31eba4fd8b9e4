"""Scoring a batch: version 0 first, champion and shadow, swaps between batches, dead letters."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from driftloop.inference.core import InferenceCore, Serving
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration, EventFields, Format, Task
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import ControlBehindError, Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Prediction
from driftloop.kernel.schemas import parse_schema
from driftloop.kernel.sharing import Shared
from driftloop.kernel.topics import ModelTopics
from driftloop.models.constant import ConstantModel
from window_builders import CountingMeter, catalog, declaration

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "E",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "x", "type": ["null", "double"]},
        {"name": "y", "type": "double"},
        {"name": "kind", "type": ["null", "string"]},
    ],
}
MODEL = replace(
    declaration(),
    prior=0.25,
    events=EventFields(
        Format.JSON, parse_schema(json.dumps(SCHEMA)), "id", "time", 0, 1 << 40, 1 << 62
    ),
)


@dataclass(frozen=True)
class FirstFeature:
    """Scores a row by its first number, times a factor."""

    factor: float = 1.0

    def score(self, features: Features) -> F64:
        return np.asarray(features.numeric[:, :1] * self.factor)


def event(id: str, **fields: Any) -> bytes:
    return json.dumps({"id": id, "time": 5, "x": 0.5, "y": 2.0, "kind": "a", **fields}).encode()


def batch(values: Sequence[bytes | None], topic: str = MODEL.topics.events) -> RecordBatch:
    n = len(values)
    return RecordBatch(topic, 1, range(10, 10 + n), [1000] * n, [b"k"] * n, values)


def predictions(outputs: Outputs) -> list[Prediction]:
    values = [value for send in outputs.sends for value in send.values]
    return [codec(Prediction).decode(value) for value in values if value is not None]


@pytest.fixture
def known() -> Catalog:
    return catalog(declared=MODEL)


@pytest.fixture
def core(known: Catalog) -> InferenceCore:
    return InferenceCore(known, CountingMeter())


def test_before_any_version_the_declared_prior_answers_as_version_0(core: InferenceCore) -> None:
    (found,) = predictions(core.process(batch([event("a")])))
    assert (found.version, found.scores) == (0, (0.25,))
    assert (found.shadow_version, found.shadow_scores) == (-1, ())


def test_scores_are_as_many_as_classes() -> None:
    shares = (0.2, 0.3, 0.5)
    model = replace(MODEL, task=Task.MULTICLASS, classes=("a", "b", "c"), prior=shares)
    core = InferenceCore(catalog(declared=model), CountingMeter())
    (found,) = predictions(core.process(batch([event("a")])))
    assert (found.scores, found.shadow_scores) == (shares, ())
    one, other = ConstantModel((0.1, 0.9, 0.0)), ConstantModel((0.0, 0.5, 0.5))
    core.install("m", Serving(1, 3, one, 4, other))
    (found,) = predictions(core.process(batch([event("b")])))
    assert (found.version, found.scores) == (3, (0.1, 0.9, 0.0))
    assert (found.shadow_version, found.shadow_scores) == (4, (0.0, 0.5, 0.5))


def test_a_prediction_holds_the_features_as_used_and_where_its_event_lies(
    core: InferenceCore,
) -> None:
    values = [event("a"), event("b", time=7, x=None, kind=None)]
    first, second = predictions(core.process(batch(values)))
    assert (first.event_id, first.event_time) == ("a", 5)
    assert (first.numeric, first.categories) == ((0.5, 2.0), ("a",))
    assert (first.source_partition, first.source_offset) == (1, 10)
    assert (second.event_id, second.event_time, second.source_offset) == ("b", 7, 11)
    assert math.isnan(second.numeric[0])
    assert second.categories == (None,)


def test_predictions_are_keyed_by_event_id_on_the_models_topic(core: InferenceCore) -> None:
    (send,) = core.process(batch([event("a"), event("b")])).sends
    assert send.topic == MODEL.topics.predictions
    assert send.keys == [b"a", b"b"]
    assert send.partition is None


def test_champion_and_shadow_score_the_same_rows(core: InferenceCore) -> None:
    core.install("m", Serving(1, 3, FirstFeature(), 4, FirstFeature(0.5)))
    found = predictions(core.process(batch([event("a"), event("b", x=0.25)])))
    assert [(p.version, p.scores) for p in found] == [(3, (0.5,)), (3, (0.25,))]
    assert [(p.shadow_version, p.shadow_scores) for p in found] == [(4, (0.25,)), (4, (0.125,))]


def test_a_version_installed_between_two_batches_answers_from_the_next_on(
    core: InferenceCore,
) -> None:
    before = predictions(core.process(batch([event("a"), event("b")])))
    core.install("m", Serving(1, 1, FirstFeature(), -1, None))
    after = predictions(core.process(batch([event("c"), event("d")])))
    assert [p.version for p in before + after] == [0, 0, 1, 1]


def test_an_event_of_a_clock_that_is_ahead_becomes_a_dead_letter(known: Catalog) -> None:
    model = replace(MODEL, events=replace(MODEL.events, ahead=100))
    core = InferenceCore(catalog(declared=model), CountingMeter())
    outputs = core.process(batch([event("a", time=1100), event("b", time=1101)]))
    assert [found.event_id for found in predictions(outputs)] == ["a"]
    (letter,) = outputs.dead_letters
    assert (letter.offset, letter.reason) == (11, Reason.OUT_OF_LIMITS)


def test_rows_that_are_no_event_become_dead_letters_and_the_others_are_answered(
    core: InferenceCore,
) -> None:
    outputs = core.process(batch([b"nonsense", event("a"), None, event("b", y="two")]))
    assert [p.event_id for p in predictions(outputs)] == ["a"]
    assert predictions(outputs)[0].source_offset == 11
    letters = [(d.offset, d.reason, d.value, d.key) for d in outputs.dead_letters]
    assert letters == [
        (10, Reason.NOT_JSON, b"nonsense", b"k"),
        (12, Reason.EMPTY, None, b"k"),
        (13, Reason.WRONG_TYPE, event("b", y="two"), b"k"),
    ]
    assert {d.service for d in outputs.dead_letters} == {"inference"}


def test_a_batch_of_nothing_but_bad_rows_writes_no_prediction(core: InferenceCore) -> None:
    outputs = core.process(batch([b"nonsense"]))
    assert outputs.sends == ()
    assert len(outputs.dead_letters) == 1


def test_a_topic_of_no_known_model_waits_for_the_control_topics(core: InferenceCore) -> None:
    with pytest.raises(ControlBehindError, match="elsewhere"):
        core.process(batch([event("a")], topic="elsewhere"))


def test_a_changed_declaration_holds_from_the_next_batch_on(
    core: InferenceCore, known: Catalog
) -> None:
    core.process(batch([event("a", time=900)]))
    known.declare(replace(MODEL, events=replace(MODEL.events, latest=500)))
    outputs = core.process(batch([event("b", time=900)]))
    assert [d.reason for d in outputs.dead_letters] == [Reason.OUT_OF_LIMITS]


def with_default(model: Declaration) -> Declaration:
    """The same model, whose events may leave out ``y``."""
    fields = [f | {"default": 0.0} if f["name"] == "y" else f for f in SCHEMA["fields"]]
    schema = parse_schema(json.dumps(SCHEMA | {"fields": fields}))
    assert schema.fingerprint == model.events.schema.fingerprint
    return replace(model, events=replace(model.events, schema=schema))


def test_a_default_added_to_the_schema_holds_from_the_next_batch_on(
    core: InferenceCore, known: Catalog
) -> None:
    short = b'{"id": "a", "time": 5}'
    assert [d.reason for d in core.process(batch([short])).dead_letters] == [Reason.MISSING_FIELD]
    known.declare(with_default(MODEL))
    outputs = core.process(batch([short]))
    assert (outputs.dead_letters, len(predictions(outputs))) == ([], 1)


@pytest.mark.parametrize("first", ["strict", "lenient"])
def test_models_that_share_a_topic_have_the_defaults_of_their_own_schemas(first: str) -> None:
    topics = ModelTopics.of("shop", shared=True)
    strict = replace(MODEL, name="strict", topics=topics)
    lenient = replace(with_default(MODEL), name="lenient", topics=topics)
    known = catalog(declared=strict)
    known.declare(lenient)
    core = InferenceCore(known, CountingMeter())
    for name in sorted(["strict", "lenient"], key=lambda name: name != first):
        one = batch([b'{"id": "a", "time": 5}'], topics.events)
        shared = Shared([one], [name], np.zeros(1, np.int64), np.array([0, 1]))
        outputs = core.process_shared([shared])
        assert [d.reason for d in outputs.dead_letters] == (
            [Reason.MISSING_FIELD] if name == "strict" else []
        )
        assert len(predictions(outputs)) == (name == "lenient")


def test_scores_do_not_depend_on_the_batch_a_row_comes_in(core: InferenceCore) -> None:
    core.install("m", Serving(1, 1, FirstFeature(), -1, None))
    values = [event(str(i), x=i / 10) for i in range(10)]
    whole = predictions(core.process(batch(values)))
    parts = [p for value in values for p in predictions(core.process(batch([value])))]
    assert [(p.event_id, p.scores) for p in whole] == [(p.event_id, p.scores) for p in parts]


def test_latency_is_measured_once_the_predictions_are_committed(known: Catalog) -> None:
    class Observing(CountingMeter):
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        @override
        def observe(self, metric: Any, values: Any, *labels: str) -> None:
            if metric is metrics.LATENCY:
                self.seconds += list(values)

    meter = Observing()
    core = InferenceCore(known, meter)
    outputs = core.process(batch([event("a"), event("b")]))
    assert meter.seconds == []
    assert outputs.committed is not None
    outputs.committed(1250)
    assert meter.seconds == [0.25, 0.25]

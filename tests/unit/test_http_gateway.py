"""Micro-batches, what is written down, strict models, and what happens where there is no room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftloop.inference.core import Serving
from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import NEWEST
from driftloop.kernel import metrics
from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.codec.murmur2 import partition_of
from http_builders import MODEL, NOW, STRICT, GatewayBench, Weighted


@pytest.fixture
def bench() -> GatewayBench:
    return GatewayBench()


def requests(bench: GatewayBench, code: int) -> float:
    return bench.meter.counts.get((metrics.HTTP_REQUESTS.name, "m", str(code)), 0.0)


def test_requests_that_wait_together_are_scored_together(bench: GatewayBench) -> None:
    bench.submit("a", [1.0])
    bench.submit("b", [2.0, 3.0])
    bench.run()
    assert bench.models.champion.asked == [3]
    assert (bench.scores("a"), bench.scores("b")) == ([1.0], [2.0, 3.0])


def test_a_lone_request_is_answered_by_the_next_run(bench: GatewayBench) -> None:
    bench.submit("a", [1.0])
    assert bench.gateway.run() is False
    assert bench.replies["a"].status == 200


def test_answers_do_not_depend_on_who_else_asks(bench: GatewayBench) -> None:
    bench.submit("a", [0.1, None])
    bench.run()
    alone = bench.replies["a"].body
    other = GatewayBench()
    other.submit("b", [7.0])
    other.submit("a", [0.1, None])
    other.run()
    assert other.replies["a"].body == alone


def test_a_batch_has_at_most_the_rows_of_the_limit() -> None:
    bench = GatewayBench(rows=4)
    for id in "abcd":
        bench.submit(id, [1.0, 2.0, 3.0])
    assert bench.gateway.run() is True
    assert bench.models.champion.asked == [3]
    bench.run()
    assert bench.models.champion.asked == [3, 3, 3, 3]
    assert set(bench.replies) == set("abcd")


def test_each_row_is_written_down_with_an_id_made_of_the_requests(bench: GatewayBench) -> None:
    bench.submit("one", [1.0])
    bench.submit("two", [2.0, 3.0])
    bench.run()
    assert [p.event_id for p in bench.outbox.predictions()] == ["one", "two/0", "two/1"]
    (send,) = bench.outbox.sent
    assert send.topic == MODEL.topics.predictions
    assert list(send.keys) == [b"one", b"two/0", b"two/1"]


def test_a_written_prediction_holds_features_scores_shadow_and_time(bench: GatewayBench) -> None:
    bench.submit("one", [2.0])
    bench.run()
    (found,) = bench.outbox.predictions()
    assert (found.version, found.scores, found.numeric, found.categories) == (
        3, (2.0,), (2.0, 1.0), ("a",),
    )  # fmt: skip
    assert (found.shadow_version, found.shadow_scores) == (4, (1.0,))
    assert found.event_time == NOW
    assert found.source_offset == -1
    assert found.source_partition == partition_of(b"one", MODEL.partitions)


def test_batches_of_the_same_milliseconds_are_written_down_together(bench: GatewayBench) -> None:
    for id, kind in (("a", [1.0]), ("b", [2.0, 3.0])):
        bench.submit(id, kind)
        bench.gateway.run()
    assert bench.outbox.sent == []
    bench.gateway.settle()
    (send,) = bench.outbox.sent
    assert list(send.keys) == [b"a", b"b/0", b"b/1"]
    assert [p.scores for p in bench.outbox.predictions()] == [(1.0,), (2.0,), (3.0,)]
    assert bench.models.shadow.asked == [3]


def test_the_shadow_asked_for_by_number_answers_and_is_named(bench: GatewayBench) -> None:
    bench.submit("a", [2.0], version=4)
    bench.submit("b", [2.0], version=3)
    bench.submit("c", [2.0], version=NEWEST)
    bench.run()
    assert bench.scores("a") == [1.0]
    assert bench.replies["a"].body["model_version"] == "4"
    found = {p.event_id: (p.version, p.shadow_version) for p in bench.outbox.predictions()}
    assert found == {"a": (4, -1), "b": (3, 4), "c": (3, 4)}


def test_a_version_that_is_not_loaded_is_waited_for(bench: GatewayBench) -> None:
    bench.submit("a", [2.0], version=2)
    bench.submit("b", [2.0], version=9)
    bench.submit("c", [2.0])
    bench.run()
    assert bench.replies["b"].status == 404
    assert "the newest are 1, 2, 3, 4, 5" in bench.replies["b"].body["error"]
    assert bench.scores("c") == [2.0]
    assert "a" not in bench.replies
    assert bench.gateway.unsettled
    assert set(bench.models.wanted) == {2}
    bench.models.others[2] = Weighted(5.0)
    bench.gateway.settle()
    assert bench.gateway.queued
    bench.run()
    assert bench.scores("a") == [10.0]
    assert bench.replies["a"].body["model_version"] == "2"
    found = {p.event_id: (p.version, p.shadow_version) for p in bench.outbox.predictions()}
    assert found["a"] == (2, -1)


def test_a_champion_that_is_not_loaded_is_waited_for(bench: GatewayBench) -> None:
    bench.models.away = True
    bench.submit("a", [2.0])
    bench.run()
    assert bench.replies == {}
    bench.models.away = False
    bench.run()
    bench.run()
    assert bench.scores("a") == [2.0]


def test_loading_that_takes_too_long_is_503_with_a_time(bench: GatewayBench) -> None:
    bench.submit("a", [2.0], version=2)
    bench.run()
    bench.clock.advance(5_001)
    bench.submit("b", [2.0], version=2)
    bench.run()
    assert (bench.replies["a"].status, bench.replies["a"].retry_after_s) == (503, 1)
    assert "version 2 of model 'm' is being loaded" in bench.replies["a"].body["error"]
    assert "b" not in bench.replies
    bench.gateway.close(1.0)
    assert bench.replies["b"].status == 503


def test_a_version_that_cannot_be_loaded_is_503_with_a_time(bench: GatewayBench) -> None:
    bench.submit("a", [2.0], version=5)
    bench.run()
    assert (bench.replies["a"].status, bench.replies["a"].retry_after_s) == (503, 5)


def test_requests_that_wait_for_a_version_count_for_the_queue() -> None:
    bench = GatewayBench(queue_rows=3)
    bench.submit("a", [1.0, 1.0], version=2)
    bench.run()
    with pytest.raises(ProtocolError) as refused:
        bench.submit("b", [1.0, 1.0])
    assert refused.value.status == 429


def test_a_swap_between_two_batches_counts_from_the_next_on(bench: GatewayBench) -> None:
    bench.submit("a", [2.0])
    bench.gateway.run()
    bench.models.now = Serving(2, 5, Weighted(10.0), -1, None)
    bench.submit("b", [2.0])
    bench.run()
    assert [(p.version, p.scores) for p in bench.outbox.predictions()] == [
        (3, (2.0,)),
        (5, (20.0,)),
    ]


def test_a_model_that_cannot_answer_yet_is_503_with_a_time(bench: GatewayBench) -> None:
    bench.models.now = None
    bench.submit("a", [1.0])
    bench.run()
    assert (bench.replies["a"].status, bench.replies["a"].retry_after_s) == (503, 1)


def test_a_number_outside_its_limits_is_refused_and_the_others_are_answered(
    bench: GatewayBench,
) -> None:
    bench.submit("a", [1.0])
    bench.submit("bad", [0.0, 1e10])
    bench.submit("c", [3.0])
    bench.run()
    assert bench.replies["bad"].status == 400
    assert bench.replies["bad"].body["error"] == (
        "input 'x': row 1 is 10000000000.0, outside [-1000000000.0, 1000000000.0];"
        " null is a missing value"
    )
    assert (bench.scores("a"), bench.scores("c")) == ([1.0], [3.0])
    assert [p.event_id for p in bench.outbox.predictions()] == ["a", "c"]


def test_a_model_that_fails_is_500_and_the_next_request_is_answered(bench: GatewayBench) -> None:
    class Broken(Weighted):
        def score(self, features: object) -> object:  # type: ignore[override]
            raise ZeroDivisionError

    bench.models.now = Serving(1, 3, Broken(), -1, None)  # type: ignore[arg-type]
    bench.submit("a", [1.0])
    bench.run()
    assert bench.replies["a"].status == 500
    bench.models.now = Serving(1, 3, Weighted(), -1, None)
    bench.submit("b", [1.0])
    bench.run()
    assert bench.replies["b"].status == 200


def test_a_full_queue_is_429_with_a_time() -> None:
    bench = GatewayBench(queue_rows=4)
    bench.submit("a", [1.0, 2.0, 3.0])
    with pytest.raises(ProtocolError) as refused:
        bench.submit("b", [1.0, 2.0])
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    bench.run()
    bench.submit("c", [1.0, 2.0])
    bench.run()
    assert bench.replies["c"].status == 200


def test_a_request_alone_may_be_larger_than_the_queue() -> None:
    bench = GatewayBench(queue_rows=1)
    bench.submit("a", [1.0, 2.0, 3.0])
    bench.run()
    assert bench.replies["a"].status == 200


def test_who_waited_too_long_is_503(bench: GatewayBench) -> None:
    bench.submit("a", [1.0])
    bench.clock.advance(5_001)
    bench.run()
    assert bench.replies["a"].status == 503
    assert bench.outbox.sent == []


def test_who_left_is_neither_scored_nor_written_down(bench: GatewayBench) -> None:
    bench.submit("a", [1.0])
    bench.gone.add("a")
    bench.run()
    assert bench.models.champion.asked == []
    assert bench.outbox.sent == []
    assert requests(bench, 499) == 1


def test_what_kafka_does_not_take_is_counted_and_was_answered(bench: GatewayBench) -> None:
    bench.outbox.lose = True
    bench.submit("a", [1.0, 2.0])
    bench.run()
    assert bench.replies["a"].status == 200
    bench.gateway.settle()
    assert bench.meter.counts[metrics.HTTP_NOT_LOGGED.name, "m"] == 2


def test_an_outbox_that_fails_does_not_take_the_answer_away(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(bench.outbox, "confirm", fail)
    bench.submit("a", [1.0])
    bench.run()
    assert bench.replies["a"].status == 200
    assert bench.meter.counts[metrics.HTTP_NOT_LOGGED.name, "m"] == 1


class Failing(Weighted):
    def score(self, features: Features) -> F64:
        raise MemoryError


def test_a_shadow_that_fails_does_not_take_the_champions_record_away(bench: GatewayBench) -> None:
    assert bench.models.now is not None
    bench.models.now = replace(bench.models.now, shadow_model=Failing())
    bench.submit("a", [1.0, 2.0])
    bench.run()
    assert bench.scores("a") == [1.0, 2.0]
    for found in bench.outbox.predictions():
        assert (found.version, found.shadow_version, found.shadow_scores) == (3, -1, ())
    assert bench.meter.counts[metrics.HTTP_NOT_COMPARED.name, "m"] == 2
    assert (metrics.HTTP_NOT_LOGGED.name, "m") not in bench.meter.counts


def test_a_strict_model_answers_only_what_is_acknowledged() -> None:
    bench = GatewayBench(STRICT)
    bench.outbox.hold = True
    bench.submit("a", [1.0])
    bench.run()
    bench.gateway.settle()
    assert bench.replies == {}
    assert bench.gateway.holding
    bench.outbox.hold = False
    bench.gateway.settle()
    assert bench.scores("a") == [1.0]
    assert not bench.gateway.unsettled


def test_a_strict_model_refuses_what_kafka_does_not_take() -> None:
    bench = GatewayBench(STRICT)
    bench.outbox.lose = True
    bench.submit("a", [1.0])
    bench.run()
    bench.gateway.settle()
    assert (bench.replies["a"].status, bench.replies["a"].retry_after_s) == (503, 1)
    assert requests(bench, 503) == 1
    assert requests(bench, 200) == 0


def test_a_strict_model_refuses_when_it_takes_too_long_and_answers_once() -> None:
    bench = GatewayBench(STRICT)
    bench.outbox.hold = True
    bench.submit("a", [1.0])
    bench.run()
    bench.clock.advance(5_001)
    bench.gateway.settle()
    assert bench.replies["a"].status == 503
    bench.outbox.hold = False
    bench.gateway.settle()
    assert bench.replies["a"].status == 503


def test_who_stands_behind_younger_ones_is_not_forgotten() -> None:
    bench = GatewayBench(STRICT)
    bench.outbox.hold = True
    bench.models.away = True
    bench.submit("old", [1.0])
    bench.run()
    bench.clock.advance(4_000)
    bench.models.away = False
    bench.submit("young", [2.0])
    bench.gateway.run()
    bench.run()
    bench.run()
    assert bench.replies == {}
    bench.clock.advance(1_200)
    bench.gateway.settle()
    assert {id: reply.status for id, reply in bench.replies.items()} == {"old": 503}


def test_requests_that_wait_for_kafka_count_for_the_queue() -> None:
    bench = GatewayBench(STRICT, queue_rows=2)
    bench.outbox.hold = True
    bench.submit("a", [1.0, 2.0])
    bench.run()
    with pytest.raises(ProtocolError) as refused:
        bench.submit("b", [1.0])
    assert refused.value.status == 429


def test_closing_answers_what_waits_and_has_it_written() -> None:
    bench = GatewayBench(STRICT)
    bench.submit("a", [1.0])
    bench.gateway.close(1.0)
    assert bench.replies["a"].status == 200
    assert bench.outbox.closed


def test_several_scores_per_row_come_as_a_matrix() -> None:
    import numpy as np

    class Three:
        def score(self, features: object) -> object:
            n = len(features.numeric)  # type: ignore[attr-defined]
            return np.tile([0.2, 0.3, 0.5], (n, 1))

    bench = GatewayBench(replace(MODEL))
    bench.models.now = Serving(1, 3, Three(), -1, None)  # type: ignore[arg-type]
    bench.submit("a", [1.0, 2.0])
    bench.run()
    output = bench.replies["a"].body["outputs"][0]
    assert output["shape"] == [2, 3]
    assert output["data"] == [0.2, 0.3, 0.5] * 2
    assert [p.scores for p in bench.outbox.predictions()] == [(0.2, 0.3, 0.5)] * 2

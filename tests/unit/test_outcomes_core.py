"""The label join: either order, each once, within the horizon, and what is kept meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from typing_extensions import override

from driftloop.kernel import metrics
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.reasons import Reason
from driftloop.kernel.stores import MemoryStore
from driftloop.outcomes import filter, state
from join_builders import (
    HORIZON,
    IDS,
    PARTITION,
    Bare,
    Join,
    copy,
    label,
    model,
    prediction,
    through,
)
from window_builders import CountingMeter

A, B, C = IDS[:3]
FAR = 100 * HORIZON


@pytest.fixture
def meter() -> CountingMeter:
    return CountingMeter()


@pytest.fixture
def join(meter: CountingMeter) -> Join:
    return Join(model(), meter=meter)


def pass_by(join: Join, time: int) -> None:
    """Move both watermarks to ``time`` and let go of what that expires."""
    other, another = IDS[-2:]
    for id in (other, another):
        join.predict(prediction(id, time))
        join.tell(label(id, time))
        join.settle()


def test_a_label_after_its_prediction_makes_an_outcome(join: Join) -> None:
    join.predict(prediction(A, 100, 0.75))
    join.settle()
    join.tell(label(A, 300, 1.0))
    join.settle()
    (outcome,) = join.outcomes()
    assert (outcome.event_id, outcome.event_time, outcome.outcome_time) == (A, 100, 300)
    assert (outcome.label, outcome.label_delay, outcome.scores) == (1.0, 200, (0.75,))
    assert (outcome.categories, outcome.numeric[0]) == (("a",), 1.5)


def test_a_label_before_its_prediction_makes_the_same_outcome(join: Join) -> None:
    join.tell(label(A, 300))
    join.settle()
    assert join.outcomes() == []
    join.predict(prediction(A, 100))
    join.settle()
    assert [(o.event_id, o.outcome_time) for o in join.outcomes()] == [(A, 300)]


def test_an_outcome_names_where_its_halves_lie(join: Join) -> None:
    join.predict(prediction(B, 100), prediction(A, 100))
    join.tell(label(C, 100), label(A, 200))
    join.settle()
    (outcome,) = join.outcomes()
    assert (outcome.prediction_partition, outcome.prediction_offset) == (0, 1)
    assert (outcome.label_partition, outcome.label_offset) == (0, 1)


def test_a_label_known_before_the_event_has_the_events_time(join: Join) -> None:
    join.predict(prediction(A, 500))
    join.tell(label(A, 400))
    join.settle()
    (outcome,) = join.outcomes()
    assert (outcome.outcome_time, outcome.label_delay) == (500, -100)


def test_the_first_label_counts_and_others_are_duplicates(join: Join, meter: CountingMeter) -> None:
    join.predict(prediction(A, 100), prediction(B, 100))
    join.settle()
    join.tell(label(A, 200, 1.0), label(A, 300, 0.0))
    join.settle()
    join.tell(label(A, 400, 0.0))
    join.settle()
    assert [o.label for o in join.outcomes()] == [1.0]
    assert meter.counts[metrics.DUPLICATE_LABELS.name, "m"] == 2


def test_the_first_prediction_counts_and_others_are_duplicates(
    join: Join, meter: CountingMeter
) -> None:
    join.predict(prediction(A, 100, 0.5), prediction(A, 100, 0.25))
    join.settle()
    join.tell(label(A, 200))
    join.settle()
    join.predict(prediction(A, 100, 0.125))
    join.settle()
    assert [o.scores for o in join.outcomes()] == [(0.5,)]
    assert meter.counts[metrics.DUPLICATE_PREDICTIONS.name, "m"] == 2


def test_a_label_at_the_horizon_still_joins(join: Join) -> None:
    join.predict(prediction(A, 100))
    join.tell(label(A, 100 + HORIZON))
    join.settle()
    assert len(join.outcomes()) == 1


def test_a_label_past_the_horizon_is_a_dead_letter(join: Join, meter: CountingMeter) -> None:
    join.predict(prediction(A, 100))
    join.settle()
    join.tell(label(A, 101 + HORIZON))
    join.settle()
    assert join.outcomes() == []
    assert [letter.reason for letter in join.letters()] == [Reason.LABEL_TOO_LATE]
    assert meter.counts[metrics.UNLABELLED.name, "m"] == 1


@pytest.mark.parametrize("waits_in_the_store", [False, True])
def test_a_label_past_the_horizon_that_came_first_is_a_dead_letter_of_its_place(
    join: Join, meter: CountingMeter, waits_in_the_store: bool
) -> None:
    join.tell(label(B, 100), label(A, 101 + HORIZON, 0.0))
    join.settle()
    if waits_in_the_store:
        join.core.checkpoint()
        join.core.checkpoint()
    join.predict(prediction(A, 100), prediction(B, 100))
    join.settle()
    assert [outcome.event_id for outcome in join.outcomes()] == [B]
    (letter,) = join.letters()
    assert (letter.reason, letter.topic) == (Reason.LABEL_TOO_LATE, join.model.topics.labels)
    assert (letter.partition, letter.offset) == (PARTITION, 1)
    assert (letter.key, letter.value) == (A.encode(), None)
    assert "read the record at its offset" in letter.detail
    assert meter.counts[metrics.UNLABELLED.name, "m"] == 1
    assert (metrics.ORPHANED.name, "m") not in meter.counts
    assert join.core.open_counts() == {"m": (0, 0)}


def test_a_label_in_the_wrong_partition_is_a_dead_letter(join: Join) -> None:
    join.tell(label("e0" if "e0" not in IDS else "e1", 100))
    join.settle()
    assert [letter.reason for letter in join.letters()] == [Reason.WRONG_PARTITION]


def test_bytes_that_are_no_record_are_dead_letters_and_the_rest_goes_on(join: Join) -> None:
    join.predict(b"nonsense", prediction(A, 100))
    join.tell(label(A, 200), b"nonsense")
    join.settle()
    assert len(join.outcomes()) == 1
    assert [letter.value for letter in join.letters()] == [b"nonsense"] * 2


def test_what_waits_is_counted(join: Join) -> None:
    join.predict(prediction(A, 100), prediction(B, 100))
    join.tell(label(B, 200), label(C, 200))
    join.settle()
    assert join.core.open_counts() == {"m": (1, 1)}


def test_both_halves_are_forgotten_when_both_topics_have_passed_them(
    join: Join, meter: CountingMeter
) -> None:
    join.predict(prediction(A, 100))
    join.tell(label(B, 200))
    join.settle()
    pass_by(join, FAR)
    assert join.core.open_counts() == {"m": (0, 0)}
    assert meter.counts[metrics.UNLABELLED.name, "m"] == 1
    assert meter.counts[metrics.ORPHANED.name, "m"] == 1


def test_what_was_removed_is_counted_though_nothing_more_comes(meter: CountingMeter) -> None:
    join = Join(model(), meter=meter, checkpoint_ms=30_000)
    join.predict(prediction(A, 100))
    join.settle()
    pass_by(join, FAR)
    assert (metrics.UNLABELLED.name, "m") not in meter.counts
    join.clock.advance(30_000)
    join.settle()
    assert meter.counts[metrics.UNLABELLED.name, "m"] == 1


def test_an_event_of_the_far_future_does_not_keep_those_that_came_with_it(join: Join) -> None:
    join.predict(prediction(A, 100), prediction(B, FAR), prediction(C, 200))
    join.tell(label(IDS[3], 100), label(IDS[4], FAR))
    join.settle()
    # The far ones moved both watermarks past the others.
    assert join.core.open_counts() == {"m": (1, 1)}


def test_the_state_does_not_grow_with_the_stream(join: Join) -> None:
    sizes = []
    for turn in range(len(IDS) // 4):
        few = IDS[4 * turn : 4 * turn + 4]
        time = turn * HORIZON
        join.predict(*(prediction(id, time) for id in few))
        join.tell(*(label(id, time + 1) for id in few[:3]))
        join.settle()
        sizes.append(len(dict(join.store.scan(b"", b"\xff" * 8))))
    assert max(sizes) == max(sizes[:10])


def test_predictions_wait_for_labels_that_are_yet_to_be_produced(join: Join) -> None:
    for turn, id in enumerate(IDS[:20]):
        join.predict(prediction(id, turn * HORIZON))
        join.settle()
        join.clock.advance(10_000)
    assert join.core.open_counts() == {"m": (20, 0)}
    for turn, id in enumerate(IDS[:20]):
        join.tell(label(id, turn * HORIZON + 1))
        join.settle()
    assert len(join.outcomes()) == 20


def test_predictions_of_a_backlog_wait_for_labels_that_are_yet_to_be_read(
    meter: CountingMeter,
) -> None:
    join = Join(model(), rows=1, meter=meter)
    ids = IDS[:40]
    join.predict(*(prediction(id, turn * HORIZON) for turn, id in enumerate(ids)))
    join.tell(*(label(id, turn * HORIZON + 1) for turn, id in enumerate(ids)))
    # All predictions first: forty horizons ahead of the labels.
    for part in join.log.read(TopicPartition(join.model.topics.predictions, 0), 0, 40, limit=1):
        join.core.process(part)
        join.core.checkpoint()
    assert (metrics.UNLABELLED.name, "m") not in meter.counts
    labels = TopicPartition(join.model.topics.labels, 0)
    joined = [join.core.process(part).sends for part in join.log.read(labels, 0, 40, limit=1)]
    assert sum(len(send) for sends in joined for send in sends) == len(ids)


def test_a_lost_store_is_rebuilt_from_the_log_without_output_or_count(
    join: Join, meter: CountingMeter
) -> None:
    join.predict(*(prediction(id, 100) for id in IDS[:10]))
    join.tell(*(label(id, 200) for id in IDS[5:15]))
    join.settle()
    before = join.entries()
    join.store = MemoryStore()
    join.start()
    join.settle()
    assert join.entries() == before
    assert join.core.open_counts() == {"m": (5, 5)}
    assert len(join.outcomes()) == 5
    assert meter.counts[metrics.OUTCOMES.name, "m"] == 5
    join.tell(*(label(id, 300) for id in IDS[:5]))
    join.settle()
    assert len({o.event_id for o in join.outcomes()}) == len(join.outcomes()) == 10


def test_a_store_that_lags_behind_reads_the_rest_again(join: Join) -> None:
    join.predict(*(prediction(id, 100) for id in IDS[:4]))
    join.settle()
    old = copy(join.store)
    join.tell(*(label(id, 200) for id in IDS[:2]))
    join.settle()
    now = join.entries()
    join.store = old
    join.start()
    join.settle()
    assert join.entries() == now
    assert len(join.outcomes()) == 2


def test_a_store_that_is_ahead_of_the_log_is_built_anew(join: Join) -> None:
    other = Join(model())
    for bench in (join, other):
        bench.predict(*(prediction(id, 100) for id in IDS[:4]))
        bench.settle()
    now = join.entries()
    other.tell(*(label(id, 200) for id in IDS[:2]))
    other.settle()
    join.store = other.store
    join.start()
    join.settle()
    assert join.entries() == now
    join.tell(label(IDS[0], 200))
    join.settle()
    assert [o.event_id for o in join.outcomes()] == [IDS[0]]


def test_a_checkpoint_counts_once_it_is_written() -> None:
    bare = Bare(MemoryStore())
    bare.tell(label(A, 100))
    checkpoint = bare.core.flush()
    assert bare.core.checkpoints == 0
    through(checkpoint)
    assert bare.core.checkpoints == 1


def test_what_expires_while_a_checkpoint_is_written_is_forgotten_when_it_is() -> None:
    bare = Bare(MemoryStore())
    bare.tell(label(A, 100))
    through(bare.core.flush())
    bare.tell(label(B, FAR))
    checkpoint = bare.core.flush()
    # The last record there is: nothing comes that would give another occasion.
    bare.predict(prediction(B, FAR))
    assert bare.open() == (0, 1)
    bare.core.on_time(0)
    assert bare.open() == (0, 1)
    through(checkpoint)
    bare.core.on_time(0)
    assert bare.open() == (0, 0)
    through(bare.core.flush())


def test_what_is_stored_while_a_restarted_join_reads_its_ids_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "_SCANNED_AT_ONCE", 2)
    store = MemoryStore()
    before = Bare(store)
    before.predict(*(prediction(id, 100) for id in IDS[:5]))
    through(before.core.flush())
    bare = Bare(store)
    bare.predict(prediction(IDS[5], 100))
    through(bare.core.flush())
    for id in IDS[6:12]:
        bare.predict(prediction(id, 100))
    outputs = bare.tell(*(label(id, 200) for id in IDS[:12]))
    assert sum(map(len, outputs.sends)) == 12
    assert bare.open() == (0, 0)


def test_of_what_is_declared_no_more_nothing_stays_when_its_partition_leaves() -> None:
    bare = Bare(MemoryStore())
    bare.predict(prediction(A, 100))
    models = bare.catalog.topics.models
    bare.catalog.apply(RecordBatch(models, 0, [1], [0], [bare.model.name.encode()], [None]))
    bare.core.drop(TopicPartition(bare.model.topics.predictions, PARTITION))
    assert bare.core.open_counts() == {}
    assert bare.core.flush().committed is None


class Asked(MemoryStore):
    """Counts the ids of events that are asked for."""

    ids = 0

    @override
    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        self.ids += sum(key.endswith(tuple(id.encode() for id in IDS)) for key in keys)
        return super().get_many(keys)


@pytest.fixture
def small_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filters take 64 ids."""
    monkeypatch.setattr(filter, "_FIRST_IDS", 32)
    monkeypatch.setattr(filter, "_MOST_IDS", 32)
    monkeypatch.setattr(filter, "MOST_FILTERS", 2)


def turn(bare: Bare, store: Asked, new: Sequence[str], time: int) -> int:
    """New ids, and both topics pass what came long before. How many were asked for as new ones."""
    before = store.ids
    bare.predict(*(prediction(id, time) for id in new))
    asked = store.ids - before
    bare.tell(*(label(id, time) for id in new))
    through(bare.core.flush())
    bare.core.on_time(0)
    return asked


@pytest.mark.usefixtures("small_filters")
@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(20, id="what a restarted join has read is forgotten in its time"),
        pytest.param(80, id="what was too much is not for ever"),
    ],
)
def test_the_store_is_not_asked_for_new_ids(kept: int) -> None:
    store = Asked()
    before = Bare(store)
    first = IDS[-kept:]
    before.predict(*(prediction(id, 0) for id in first))
    before.tell(*(label(id, 0) for id in first))
    through(before.core.flush())
    bare = Bare(store)
    bare._next = before._next
    asked = [
        turn(bare, store, IDS[4 * number : 4 * (number + 1)], 2 * number * HORIZON)
        for number in range(1, 25)
    ]
    assert not any(asked[6:])

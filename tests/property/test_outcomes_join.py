"""The join gives the same outcomes however its two topics interleave, are cut into batches, and
whenever the process dies, with its store, an older one, none, or one from the future."""

from __future__ import annotations

import enum
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftloop.kernel.stores import MemoryStore
from join_builders import HORIZON, IDS, Join, copy, label, model, prediction

EVENTS = 24
FOREVER = 1 << 40


class Do(enum.Enum):
    PREDICT = "predict"
    TELL = "tell"
    STEP = "step"
    DIE = "die"
    DIE_BEFORE_THE_STORE_IS_WRITTEN = "die before the store is written"
    LOSE_THE_STORE = "lose the store"
    TAKE_AN_OLD_STORE = "take an old store"
    TAKE_A_STORE_FROM_THE_FUTURE = "take a store from the future"


@dataclass(frozen=True)
class Topics:
    """What is written, in order."""

    predictions: tuple[tuple[str, int], ...]
    """Event id and time."""
    labels: tuple[tuple[str, int, float], ...]
    """Event id, time observed and label."""

    def expected(self, horizon: int) -> dict[str, tuple[int, int]]:
        """Event id to the offsets of prediction and label: the first of each, if in time."""
        first: dict[str, tuple[int, int]] = {}
        for offset, (id, time) in enumerate(self.predictions):
            first.setdefault(id, (offset, time))
        found: dict[str, tuple[int, int]] = {}
        settled: set[str] = set()
        for offset, (id, observed, _) in enumerate(self.labels):
            if id in first and id not in settled:
                settled.add(id)
                if observed - first[id][1] <= horizon:
                    found[id] = (first[id][0], offset)
        return found


@st.composite
def topics(draw: st.DrawFn) -> Topics:
    """Both topics in the order of time, but for disorder of less than the horizon."""
    disorder = st.integers(0, HORIZON // 4)
    predictions: list[tuple[int, str, int]] = []
    labels: list[tuple[int, str, int, float]] = []
    time = 0
    for id in IDS[: draw(st.integers(1, EVENTS))]:
        time += draw(st.integers(0, 2 * HORIZON))
        for _ in range(draw(st.integers(0, 2))):
            predictions.append((time + draw(disorder), id, time))
        for _ in range(draw(st.integers(0, 2))):
            observed = max(0, time + draw(st.integers(-HORIZON // 4, HORIZON + 200)))
            value = float(draw(st.booleans()))
            labels.append((observed + draw(disorder), id, observed, value))
    return Topics(
        tuple((id, time) for _, id, time in sorted(predictions)),
        tuple((id, observed, value) for _, id, observed, value in sorted(labels)),
    )


@st.composite
def schedules(draw: st.DrawFn) -> list[tuple[Do, int]]:
    return draw(st.lists(st.tuples(st.sampled_from(Do), st.integers(1, 8)), max_size=40))


def run(join: Join, wanted: Topics, schedule: list[tuple[Do, int]], future: MemoryStore) -> None:
    """Carry out the schedule, then the rest of both topics."""
    predictions = [prediction(id, time) for id, time in wanted.predictions]
    labels = [label(id, observed, value) for id, observed, value in wanted.labels]
    stores = [copy(join.store)]
    for what, count in [*schedule, (Do.PREDICT, EVENTS * 2), (Do.TELL, EVENTS * 2)]:
        match what:
            case Do.PREDICT:
                join.predict(*predictions[:count])
                del predictions[:count]
            case Do.TELL:
                join.tell(*labels[:count])
                del labels[:count]
            case Do.STEP:
                join.step()
                stores.append(copy(join.store))
            case Do.DIE:
                join.start()
            case Do.DIE_BEFORE_THE_STORE_IS_WRITTEN:
                die_before_the_store_is_written(join)
            case Do.LOSE_THE_STORE:
                join.store = MemoryStore()
                join.start()
            case Do.TAKE_AN_OLD_STORE:
                join.store = copy(stores[-1 - count % len(stores)])
                join.start()
            case Do.TAKE_A_STORE_FROM_THE_FUTURE:
                join.store = copy(future)
                join.start()
    join.settle()


def die_before_the_store_is_written(join: Join) -> None:
    def dies() -> None:
        raise KeyboardInterrupt

    join.core._write = dies  # type: ignore[method-assign]
    with suppress(KeyboardInterrupt):
        join.step()
    join.start()


def undisturbed(wanted: Topics, horizon: int) -> Join:
    join = Join(model(horizon))
    run(join, wanted, [], MemoryStore())
    return join


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topics(), schedules(), st.integers(1, 20))
def test_outcomes_depend_on_the_two_topics_alone(
    wanted: Topics, schedule: list[tuple[Do, int]], rows: int
) -> None:
    join = Join(model(), rows=rows)
    run(join, wanted, schedule, undisturbed(wanted, HORIZON).store)
    found = join.outcomes()
    assert {o.event_id: (o.prediction_offset, o.label_offset) for o in found} == wanted.expected(
        HORIZON
    )
    assert len(found) == len({o.event_id for o in found})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topics(), schedules(), st.integers(1, 20))
def test_the_state_is_as_if_it_had_never_died(
    wanted: Topics, schedule: list[tuple[Do, int]], rows: int
) -> None:
    never_died = undisturbed(wanted, FOREVER)
    join = Join(model(FOREVER), rows=rows)
    run(join, wanted, schedule, never_died.store)
    assert join.entries() == never_died.entries()
    assert sorted(o.event_id for o in join.outcomes()) == sorted(wanted.expected(FOREVER))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topics(), schedules())
def test_all_is_forgotten_when_its_time_has_passed(
    wanted: Topics, schedule: list[tuple[Do, int]]
) -> None:
    join = Join(model())
    run(join, wanted, schedule, MemoryStore())
    for id in IDS[-3:]:
        join.predict(prediction(id, 1000 * HORIZON))
        join.tell(label(id, 1000 * HORIZON))
        join.settle()
    assert join.core.open_counts() == {"m": (0, 0)}
    late = {key for key in join.entries() if not key.endswith(tuple(i.encode() for i in IDS[-3:]))}
    stands = {key for key in late if key[:1] != b"\xff"}  # beside the offsets of its topics
    assert len(stands) == 1

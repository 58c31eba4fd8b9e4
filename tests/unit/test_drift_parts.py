"""Where the shadow changes within a window of outcomes, drift decides on all of its rows."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import fastavro
import pytest

from alert_world import HOUR as WORLD_HOUR
from alert_world import START, OutcomeWorld
from decision_builders import (
    HOUR,
    LEAD,
    MODEL,
    TOPICS,
    alerts_of,
    batch,
    catalog,
    commit,
    declaration,
    outcomes,
    predictions,
    restarted,
    sent,
    version,
)
from driftloop.cli.alert_evidence import evidence_of
from driftloop.cli.alert_records import AlertBook
from driftloop.cli.verifying_alerts import verify_alert
from driftloop.drift.core import DriftCore
from driftloop.drift.parts import MOST_PARTS
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.codec.records import codec
from driftloop.kernel.decisions import UsedWindows
from driftloop.kernel.entries import Entries
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import Alert, AlertKind, Estimate, Stream, Window
from driftloop.kernel.schemas import record_schema

LOW = [0.2, 0.6] * 250
MORNING, EVENING = [0.2] * 250, [0.6] * 250
"""Losses of the two halves of a day that as a whole is usual."""


def core() -> DriftCore:
    return DriftCore(catalog(declaration(), version(1), version(2)))


def give(core: DriftCore, *windows: Window) -> list[Alert]:
    return alerts_of(core.process(batch(TOPICS.windows, *windows)))


def usual(hour: int) -> list[Window]:
    """A day in two parts."""
    return [
        outcomes(hour, MORNING, shadow=2, parts=2),
        outcomes(hour, EVENING, shadow=3, parts=2),
    ]


def used(core: DriftCore) -> int:
    return core.track(MODEL, Stream.OUTCOMES).tested


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_parts_are_one_window_in_whatever_order_they_come(order: slice) -> None:
    split, whole = core(), core()
    for hour in range(30):
        losses = LOW if hour < 10 else [0.9] * 500
        parts = [
            outcomes(hour, losses[:100], shadow=-1, parts=3),
            outcomes(hour, losses[100:150], shadow=2, parts=3),
            outcomes(hour, losses[150:], shadow=5, parts=3),
        ]
        said = give(split, *parts[order])
        expected = give(whole, outcomes(hour, losses))
        assert [unnamed(alert) for alert in said] == [unnamed(alert) for alert in expected]
        assert used(split) == used(whole) == hour + 1
    (alert,) = split.open_alerts()[MODEL]
    start = alert.onset
    assert alert.evidence.windows[:3] == tuple(
        f"{MODEL}/outcomes/{start}/1/{shadow}" for shadow in ("-", 2, 5)
    )


def unnamed(alert: Alert) -> Alert:
    return replace(alert, evidence=replace(alert.evidence, windows=()))


def test_a_part_is_not_judged_by_itself() -> None:
    apart, together = core(), core()
    said, calm = [], []
    for hour in range(40):
        parts = usual(hour)
        calm += give(together, *parts)
        # As if each were all there is.
        for n, part in enumerate(parts):
            start = (2 * hour + n) * HOUR
            said += give(apart, replace(part, start=start, end=start + HOUR, parts=1))
    assert said
    assert not calm


def test_a_restart_between_the_parts_changes_nothing() -> None:
    windows = [w for hour in range(20) for w in usual(hour)]
    windows += [
        outcomes(hour, [1.5] * 200, shadow=shadow, parts=2)
        for hour in range(20, 26)
        for shadow in (3, 4)
    ]
    straight, again, store = core(), core(), dict[str, bytes]()
    expected = [alert for window in windows for alert in give(straight, window)]
    said = []
    for window in windows:
        said += give(again, window)
        fresh = restarted(again, store, core)
        assert isinstance(fresh, DriftCore)
        again = fresh
    assert expected
    assert said == expected
    final: dict[str, bytes] = {}
    commit(straight, final)
    assert not [name for name in store if "/parts/" in name]
    assert store == final


def test_parts_that_wait_are_kept_until_the_others_come() -> None:
    drift, store = core(), dict[str, bytes]()
    give(drift, outcomes(0, LOW, shadow=3, parts=2))
    commit(drift, store)
    assert used(drift) == 0
    assert [name for name in store if "/parts/" in name] == [f"{MODEL}/parts/outcomes/0/1/3"]
    give(drift, outcomes(0, LOW, shadow=3, parts=2, revision=1))
    assert used(drift) == 0
    give(drift, outcomes(0, LOW, shadow=4, parts=2))
    assert used(drift) == 1


@pytest.mark.parametrize("told", [0, 2], ids=["an older release's", "one never comes"])
def test_parts_wait_no_longer_than_for_a_later_window(told: int) -> None:
    drift = core()
    give(drift, outcomes(0, LOW, shadow=3, parts=told))
    assert used(drift) == 0
    # A late window is no later one, nor is a revision.
    give(drift, predictions(1), outcomes(0, LOW, shadow=3, parts=told, revision=1))
    assert used(drift) == 0
    give(drift, outcomes(1, LOW, shadow=3))
    assert used(drift) == 2


def test_an_older_versions_window_of_the_start_comes_after_all_parts_of_the_newer() -> None:
    drift = core()
    give(drift, outcomes(0, LOW), outcomes(1, LOW, version=2, shadow=1, parts=0))
    assert used(drift) == 1
    give(drift, outcomes(1, LOW, version=1))
    # Version 2 has taken over: the first window of it is of some hours only.
    give(drift, *(outcomes(hour, LOW, version=2, parts=1) for hour in (2, 3)))
    assert used(drift) == 3


def test_a_part_of_late_rows_changes_no_decision() -> None:
    drift = core()
    give(drift, *(outcomes(hour, LOW) for hour in range(3)))
    give(drift, outcomes(1, [4.0] * 500, shadow=3, parts=2))
    assert used(drift) == 3
    give(drift, outcomes(3, LOW))
    assert used(drift) == 4
    assert not drift.open_alerts()[MODEL]


def test_a_window_that_an_older_release_wrote_does_not_tell_its_parts() -> None:
    window = outcomes(0, LOW, shadow=3, parts=2)
    schema = record_schema("window", 2)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema.parsed, to_plain(window))
    read = codec(Window).decode(framing.header(schema.fingerprint) + out.getvalue())
    assert read == replace(window, parts=0)
    assert codec(Window).decode(codec(Window).encode(window)) == window


def test_windows_of_predictions_wait_for_nothing() -> None:
    drift = core()
    give(drift, replace(predictions(0), parts=0))
    assert drift.track(MODEL, Stream.PREDICTIONS).tested == 1


def test_a_part_that_fits_no_other_is_a_dead_letter_and_the_rest_is_judged() -> None:
    drift = core()
    give(drift, outcomes(0, LOW, version=0, shadow=3, parts=2))
    other = outcomes(0, LOW, version=0, shadow=4, parts=2)
    assert other.statistics.loss is not None
    strange = replace(other.statistics.loss, labels=(1, 2, 3))
    wrong = replace(other, statistics=replace(other.statistics, loss=strange))
    assert len(drift.process(batch(TOPICS.windows, wrong)).dead_letters) == 1
    # The version takes over with the first of them, which does not count.
    give(drift, *(outcomes(hour, LOW) for hour in (1, 2)))
    assert used(drift) == 1


def many(hour: int, shadow: int, parts: int, rows: int) -> Window:
    """A part that says it has so many rows."""
    window = outcomes(hour, LOW, shadow=shadow, parts=parts)
    statistics = window.statistics
    assert statistics.loss is not None
    loss = replace(statistics.loss, rows=rows, bins=(rows, *(0,) * 6))
    return replace(window, rows=rows, statistics=replace(statistics, rows=rows, loss=loss))


def test_a_part_that_makes_the_whole_impossible_is_the_dead_letter_and_not_a_later_window() -> None:
    drift = core()
    letters = [
        [letter.offset for letter in drift.process(given).dead_letters]
        for given in (
            batch(TOPICS.windows, outcomes(0, LOW), many(1, 2, 3, (1 << 53) - 10)),
            batch(TOPICS.windows, many(1, 3, 3, (1 << 53) - 10), first=2),
            batch(TOPICS.windows, outcomes(2, LOW), outcomes(3, LOW), first=3),
        )
    ]
    assert letters == [[], [2], []]
    assert used(drift) == 4


def test_a_dead_letter_leaves_nothing_of_a_model_that_nothing_is_known_of() -> None:
    drift = core()
    assert drift.process(batch(TOPICS.windows, many(1, 2, 3, 1 << 54))).dead_letters
    assert not drift.models()
    assert not drift.snapshot()


def test_of_parts_without_end_those_that_are_there_are_judged() -> None:
    drift, store = core(), dict[str, bytes]()
    give(drift, outcomes(0, LOW))
    for shadow in range(MOST_PARTS):
        assert used(drift) == 1
        give(drift, outcomes(1, LOW, shadow=shadow, parts=10**6))
    assert used(drift) == 2
    give(drift, *(outcomes(1, LOW, shadow=MOST_PARTS + n, parts=10**6) for n in range(5)))
    commit(drift, store)
    assert used(drift) == 2
    assert not [name for name in store if "/parts/" in name]


def test_a_waiting_part_whose_version_is_gone_makes_no_other_window_a_dead_letter() -> None:
    drift, store = core(), dict[str, bytes]()
    give(drift, outcomes(0, LOW), outcomes(1, LOW, version=2, shadow=3, parts=2))
    commit(drift, store)
    again = DriftCore(catalog(declaration(), version(1)))
    again.restore(LEAD, store)
    found = again.process(batch(TOPICS.windows, predictions(2), outcomes(2, LOW)))
    assert not found.dead_letters
    assert again.track(MODEL, Stream.PREDICTIONS).tested == 1
    # A row that names the version itself still is none that can be read.
    with pytest.raises(ControlBehindError):
        again.process(batch(TOPICS.windows, outcomes(3, LOW, version=2)))


def test_an_estimate_is_of_all_rows_and_names_all_parts() -> None:
    said = sent(core().process(batch(TOPICS.windows, *usual(0))))
    estimates = [record for record in said if isinstance(record, Estimate)]
    assert estimates
    for estimate in estimates:
        assert estimate.rows == 500
        assert estimate.window == f"{MODEL}/outcomes/0/1/2, {MODEL}/outcomes/0/1/3"


def test_what_an_older_release_used_is_not_used_again() -> None:
    entries = Entries()
    older = UsedWindows(entries, MODEL, "outcomes")
    assert older.claim(outcomes(0, shadow=3, rows=1), HOUR)
    store = {name: value for name, value in entries.changes().items() if value is not None}
    drift = core()
    drift.restore(LEAD, store)
    give(drift, outcomes(0, LOW, shadow=4))
    assert used(drift) == 0
    commit(drift, store)
    assert [name for name in store if "/used/" in name] == [f"{MODEL}/used/outcomes/0/1"]


@pytest.fixture(scope="module")
def world() -> OutcomeWorld:
    made = OutcomeWorld()
    made.run()
    return made


def test_an_alert_of_windows_in_parts_is_verified_in_all_parts(world: OutcomeWorld) -> None:
    alert = world.alerts()[0]
    assert alert.kind is AlertKind.CONCEPT_DRIFT
    parts = [w.id for w in world.windows if alert.onset <= w.start < alert.at]
    assert list(alert.evidence.windows) == parts
    assert len(parts) == 2 * (alert.at - alert.onset) // WORLD_HOUR
    found = verify_alert(world.log, world.catalog, alert.id)
    assert found.ok, found.problems
    assert found.windows.windows >= len(parts)
    assert found.windows.windows + found.others.windows == len(world.windows)


def test_a_change_in_either_part_of_a_window_is_found(world: OutcomeWorld) -> None:
    alert = world.alerts()[0]
    for index, window in enumerate(world.windows):
        if window.start == alert.onset:
            wrong = replace(window.statistics, rows=window.rows - 1)
            world.tamper(world.topics.windows, index, replace(window, statistics=wrong))
            found = verify_alert(world.log, world.catalog, alert.id)
            world.tamper(world.topics.windows, index, window)
            assert any(window.id in problem for problem in found.problems)


@pytest.mark.parametrize(
    ("field", "value"), [("late", 5), ("parts", 7), ("parts", 3), ("parts", 1), ("revision", 3)]
)
def test_what_a_part_says_of_itself_wrongly_is_named(
    world: OutcomeWorld, field: str, value: int
) -> None:
    alert = world.alerts()[0]
    # Before the onset, and after it.
    for index in (6, 20):
        window = world.windows[index]
        wrong = replace(window, **{field: value})  # type: ignore[arg-type]
        world.tamper(world.topics.windows, index, wrong)
        found = verify_alert(world.log, world.catalog, alert.id)
        world.tamper(world.topics.windows, index, window)
        assert found.outcome == "wrong"
        assert any(window.id in problem and f" {value} " in f"{problem} "
                   for problem in found.problems)  # fmt: skip


def test_parts_that_may_have_closed_apart_are_named_in_a_note(world: OutcomeWorld) -> None:
    alert = world.alerts()[0]
    # Of the last hour, which led to no record.
    first = world.windows[-2]
    world.tamper(world.topics.windows, len(world.windows) - 2, replace(first, parts=1))
    found = verify_alert(world.log, world.catalog, alert.id)
    world.tamper(world.topics.windows, len(world.windows) - 2, first)
    assert found.outcome == "verified"
    (note,) = (note for note in found.notes if first.id in note)
    assert "possible" in note


def test_what_is_drawn_has_a_window_once_with_all_parts(world: OutcomeWorld) -> None:
    alert = world.alerts()[0]
    book = AlertBook(world.alerts())
    shown = evidence_of(world.log, world.catalog, book, alert.id, findings=1)
    at = [point.at for point in shown.points]
    assert at == sorted(set(at))
    last = next(point for point in shown.points if point.at == alert.at)
    hour = (alert.at - START) // WORLD_HOUR - 1
    assert [id.rpartition("/")[2] for id in last.windows] == [str(hour), str(hour + 1)]
    assert shown.comparisons[0].rows == sum(
        window.rows for window in world.windows if window.start >= alert.onset
    )


class Incomplete(OutcomeWorld):
    """Of hour 9 a part says that there is another, which never comes; so hour 10 makes two whole
    with one record."""

    def _shadows(self, hour: int) -> tuple[int, ...]:
        return (9, 10) if hour == 9 else (3,)


def test_what_is_drawn_is_the_level_after_each_window_also_where_one_record_makes_two() -> None:
    straight, two = OutcomeWorld(), Incomplete()
    (lost,) = [i for i, w in enumerate(two.windows) if (w.start, w.shadow) == (at_hour(9), 10)]
    two.tamper(two.topics.windows, lost, b"lost")
    levels = []
    for made in (straight, two):
        alert = made.run()[0]
        book = AlertBook(made.alerts())
        shown = evidence_of(made.log, made.catalog, book, alert.id, findings=1)
        levels.append({point.at: point.log10_e for point in shown.points})
    assert levels[0].keys() == levels[1].keys()
    after_nine, after_ten = (levels[1][at_hour(hour)] for hour in (10, 11))
    assert after_nine is not None
    assert after_ten is not None
    assert after_nine < after_ten - 1


def at_hour(hour: int) -> int:
    return START + hour * WORLD_HOUR


def test_a_restart_between_parts_leads_to_the_same_records() -> None:
    def said(make: Callable[[OutcomeWorld], object]) -> Sequence[Alert]:
        fresh = OutcomeWorld()
        make(fresh)
        return fresh.alerts()

    # After four whole ones, that of number 20 is the first part of its hour.
    assert said(lambda w: w.run(restart_after=20)) == said(lambda w: w.run())

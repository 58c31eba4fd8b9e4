"""The trainer's decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from decision_builders import (
    HOUR,
    LEAD,
    MODEL,
    TOPICS,
    alert,
    batch,
    catalog,
    command,
    declaration,
    outcomes,
    predictions,
    profile,
    restarted,
    sent,
)
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    CategoricalProfile,
    Command,
    CommandAction,
    OffsetRange,
    Recipe,
    Run,
    RunStatus,
    Trigger,
    Version,
    Window,
)
from driftloop.trainer.core import Failed, Published, TrainerCore

PUBLISHED = Published(
    recipe=Recipe("logistic", {"rate": 0.02}, 1),
    artifact="flights/1",
    digest="ab",
    profile=profile(),
    metrics={"log_loss": 0.4},
    candidates=(),
    rows=1234,
)
FAILED = Failed("the worker was killed")


class Training:
    """A trainer core, and what it says."""

    def __init__(self, **training: Any) -> None:
        self.core = TrainerCore(catalog(declaration(training=training)))

    def give(self, *records: Window | Alert | Command) -> list[Any]:
        topics = {Window: TOPICS.windows, Alert: TOPICS.alerts, Command: TOPICS.commands}
        return [
            said
            for record in records
            for said in sent(self.core.process(batch(topics[type(record)], record)))
        ]

    def hours(self, first: int, last: int, rows: int = 500) -> list[Any]:
        """Outcome windows of the hours in [first, last)."""
        return self.give(*(outcomes(hour, rows=rows) for hour in range(first, last)))

    def finish(self, run: Run, result: Published | Failed = PUBLISHED) -> list[Any]:
        self.core.finish(run.id, result)
        return sent(self.core.on_time(0))

    def trained(self) -> Training:
        """Past the initial run, dated 2 h, with version 1; hours 0 to 2 were seen."""
        (run,) = self.hours(0, 3)
        self.finish(run)
        return self


def test_the_initial_run_starts_when_there_are_labels_enough() -> None:
    training = Training()
    assert not training.hours(0, 2)
    (run,) = training.hours(2, 3)
    assert (run.id, run.status, run.trigger, run.trigger_id) == (
        "flights-1",
        RunStatus.STARTED,
        Trigger.INITIAL,
        "",
    )
    assert (run.at, run.period_start, run.period_end, run.rows) == (2 * HOUR, 0, 2 * HOUR, 1000)


def test_a_run_names_its_sources_merged_per_partition() -> None:
    (run,) = Training().hours(0, 3)
    assert run.sources == (OffsetRange("flights.outcomes", 0, 0, 2000),)


def test_windows_of_predictions_are_no_labels() -> None:
    training = Training(minimum_labels=1)
    assert not training.give(predictions(0), predictions(1), predictions(2))


def test_a_published_run_gives_its_record_and_the_version() -> None:
    training = Training()
    (started,) = training.hours(0, 3)
    run, published = training.finish(started)
    assert isinstance(run, Run)
    assert (run.status, run.version, run.rows) == (RunStatus.PUBLISHED, 1, 1234)
    assert isinstance(published, Version)
    assert (published.version, published.run_id, published.created_at) == (1, run.id, 2 * HOUR)
    assert published.sources == started.sources


def test_records_have_the_keys_that_compaction_needs() -> None:
    training = Training()
    (run,) = training.hours(0, 3)
    training.core.finish(run.id, PUBLISHED)
    keys = [(s.topic, *s.keys, s.partition) for s in training.core.on_time(0).sends]
    partition = LEAD.partition
    assert keys == [
        (TOPICS.runs, b"flights-1", partition),
        (TOPICS.versions, b"flights/1", partition),
    ]


def test_failed_runs_leave_no_gap_in_version_numbers() -> None:
    training = Training(schedule=HOUR)
    (first,) = training.hours(0, 3)
    failed, *_ = training.finish(first, FAILED)
    assert (failed.status, failed.version, failed.reason) == (
        RunStatus.FAILED,
        -1,
        "the worker was killed",
    )
    (second,) = training.hours(3, 4)
    _, published, *_ = training.finish(second)
    assert (second.id, published.version) == ("flights-2", 1)


def test_a_version_that_does_not_fit_into_a_record_is_a_failed_run() -> None:
    training = Training(schedule=HOUR)
    (first,) = training.hours(0, 3)
    levels = tuple(f"{level:01000}" for level in range(500))
    wide = replace(
        PUBLISHED.profile,
        categorical=tuple(CategoricalProfile(f"c{i}", levels, (1,) * 500, 0) for i in range(40)),
    )
    failed, *_ = training.finish(first, replace(PUBLISHED, profile=wide))
    assert (failed.status, failed.version) == (RunStatus.FAILED, -1)
    assert "does not fit into a record" in failed.reason
    (second,) = training.hours(3, 4)
    _, published, *_ = training.finish(second)
    assert published.version == 1


def test_a_failed_initial_run_is_tried_again_after_the_cooldown() -> None:
    training = Training(cooldown=3 * HOUR)
    (first,) = training.hours(0, 3)
    training.finish(first, FAILED)
    assert not training.hours(3, 5)
    (second,) = training.hours(5, 6)
    assert (second.trigger, second.at) == (Trigger.INITIAL, 5 * HOUR)


def test_the_schedule_starts_a_run_when_its_time_has_passed() -> None:
    training = Training(schedule=5 * HOUR).trained()
    assert not training.hours(3, 7)
    (run,) = training.hours(7, 8)
    assert (run.trigger, run.at, run.rows) == (Trigger.SCHEDULE, 7 * HOUR, 3500)


def test_history_limits_the_dataset() -> None:
    training = Training(schedule=5 * HOUR, history=2 * HOUR).trained()
    training.hours(3, 7)
    (run,) = training.hours(7, 8)
    assert (run.period_start, run.period_end, run.rows) == (5 * HOUR, 7 * HOUR, 1000)


def test_windows_that_no_run_can_ask_for_leave_the_state() -> None:
    training = Training(history=2 * HOUR).trained()
    training.hours(3, 20)
    names = [name for name, value in training.core.snapshot().items() if value is not None]
    assert len([name for name in names if "/window/" in name]) <= 4


def test_an_alert_starts_a_run_dated_at_the_alert() -> None:
    training = Training().trained()
    training.hours(3, 5)
    training.give(alert("a", 5))
    (run,) = training.hours(5, 6)
    assert (run.trigger, run.trigger_id, run.at, run.rows) == (Trigger.ALERT, "a", 5 * HOUR, 2500)


@pytest.mark.parametrize("place", range(4))
def test_the_order_of_alert_and_windows_does_not_matter(place: int) -> None:
    training = Training().trained()
    # The alert is dated 5 h; of the hour before it there are two windows, of two shadows.
    records: list[Window | Alert] = [
        outcomes(3, rows=500),
        outcomes(4, rows=400),
        outcomes(4, rows=100, shadow=2),
        outcomes(5, rows=500),
    ]
    records.insert(place, alert("a", 5))
    (run,) = training.give(*records)
    assert (run.trigger, run.at, run.rows) == (Trigger.ALERT, 5 * HOUR, 2500)


def test_a_late_alert_gets_the_dataset_of_its_date() -> None:
    training = Training().trained()
    training.hours(3, 9)
    (run,) = training.give(alert("a", 5))
    assert (run.at, run.rows) == (5 * HOUR, 2500)


def test_an_alert_starts_one_run_only() -> None:
    training = Training().trained()
    training.give(alert("a", 3))
    (run,) = training.hours(3, 5)
    training.finish(run)
    assert not training.give(alert("a", 3))
    assert not training.hours(5, 9)


def test_alerts_of_other_kinds_start_no_run() -> None:
    training = Training().trained()
    assert not training.give(alert("a", 3, kind=AlertKind.STALE))
    assert not training.hours(3, 6)


def test_an_update_starts_no_run() -> None:
    training = Training().trained()
    training.give(alert("a", 3, AlertStatus.UPDATED))
    assert not training.hours(3, 6)


def test_the_schedule_comes_before_an_alert_of_the_same_date() -> None:
    training = Training(schedule=3 * HOUR).trained()
    training.give(alert("a", 5))
    (run,) = training.hours(3, 6)
    assert (run.trigger, run.at) == (Trigger.SCHEDULE, 5 * HOUR)


def test_one_run_at_a_time() -> None:
    training = Training(schedule=HOUR)
    (run,) = training.hours(0, 6)
    *_, following = training.finish(run)
    assert (following.id, following.at) == ("flights-2", 3 * HOUR)


def test_an_alert_in_the_cooldown_waits_for_its_end() -> None:
    training = Training(cooldown=6 * HOUR).trained()
    training.give(alert("a", 3))
    assert not training.hours(3, 8)
    (run,) = training.hours(8, 9)
    assert (run.trigger, run.at) == (Trigger.ALERT, 8 * HOUR)


@pytest.mark.parametrize("early", [True, False])
def test_an_alert_resolved_in_the_cooldown_starts_no_run(early: bool) -> None:
    training = Training(cooldown=6 * HOUR).trained()
    training.give(alert("a", 3))
    resolution = alert("a", 8, AlertStatus.RESOLVED)
    before: list[Window | Alert] = [outcomes(hour, rows=500) for hour in range(3, 8)]
    before.insert(0 if early else len(before), resolution)
    assert not training.give(*before)
    assert not training.hours(8, 12)


def test_an_alert_waits_for_labels_enough() -> None:
    training = Training(history=2 * HOUR).trained()
    training.give(alert("a", 5))
    assert not training.hours(3, 7, rows=10)
    (run,) = training.hours(7, 10)
    assert (run.at, run.rows) == (9 * HOUR, 1000)


def test_a_command_starts_a_run_at_once() -> None:
    training = Training(cooldown=100 * HOUR).trained()
    (run,) = training.give(command("now", CommandAction.RETRAIN))
    assert (run.trigger, run.trigger_id, run.at) == (Trigger.COMMAND, "now", 3 * HOUR)


def test_a_command_waits_for_the_first_labels() -> None:
    training = Training()
    assert not training.give(command("now", CommandAction.RETRAIN))
    (run,) = training.hours(0, 1)
    assert (run.trigger, run.rows) == (Trigger.COMMAND, 500)


def test_a_command_acts_once() -> None:
    training = Training().trained()
    (run,) = training.give(command("now", CommandAction.RETRAIN))
    training.finish(run)
    assert not training.give(command("now", CommandAction.RETRAIN))


def test_the_deployers_commands_start_no_run() -> None:
    assert not Training().trained().give(command("up", CommandAction.PROMOTE, 1))


def test_a_duplicate_window_counts_once() -> None:
    training = Training()
    assert not training.give(*[outcomes(0, rows=500)] * 3, outcomes(1, rows=1))


def test_a_higher_revision_counts_for_later_runs_only() -> None:
    training = Training().trained()
    assert not training.give(outcomes(0, rows=600, revision=1))
    (run,) = training.give(command("now", CommandAction.RETRAIN))
    assert run.rows == 1600


def test_a_started_run_is_handed_out_once() -> None:
    training = Training()
    (run,) = training.hours(0, 3)
    assert training.core.take_starts() == [run]
    assert training.core.take_starts() == []


def test_an_active_run_is_handed_out_again_after_a_restart() -> None:
    training = Training()
    (run,) = training.hours(0, 3)
    training.core.take_starts()
    known = catalog(declaration())
    again = restarted(training.core, {}, lambda: TrainerCore(known))
    assert isinstance(again, TrainerCore)
    assert again.take_starts() == [run]
    assert again.next_version(MODEL) == 1


def test_a_result_not_yet_published_is_lost_with_the_partition_and_the_run_made_again() -> None:
    training = Training()
    (run,) = training.hours(0, 3)
    store = {k: v for k, v in training.core.snapshot().items() if v is not None}
    training.core.finish(run.id, PUBLISHED)
    training.core.drop(LEAD)
    training.core.restore(LEAD, store)
    assert not training.core.on_time(0)
    assert training.core.take_starts() == [run]


def test_the_end_of_a_run_that_is_not_active_is_ignored() -> None:
    training = Training()
    training.core.finish("flights-9", PUBLISHED)
    assert not training.core.on_time(0)


def test_garbage_becomes_a_dead_letter() -> None:
    training = Training()
    outputs = training.core.process(batch(TOPICS.alerts, b"\xc3\x01garbage!!", first=3))
    assert [letter.offset for letter in outputs.dead_letters] == [3]

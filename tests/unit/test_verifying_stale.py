"""An alert of stale: all but its ages follows from windows, declarations and commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

import pytest

from alert_world import HOUR, AlertWorld
from driftloop.cli.alert_verification import AlertVerification
from driftloop.cli.verifying_alerts import verify_alert
from driftloop.drift.core import DriftCore, allowed_age
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.records import Alert, AlertStatus, Command, CommandAction, Window
from driftloop.kernel.statistics.merge import statistics_digest
from driftloop.kernel.verification import recompute_window

MINUTE = 60_000
ALLOWED = HOUR + 10 * MINUTE + 10 * MINUTE
"""``size``, ``lateness`` and ``stale_after``."""


class StaleWorld(AlertWorld):
    """The windows stop before the last, which comes when the alert has grown worse."""

    def __init__(self, hours: int = 4) -> None:
        super().__init__(hours, shift=lambda hour: 0.0)
        self.core = DriftCore(self.catalog)

    def take(self, *numbers: int) -> None:
        """Drift reads these records of the windows topic."""
        batches = list(self._batches(self.topics.windows))
        for number in numbers:
            self._write(self.core, batches[number])

    def look(self, *ages: int) -> None:
        for age in ages:
            for send in self.core.on_time(age).sends:
                self._producer.send(send)

    def order(self, command: Command) -> None:
        self.put(self.topics.commands, command)
        self._write(self.core, list(self._batches(self.topics.commands))[-1])

    def open(self, *ages: int) -> Alert:
        self.take(*range(len(self.windows) - 1))
        self.look(0, *(ages or (ALLOWED + MINUTE,)))
        return self.alerts()[0]

    def verified(self) -> AlertVerification:
        return verify_alert(self.log, self.catalog, self.alerts()[0].id)


@pytest.fixture
def world() -> StaleWorld:
    return StaleWorld()


@pytest.fixture(scope="module")
def whole() -> StaleWorld:
    """Opened, acknowledged, worse, snoozed, worse again and over."""
    world = StaleWorld()
    alert = world.open()
    world.order(world.command(CommandAction.ACKNOWLEDGE, alert))
    world.look(2 * ALLOWED, 3 * ALLOWED)
    world.order(world.command(CommandAction.SNOOZE, alert, "bob", 5 * HOUR))
    world.look(4 * ALLOWED)
    world.take(3)
    assert len(world.alerts()) == 6
    return world


def test_an_alert_is_recomputed_from_its_windows_at_the_ages_that_it_names(
    whole: StaleWorld,
) -> None:
    found = whole.verified()
    assert found.ok, found.text()
    assert (found.records, found.recomputed, found.annotations) == (6, 4, 2)
    assert found.windows.verified == 2
    assert "clock" in found.notes[0]


def others(value: Any) -> Iterator[tuple[str, Any]]:
    """Values of its kind that differ in one place, and which; of an empty tuple none."""
    match value:
        case tuple():
            if value:
                yield "[:-1]", value[:-1]
                for path, one in others(value[0]):
                    yield f"[0]{path}", (one, *value[1:])
        case StrEnum():
            yield "", next(one for one in type(value) if one is not value)
        case str():
            yield "", f"{value}x"
        case float():
            yield "", value * 1.5 + 1.0
        case int():
            yield "", value + 1
        case _:
            for field in fields(value):
                for path, one in others(getattr(value, field.name)):
                    yield f".{field.name}{path}", replace(value, **{field.name: one})


@pytest.mark.parametrize("number", range(6))
def test_whatever_value_of_a_record_is_changed_the_record_is_named(
    whole: StaleWorld, number: int
) -> None:
    record = whole.alerts()[number]
    paths = []
    for path, forged in others(record):
        if path in (".id", ".model"):
            continue  # then it is another alert's
        whole.tamper(whole.topics.alerts, number, forged)
        found = whole.verified()
        assert found.outcome == "wrong", path
        assert any(f"record {forged.sequence} " in problem for problem in found.problems), path
        paths.append(path)
    whole.tamper(whole.topics.alerts, number, record)
    assert {".status", ".evidence.statistic", ".evidence.windows[0]", ".action"} <= set(paths)


@pytest.mark.parametrize("age", [float("nan"), float("inf"), ALLOWED + 0.5, float(ALLOWED)])
def test_an_age_that_no_clock_gives_or_that_is_allowed_is_named(
    world: StaleWorld, age: float
) -> None:
    alert = world.open()
    evidence = replace(alert.evidence, effect=age)
    world.tamper(world.topics.alerts, 0, replace(alert, evidence=evidence))
    (problem,) = world.verified().problems
    assert problem.startswith("record 0 (opened")


def test_a_window_that_was_not_the_newest_is_named(world: StaleWorld) -> None:
    """It came behind a later one."""
    first, second = world.windows[1:3]
    world.tamper(world.topics.windows, 1, replace(second, watermark=second.watermark))
    world.tamper(world.topics.windows, 2, replace(first, watermark=second.watermark))
    alert = world.open()
    assert alert.evidence.windows == (second.id,)
    assert world.verified().ok
    evidence = replace(alert.evidence, windows=(first.id,))
    world.tamper(world.topics.alerts, 0, replace(alert, evidence=evidence))
    (problem,) = world.verified().problems
    assert second.id in problem


def test_a_window_that_drift_did_not_take_is_no_newer_one() -> None:
    world = StaleWorld()
    beyond = 10**15 // HOUR * HOUR
    last = world.windows[2]
    world.tamper(
        world.topics.windows, 2, replace(last, start=beyond, end=beyond + HOUR, watermark=10**16)
    )
    alert = world.open()
    assert alert.evidence.windows == (world.windows[1].id,)
    found = world.verified()
    assert found.recomputed == 1
    assert not any(problem.startswith("record") for problem in found.problems)


def revised(world: StaleWorld, number: int) -> None:
    """A row more, of another window, is in the range that a revision of it names."""
    window = world.windows[number]
    (source,) = window.sources
    draft = replace(
        window,
        revision=1,
        sources=(replace(source, start=source.start - 1),),
        watermark=world.windows[-1].watermark,
    )
    found = recompute_window(world.log, world.model, world._profile, draft)
    whole: Window = replace(
        draft, statistics=found, rows=found.rows, digest=statistics_digest(found)
    )
    world.put(world.topics.windows, whole)


def test_a_revision_since_makes_no_alert_wrong(world: StaleWorld) -> None:
    world.open()
    world.take(3)
    revised(world, 2)
    found = world.verified()
    assert found.ok, found.text()


def test_a_revision_before_is_what_the_alert_comes_from(world: StaleWorld) -> None:
    world.take(0, 1, 2, 3)
    revised(world, 3)
    world.take(4)
    world.look(0, ALLOWED + MINUTE)
    (alert,) = world.alerts()
    assert alert.onset_sources[0].start == world.windows[3].sources[0].start - 1
    found = world.verified()
    assert found.ok, found.text()


def test_a_resolution_that_the_service_must_have_written_by_now_is_missed(
    world: StaleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open()
    source = TopicPartition(world.topics.windows, world.partition)
    read = {source: 3}
    monkeypatch.setattr(world.log, "committed", lambda group, topics: read)
    assert world.verified().ok
    read[source] = 4
    (problem,) = world.verified().problems
    assert "one more record (resolved" in problem
    world.take(3)
    assert world.verified().ok
    # Written since the group was asked how far it has read.
    read[source] = 3
    assert world.verified().ok


def test_what_was_allowed_before_a_redeclaration_is_not_called_wrong(world: StaleWorld) -> None:
    declared = world.redeclaration('stale_after = "2h"', 4)
    alert = world.open()
    assert world.verified().ok
    models = world.log._storage.partition(world._at(world.topics.models)).values
    models[0] = b"gone"
    found = world.verified()
    assert (found.outcome, found.problems, found.recomputed) == ("not_comparable", (), 0)
    assert f"{ALLOWED} ms" in found.uncompared[0]
    assert found.windows.verified == 1
    forged = replace(alert, acknowledged_by="eve")
    world.tamper(world.topics.alerts, 0, forged)
    (problem,) = world.verified().problems
    assert "nobody's command" in problem
    allowed = allowed_age(declaration_of(declared))
    assert allowed == ALLOWED + 110 * MINUTE


def test_an_update_by_the_clock_is_told_from_what_people_said(world: StaleWorld) -> None:
    alert = world.open()
    forged = replace(alert, status=AlertStatus.UPDATED, sequence=1, acknowledged_by="eve")
    world.put(world.topics.alerts, forged)
    problems = world.verified().problems
    assert any("nobody's command" in problem for problem in problems)
    assert any("no alert is due" in problem for problem in problems)

"""Alerts of versions that cannot be loaded: one each, whoever says so and however often."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_builders import MODEL, TOPICS, batch, catalog, declaration, restarted, sent, version
from driftloop.drift.core import DriftCore
from driftloop.kernel.records import Alert, AlertKind, AlertStatus, Load, Severity
from driftloop.trainer.core import TrainerCore

OPENED, UPDATED, RESOLVED = AlertStatus.OPENED, AlertStatus.UPDATED, AlertStatus.RESOLVED


def said(
    sequence: int, failed: int = -1, *, instance: str = "0", champion: int = 2, shadow: int = -1
) -> Load:
    """What a process says of a deployment."""
    error = "arrays.safetensors is missing" if failed >= 0 else ""
    return Load(MODEL, instance, sequence, champion, shadow, failed, error, 1000 * sequence)


class Watching:
    """A drift core, its changelog, and what it says of the records of ``loads``."""

    def __init__(self) -> None:
        self.catalog = catalog(declaration(), version(1), version(2), version(3))
        self.core = DriftCore(self.catalog)
        self.store: dict[str, bytes] = {}
        self.given = 0
        self.alerts: list[Alert] = []

    def give(self, *loads: Load) -> list[tuple[int, AlertStatus]]:
        new = sent(self.core.process(batch(TOPICS.loads, *loads, first=self.given)))
        self.given += len(loads)
        self.alerts += new
        return [(alert.version, alert.status) for alert in new]

    def restart(self) -> None:
        self.core = restarted(  # type: ignore[assignment]
            self.core, self.store, lambda: DriftCore(self.catalog)
        )


def test_a_version_that_cannot_be_loaded_opens_one_alert_whoever_says_so() -> None:
    watching = Watching()
    assert watching.give(said(1, champion=1), said(2, 2)) == [(2, OPENED)]
    assert not watching.give(said(2, 2), said(2, 2, instance="1"))
    watching.restart()
    assert not watching.give(said(2, 2, instance="1"), said(2, 2))
    (alert,) = watching.alerts
    assert alert.kind is AlertKind.NOT_LOADED
    assert alert.severity is Severity.CRITICAL
    assert "arrays.safetensors is missing" in alert.summary
    assert (alert.onset_sources[0].topic, alert.onset_sources[0].start) == (TOPICS.loads, 1)


@pytest.mark.parametrize("at", [-1, 253_402_300_800_000, 2**63 - 1])
def test_what_is_said_at_no_time_of_the_calendar_is_a_dead_letter(at: int) -> None:
    watching = Watching()
    outputs = watching.core.process(batch(TOPICS.loads, replace(said(2, 2), at=at)))
    (letter,) = outputs.dead_letters
    assert f"{at} ms" in letter.detail
    assert watching.give(said(2, 2)) == [(2, OPENED)]


def test_it_is_resolved_when_every_process_has_loaded_it_after_all() -> None:
    watching = Watching()
    watching.give(said(2, 2), said(2, 2, instance="1"))
    assert not watching.give(said(2))
    assert watching.give(said(2, instance="1")) == [(2, RESOLVED)]
    assert not watching.core.open_alerts()[MODEL]


def test_it_is_resolved_when_another_is_deployed() -> None:
    watching = Watching()
    watching.give(said(2, 2))
    assert watching.give(said(3, champion=1, instance="1")) == [(2, RESOLVED)]
    # Who lags behind says what nobody wants to know any more.
    assert not watching.give(said(2, 2), said(2, 2, instance="2"))


def test_a_shadow_that_becomes_champion_unloaded_makes_the_alert_worse() -> None:
    watching = Watching()
    watching.give(said(2, 3, shadow=3))
    assert watching.give(said(3, 3, champion=3)) == [(3, UPDATED)]
    assert [alert.severity for alert in watching.alerts] == [Severity.WARNING, Severity.CRITICAL]
    assert len({alert.id for alert in watching.alerts}) == 1


def test_a_version_lost_again_is_another_alert() -> None:
    watching = Watching()
    assert watching.give(said(2, 2), said(2), said(2, 2)) == [
        (2, OPENED),
        (2, RESOLVED),
        (2, OPENED),
    ]
    watching.give(said(3, champion=1), said(4, 2))
    opened = [alert.id for alert in watching.alerts if alert.status is OPENED]
    assert len(set(opened)) == len(opened) == 3


def test_no_run_is_started_by_it() -> None:
    watching = Watching()
    watching.give(said(2, 2))
    trainer = TrainerCore(watching.catalog)
    outputs = trainer.process(batch(TOPICS.alerts, *watching.alerts))
    assert not outputs.sends
    assert not outputs.dead_letters
    assert not trainer.active()


LOADS = st.builds(
    lambda sequence, which, instance: said(
        sequence,
        (-1, sequence % 3 + 1, (sequence + 1) % 3 + 1)[which],
        instance=instance,
        champion=sequence % 3 + 1,
        shadow=(sequence + 1) % 3 + 1,
    ),
    st.integers(1, 5),
    st.integers(0, 2),
    st.sampled_from("012"),
)


@given(st.lists(st.tuples(LOADS, st.booleans()), max_size=40))
@settings(deadline=None, max_examples=100)
def test_every_alert_is_opened_once_in_order_and_open_as_long_as_it_should(
    steps: list[tuple[Load, bool]],
) -> None:
    watching, again = Watching(), Watching()
    for load, restart in steps:
        watching.give(load)
        if restart:
            watching.restart()
    again.give(*(load for load, _ in steps))
    assert watching.alerts == again.alerts
    by_id: dict[str, list[Alert]] = defaultdict(list)
    for alert in watching.alerts:
        by_id[alert.id].append(alert)
    for records in by_id.values():
        assert [alert.sequence for alert in records] == list(range(len(records)))
        assert Counter(alert.status for alert in records)[OPENED] == 1
        assert all(alert.status is not RESOLVED for alert in records[:-1])
    newest, failing = -1, {}
    for load, _ in steps:
        if load.sequence < newest:
            continue
        if load.sequence > newest:
            newest = load.sequence
            failing = {i: v for i, v in failing.items() if v in (load.champion, load.shadow)}
        failing[load.instance] = load.failed
    still = {records[-1].version for records in by_id.values() if records[-1].status != RESOLVED}
    assert still == {v for v in failing.values() if v >= 0}

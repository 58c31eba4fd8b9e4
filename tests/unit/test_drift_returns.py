"""What comes and goes is one cause, and soon one alert."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_world import AlertWorld
from decision_builders import (
    BINS,
    HOUR,
    MODEL,
    TOPICS,
    alerts_of,
    batch,
    catalog,
    commit,
    declaration,
    predictions,
    restarted,
    version,
)
from driftloop.cli.verifying_alerts import verify_alert
from driftloop.drift.core import DriftCore
from driftloop.kernel.records import Alert, AlertKind, AlertStatus, Window

NEAR, FAR = (100,) * BINS, (0, 0, 0, 0, 0, 0, 100, 200, 300, 400)
STILL = (0, 0, 0, 1000, 0, 0, 0, 0, 0, 0)
DAY, WEEK = 24, 168


def core() -> DriftCore:
    return DriftCore(catalog(declaration(), version(1)))


def hours(days: int, off: Callable[[int], bool]) -> list[Window]:
    return [predictions(hour, FAR if off(hour) else NEAR) for hour in range(days * DAY)]


def said(drift: DriftCore, windows: list[Window]) -> list[Alert]:
    return alerts_of(drift.process(batch(TOPICS.windows, *windows)))


def count(alerts: list[Alert], status: AlertStatus) -> int:
    return len([alert for alert in alerts if alert.status is status])


@pytest.mark.parametrize(
    ("on", "every", "most"), [(1, 12, 4), (2, DAY, 4), (8, DAY, 4), (3, 2 * DAY, 4), (12, WEEK, 5)]
)
def test_a_disturbance_that_comes_regularly_is_soon_one_alert(
    on: int, every: int, most: int
) -> None:
    alerts = said(core(), hours(42, lambda hour: hour % every < on))
    opened, resolved = (count(alerts, s) for s in (AlertStatus.OPENED, AlertStatus.RESOLVED))
    assert 1 <= opened <= most
    assert resolved == opened - 1


def test_what_stands_still_every_night_is_soon_one_alert() -> None:
    windows = [
        predictions(hour, STILL, constant=True) if hour % DAY < 2 else predictions(hour)
        for hour in range(30 * DAY)
    ]
    alerts = [a for a in said(core(), windows) if a.kind is AlertKind.CONSTANT]
    assert count(alerts, AlertStatus.OPENED) <= 4
    assert alerts[-1].status is not AlertStatus.RESOLVED


def test_it_is_over_when_it_stays_away_for_four_weeks_whatever_it_did() -> None:
    last = 20 * DAY
    alerts = said(core(), hours(60, lambda hour: hour < last and hour % 6 < 1))
    over = alerts[-1]
    assert over.status is AlertStatus.RESOLVED
    assert over.at <= (last + 28 * DAY) * HOUR


def test_it_counts_anew_after_four_weeks_also_when_no_windows_came() -> None:
    drift = core()
    said(drift, hours(10, lambda hour: hour % DAY < 2))
    # By now it would have to stay away for days.
    assert drift.open_alerts()[MODEL]
    said(drift, [predictions(hour) for hour in range(10 * DAY, 40 * DAY)])
    assert not drift.open_alerts()[MODEL]
    first = 69 * DAY
    later = [predictions(first + hour, FAR if hour < 2 else NEAR) for hour in range(8)]
    assert [alert.status for alert in said(drift, later)][-1] is AlertStatus.RESOLVED


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 120)), min_size=5, max_size=60))
def test_however_often_it_comes_back_there_are_few_alerts(turns: list[tuple[int, int]]) -> None:
    off = [state for on, near in turns for state in (*[True] * on, *[False] * near)]
    alerts = said(core(), hours(40, lambda hour: off[hour % len(off)]))
    # Each takes four times as long as the one before: of 40 days five are over at the most.
    changed = [alert.status for alert in alerts if alert.status is not AlertStatus.UPDATED]
    assert 1 <= count(alerts, AlertStatus.OPENED) <= 6
    assert changed == [AlertStatus.OPENED, AlertStatus.RESOLVED] * (len(changed) // 2) + [
        AlertStatus.OPENED
    ] * (len(changed) % 2)


def test_a_restart_at_any_time_changes_nothing() -> None:
    windows = hours(8, lambda hour: hour % DAY < 2)
    once, drift, store, parts = said(core(), windows), core(), dict[str, bytes](), list[Alert]()
    for window in windows:
        parts += said(drift, [window])
        drift = restarted(drift, store, core)
    assert parts == once
    whole, kept = core(), dict[str, bytes]()
    said(whole, windows)
    commit(whole, kept)
    assert kept == store


def test_alerts_of_what_comes_and_goes_are_verified() -> None:
    world = AlertWorld(hours=60, shift=lambda hour: 1.5 if hour % 12 < 2 else 0.0)
    ids = list(dict.fromkeys(alert.id for alert in world.run(restart_after=20)))
    assert 2 <= len(ids) <= 4
    assert all(verify_alert(world.log, world.catalog, id).ok for id in ids)

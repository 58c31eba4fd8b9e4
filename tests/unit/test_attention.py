"""Whether somebody looks after an alert, on the alert itself and in what Prometheus sees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from alert_world import AlertWorld
from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.drift.alerts import annotated
from driftloop.drift.core import DriftCore
from driftloop.drift.detectors import Readings
from driftloop.drift.figures import Figures
from driftloop.drift.service import DriftService
from driftloop.kernel import metrics
from driftloop.kernel.attention import Attention, attention
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.pipeline import Inline
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.records import Alert, AlertKind, CommandAction, Stream
from driftloop.kernel.service import Context
from driftloop.kernel.settings import Settings
from driftloop.kernel.topics import ControlTopics
from window_builders import CountingMeter

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs" / "runbooks"


@pytest.fixture(scope="module")
def opened() -> Alert:
    return AlertWorld(hours=10).run()[0]


def said(alert: Alert, action: CommandAction, until: int = 0) -> Alert:
    return annotated(alert, AlertWorld(hours=0).command(action, alert, until=until))


def test_an_alert_is_open_until_somebody_takes_it_up(opened: Alert) -> None:
    assert attention(opened, 0) is Attention.OPEN
    assert attention(said(opened, CommandAction.ACKNOWLEDGE), 0) is Attention.ACKNOWLEDGED


def test_a_snooze_ends_and_leaves_the_alert_open(opened: Alert) -> None:
    snoozed = said(said(opened, CommandAction.ACKNOWLEDGE), CommandAction.SNOOZE, 100)
    assert attention(snoozed, 99) is Attention.SNOOZED
    assert attention(snoozed, 100) is Attention.OPEN


def test_acknowledging_ends_a_snooze(opened: Alert) -> None:
    taken = said(said(opened, CommandAction.SNOOZE, 100), CommandAction.ACKNOWLEDGE)
    assert taken.snoozed_until == 0
    assert attention(taken, 50) is Attention.ACKNOWLEDGED


def test_what_prometheus_sees_follows_the_commands_and_the_clock() -> None:
    world = AlertWorld(hours=10)
    meter = CountingMeter()
    context = Context(world.log, world.clock, meter, Settings(), Inline(), Inline)
    service = DriftService(context, Catalog(world.topics, declaration_of))

    def seen() -> dict[str, float]:
        while service.step(0.0):
            pass
        return {
            state.value: meter.values[metrics.OPEN_ALERTS.name, "m", AlertKind.DATA_DRIFT, state]
            for state in Attention
        }

    try:
        assert seen() == {"open": 1, "acknowledged": 0, "snoozed": 0}
        alert = world.alerts()[0]
        until = world.clock.now() + 1000
        world.put(world.topics.commands, world.command(CommandAction.SNOOZE, alert, until=until))
        assert seen() == {"open": 0, "acknowledged": 0, "snoozed": 1}
        world.clock.advance(2000)
        assert seen() == {"open": 1, "acknowledged": 0, "snoozed": 0}
        world.put(
            world.topics.commands,
            dataclasses.replace(world.command(CommandAction.ACKNOWLEDGE, alert), id="2"),
        )
        assert seen() == {"open": 0, "acknowledged": 1, "snoozed": 0}
    finally:
        service.close()


def test_alerts_of_a_model_that_another_process_took_over_are_not_shown_any_more() -> None:
    world = AlertWorld(hours=10)
    world.run()
    meter = PrometheusMeter("drift")
    figures = Figures(world.core, meter)
    figures.show(0)
    shown = b'driftloop_open_alerts{kind="data_drift",model="m",service="drift",state="open"} 1.0'
    assert shown in meter.exposition()
    of_streams = [b"driftloop_drift_effect{", b"driftloop_drift_evidence{"]
    assert all(name in meter.exposition() for name in of_streams)
    world.core.drop(TopicPartition(world.topics.windows, world.partition))
    figures.show_alerts(0)
    gone = [b"driftloop_open_alerts{", *of_streams]
    assert not any(name in meter.exposition() for name in gone)


def test_segments_that_a_version_does_not_have_are_not_shown_any_more() -> None:
    world = AlertWorld(hours=4, segments=True)
    world.run()
    meter = PrometheusMeter("drift")
    figures = Figures(world.core, meter)
    figures.show(0)
    assert b'segment="even"' in meter.exposition()
    whole = AlertWorld(hours=4)
    whole.run()
    figures._core = whole.core  # the same model, of which another version serves
    figures.show(0)
    assert b"driftloop_drift_evidence{" in meter.exposition()
    assert b'segment="even"' not in meter.exposition()


def test_readings_of_windows_of_one_stream_are_shown_on_when_the_other_has_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = CountingMeter()
    core = DriftCore(Catalog(ControlTopics(), declaration_of))
    figures = Figures(core, meter)
    features, loss = [("data_drift", "x", ""), ("data_drift", "y", "")], [("concept_drift", "", "")]

    def show(stream: Stream, streams: list[tuple[str, str, str]], effect: float) -> None:
        effects = [effect] * len(streams)
        readings = [(stream, Readings("m", streams, effects, effects))]
        monkeypatch.setattr(core, "readings", lambda: readings)
        figures.show(0)

    def shown() -> dict[str, float]:
        name = metrics.DRIFT_EVIDENCE.name
        return {kind + of: v for (n, _, kind, of, _), v in meter.values.items() if n == name}

    show(Stream.OUTCOMES, loss, 0.25)
    show(Stream.PREDICTIONS, features, 0.5)
    assert shown() == {"concept_drift": 0.25, "data_driftx": 0.5, "data_drifty": 0.5}
    show(Stream.PREDICTIONS, features[1:], 0.75)
    assert shown() == {"concept_drift": 0.25, "data_drifty": 0.75}


@pytest.mark.parametrize("kind", list(AlertKind))
def test_each_kind_has_its_page(kind: AlertKind) -> None:
    page = (RUNBOOKS / f"{kind}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# `{kind}`")
    for part in ("## What it means", "## When it is wrong", "## What to look at", "## What to do"):
        assert part in page


def test_an_alert_names_its_page(opened: Alert) -> None:
    assert opened.action.endswith("See docs/runbooks/data_drift.md.")

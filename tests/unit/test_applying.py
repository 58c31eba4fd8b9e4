"""Declaring a model, and declaring it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.cli.applying import DeclaredModel, advice, apply_declaration, load_declaration
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.errors import ConfigurationError
from driftloop.kernel.ports import Send
from driftloop.kernel.topics import ControlTopics

FLIGHTS = Path(__file__).parents[2] / "infra" / "models" / "flights.toml"
TOPICS = ControlTopics()


def _changed(model: DeclaredModel, old: str, new: str) -> DeclaredModel:
    assert old in model.text
    text = model.text.replace(old, new, 1)
    declaration = parse_declaration(text, source="changed", event_schema=model.event_schema)
    return DeclaredModel(declaration, text, model.event_schema)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(ManualClock())


def test_the_same_again_changes_nothing(log: MemoryLog) -> None:
    model = load_declaration(FLIGHTS)
    assert apply_declaration(log, TOPICS, model, who="me", now=0).changed
    assert not apply_declaration(log, TOPICS, model, who="me", now=1).changed


def test_a_model_that_was_taken_out_is_declared_anew_in_any_shape(log: MemoryLog) -> None:
    model = load_declaration(FLIGHTS)
    apply_declaration(log, TOPICS, model, who="me", now=0)

    def take_out() -> None:
        name = model.declaration.name
        log.producer("x").send(Send(TOPICS.models, [name.encode()], [None], TOPICS.partition(name)))

    take_out()
    assert apply_declaration(log, TOPICS, model, who="me", now=1).changed
    take_out()
    other = _changed(model, 'size = "1d"', 'size = "6h"')
    assert apply_declaration(log, TOPICS, other, who="me", now=2).changed


def test_a_policy_may_change(log: MemoryLog) -> None:
    model = load_declaration(FLIGHTS)
    apply_declaration(log, TOPICS, model, who="me", now=0)
    other = _changed(model, "psi_floor = 0.1", "psi_floor = 0.2")
    assert apply_declaration(log, TOPICS, other, who="me", now=1).changed


def test_what_a_short_reference_of_first_weeks_costs_is_told() -> None:
    model = load_declaration(FLIGHTS)
    assert not advice(model.declaration)
    size = model.declaration.windows.size
    for windows, advised in ((399, 1), (400, 0)):
        alerts = replace(
            model.declaration.alerts, reference="first_weeks", reference_period=windows * size
        )
        assert len(advice(replace(model.declaration, alerts=alerts))) == advised


def test_a_season_with_more_slots_than_a_version_keeps_is_told() -> None:
    made = load_declaration(FLIGHTS).declaration
    for season, times, advised in (
        ((), 20, 0),
        (("hour_of_day",), 10, 0),
        (("hour_of_day", "day_of_week"), 1, 0),
        (("hour_of_day", "day_of_week"), 20, 1),
    ):
        many = replace(
            made, alerts=replace(made.alerts, season=season), numeric=made.numeric * times
        )
        assert len(advice(many)) == advised


@pytest.mark.parametrize(
    ("model", "old", "new", "named"),
    [
        ("status", '"late", "cancelled', '"delayed", "cancelled', "the classes"),
        ("delay", "error_bound = 60", "error_bound = 90", "error_bound"),
    ],
)
def test_how_rows_are_judged_may_not(
    log: MemoryLog, model: str, old: str, new: str, named: str
) -> None:
    first = load_declaration(FLIGHTS.with_name(f"flights-{model}.toml"))
    apply_declaration(log, TOPICS, first, who="me", now=0)
    with pytest.raises(ConfigurationError, match=named):
        apply_declaration(log, TOPICS, _changed(first, old, new), who="me", now=1)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('[[features]]\nname = "minute"\nkind = "numeric"\nlimits = [0, 59]\n', "", "numeric"),
        ('size = "1d"', 'size = "12h"', "size in"),
    ],
)
def test_what_the_rows_look_like_may_not(log: MemoryLog, old: str, new: str, named: str) -> None:
    model = load_declaration(FLIGHTS)
    apply_declaration(log, TOPICS, model, who="me", now=0)
    with pytest.raises(ConfigurationError, match=named):
        apply_declaration(log, TOPICS, _changed(model, old, new), who="me", now=1)

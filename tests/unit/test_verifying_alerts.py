"""An alert recomputed from its windows, and those from the log; whatever was changed is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alert_world import HOUR, ROWS, SCHEMA, START, TOML, AlertWorld
from driftloop.cli import recomputing
from driftloop.cli.alert_evidence import evidence_of
from driftloop.cli.alert_records import AlertBook
from driftloop.cli.alert_verification import AlertVerification
from driftloop.cli.verifying_alerts import verify_alert
from driftloop.drift.service import DriftService
from driftloop.drift.shiryaev import LOG_TEN
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import ConfigurationError
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.pipeline import Inline
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.records import (
    AlertKind,
    AlertStatus,
    CommandAction,
    DeadLetter,
    Load,
    ModelRecord,
    Prediction,
    Window,
)
from driftloop.kernel.service import Context
from driftloop.kernel.settings import Settings


def drift_for_a_while(hour: int) -> float:
    return 1.0 if 8 <= hour < 14 else 0.0


@pytest.fixture
def world() -> AlertWorld:
    return AlertWorld(hours=20, shift=drift_for_a_while)


def verified(world: AlertWorld, id: str = "") -> AlertVerification:
    return verify_alert(world.log, world.catalog, id or world.alerts()[0].id)


def test_an_alert_that_nobody_touched_is_verified_from_opening_to_resolution(
    world: AlertWorld,
) -> None:
    alerts = world.run()
    assert {a.id for a in alerts} == {alerts[0].id}
    assert [alerts[0].status, alerts[-1].status] == [AlertStatus.OPENED, AlertStatus.RESOLVED]
    found = verified(world)
    assert found.ok
    assert (found.records, found.recomputed, found.annotations) == (len(alerts), len(alerts), 0)
    assert found.windows.verified == found.windows.windows >= 6
    assert "verified" in found.text()


def test_a_restart_in_the_middle_changes_nothing(world: AlertWorld) -> None:
    once = world.run()
    for hour in (8, 10, 15):
        other = AlertWorld(hours=20, shift=drift_for_a_while)
        assert other.run(restart_after=hour) == once
        assert verified(other).ok


def test_alerts_of_segments_are_verified_and_drawn() -> None:
    world = AlertWorld(hours=14, segments=True)
    alerts = world.run()
    subjects = {finding.subject for finding in alerts[-1].evidence.findings}
    assert subjects == {"x", "x[even]", "x[odd]"}
    assert verified(world).ok
    shown = evidence_of(world.log, world.catalog, AlertBook(alerts), alerts[0].id, findings=3)
    assert {compared.subject for compared in shown.comparisons} == subjects
    assert {compared.rows for compared in shown.comparisons} == {6 * ROWS, 3 * ROWS}


def test_an_alert_of_a_release_that_named_no_declaration_is_verified(world: AlertWorld) -> None:
    for number, alert in enumerate(world.run()):
        world.tamper(world.topics.alerts, number, replace(alert, declaration=""))
    assert verified(world).ok


def test_a_record_that_the_service_must_have_written_by_now_is_missed(world: AlertWorld) -> None:
    context = Context(world.log, world.clock, NullMeter(), Settings(), Inline(), Inline)
    service = DriftService(context, Catalog(world.topics, declaration_of))
    while service.step(0.0):
        pass
    service.close()
    alerts = world.alerts()
    assert verified(world).ok
    world.tamper(world.topics.alerts, len(alerts) - 1, b"nothing")
    (problem,) = verified(world, alerts[0].id).problems
    assert "one more record (resolved" in problem


def test_a_record_written_since_the_service_was_asked_how_far_it_is_follows_from_the_windows(
    world: AlertWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = world.run()
    source = TopicPartition(world.topics.windows, world.partition)
    for read in (0, 3, 9, 15):
        monkeypatch.setattr(world.log, "committed", lambda group, topics, at=read: {source: at})
        found = verified(world)
        assert found.ok, found.text()
        assert found.recomputed == len(alerts)


def test_what_people_said_is_left_out_and_the_rest_compared() -> None:
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    first = world.run()[0]
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    until = START + 100 * HOUR
    alerts = world.run(
        (9, world.command(CommandAction.ACKNOWLEDGE, first)),
        (11, world.command(CommandAction.SNOOZE, first, "bob", until)),
        (11, world.command(CommandAction.SNOOZE, first, "bob", until)),
    )
    assert alerts[-1].acknowledged_by == "bob"
    found = verified(world)
    assert found.ok, found.problems
    assert (found.annotations, found.recomputed) == (3, len(alerts) - 3)


def annotated(hour: int = 9) -> AlertWorld:
    """Ann acknowledges the alert after the window of an hour."""
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    first = world.run()[0]
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    world.run((hour, world.command(CommandAction.ACKNOWLEDGE, first)))
    return world


def test_what_was_said_once_is_on_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    world = annotated()
    assert verified(world).ok
    alerts = world.alerts()
    said = next(a for a in alerts if a.acknowledged_by)
    twice = [*alerts[: said.sequence + 1], *alerts[said.sequence :]]
    for number, alert in enumerate(twice):
        record = replace(alert, sequence=number)
        if number < len(alerts):
            world.tamper(world.topics.alerts, number, record)
        else:
            world.put(world.topics.alerts, record)
    (problem,) = verified(world).problems
    assert "on more records than there are commands" in problem


@pytest.mark.parametrize(
    ("read", "dead", "outcome", "told"),
    [
        (1, False, "wrong", "problems"),
        (0, False, "verified", "notes"),
        (1, True, "verified", ""),
    ],
)
def test_what_was_said_and_shows_nowhere_is_told(
    read: int, dead: bool, outcome: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = annotated()
    alerts = world.alerts()
    said = next(a.sequence for a in alerts if a.acknowledged_by)
    silent = [replace(a, acknowledged_by="") for a in alerts if a.sequence != said]
    for number, alert in enumerate([*silent, silent[-1]]):
        record = b"nothing" if number == len(silent) else replace(alert, sequence=number)
        world.tamper(world.topics.alerts, number, record)
    source = TopicPartition(world.topics.commands, world.partition)
    windows = TopicPartition(world.topics.windows, world.partition)
    positions = {source: read, windows: len(world.windows)}
    monkeypatch.setattr(world.log, "committed", lambda group, topics: positions)
    if dead:
        letter = DeadLetter("drift", "out_of_limits", "", *source, 0, 0, b"m", b"", ())
        world.put(world.topics.dead_letters, letter)
    found = verified(world, alerts[0].id)
    assert found.outcome == outcome
    texts = {"problems": found.problems, "notes": found.notes}
    for name, lines in texts.items():
        shows = any("no record shows command 1 (acknowledge by ann" in line for line in lines)
        assert shows == (name == told)


def test_a_declaration_that_there_never_was_is_named(world: AlertWorld) -> None:
    alerts = world.run()
    forged = replace(alerts[0].evidence, e_value=99.0, windows=())
    world.tamper(
        world.topics.alerts, 0, replace(alerts[0], evidence=forged, declaration="x", onset=5)
    )
    found = verified(world)
    assert found.outcome == "wrong"
    assert not found.uncompared
    assert any("declaration (x)" in problem for problem in found.problems)
    world.put(world.topics.alerts, replace(alerts[0], id="invented", declaration="x"))
    assert verified(world, "invented").outcome == "wrong"


@pytest.mark.parametrize("version", [1, 99])
@pytest.mark.parametrize("first", [True, False])
def test_windows_that_drift_refused_make_no_difference(version: int, first: bool) -> None:
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    window = world.windows[9]
    wrong = (
        replace(window, rows=-1)
        if version == 1
        else replace(window, version=version, start=window.start + HOUR, end=window.end + HOUR)
    )
    part = world.log._storage.partition(world._at(world.topics.windows))
    alerts = world.run()
    at = 9 if first else len(world.windows)
    part.values.insert(at, codec(Window).encode(wrong))
    part.keys.insert(at, part.keys[0])
    part.timestamps.insert(at, part.timestamps[0])
    part.headers.insert(at, part.headers[0])
    part.offsets.append(part.end)
    part.end += 1
    found = verified(world)
    assert (found.outcome, found.recomputed) == ("verified", len(alerts)), found.problems
    if first:  # Windows after the alert was over are not gone through.
        assert any(f"offset {at} decided nothing" in note for note in found.notes)
    shown = evidence_of(
        world.log,
        world.catalog,
        AlertBook.read(world.log, world.topics),
        alerts[0].id,
        findings=1,
    )
    assert shown.comparisons


def test_evidence_changed_in_an_annotation_is_named() -> None:
    world = AlertWorld(hours=12)
    first = world.run()[0]
    world = AlertWorld(hours=12)
    world.run((9, world.command(CommandAction.ACKNOWLEDGE, first)))
    number, said = next((i, a) for i, a in enumerate(world.alerts()) if a.acknowledged_by)
    more = replace(said, evidence=replace(said.evidence, effect=9.0))
    world.tamper(world.topics.alerts, number, more)
    (problem,) = verified(world).problems
    assert "by ann: evidence.effect is 9.0" in problem


def test_an_end_on_what_is_acknowledged_counts_for_nothing() -> None:
    world = AlertWorld(hours=12)
    first = world.run()[0]
    world = AlertWorld(hours=12)
    world.run((9, world.command(CommandAction.ACKNOWLEDGE, first, until=5)))
    found = verified(world)
    assert found.ok, found.problems
    assert found.annotations == 1


def test_an_annotation_that_nobody_asked_for_is_named(world: AlertWorld) -> None:
    first = world.run()[0]
    forged = replace(
        first, status=AlertStatus.UPDATED, sequence=len(world.alerts()), acknowledged_by="eve"
    )
    world.put(world.topics.alerts, forged)
    (problem,) = verified(world).problems
    assert f"record {forged.sequence} (updated" in problem


def test_a_changed_e_value_is_named_with_record_and_field(world: AlertWorld) -> None:
    second = world.run()[1]
    wrong = replace(second, evidence=replace(second.evidence, e_value=20.0))
    world.tamper(world.topics.alerts, 1, wrong)
    found = verified(world)
    assert not found.ok
    (problem,) = found.problems
    assert problem.startswith("record 1 (updated")
    assert "evidence.e_value is 20.0, recomputed " in problem
    assert str(second.evidence.e_value) in problem


def test_a_window_whose_statistics_were_changed_is_named(world: AlertWorld) -> None:
    world.run()
    window = world.windows[9]
    other = replace(window, statistics=world.windows[2].statistics)
    world.tamper(world.topics.windows, 9, other)
    found = verified(world)
    assert found.windows.mismatched == 1
    assert any(window.id in p and "does not follow from the log" in p for p in found.problems)
    assert any(p.startswith("record ") for p in found.problems)


def test_a_row_that_was_changed_shows_in_its_window_and_in_no_record(world: AlertWorld) -> None:
    world.run()
    topic = world.model.topics.predictions
    offset = 10 * ROWS + 3
    value = world.log._storage.partition(world._at(topic)).values[offset]
    row = codec(Prediction).decode(value)
    world.tamper(topic, offset, replace(row, numeric=(-3.0,)))
    (problem,) = verified(world).problems
    assert world.windows[10].id in problem
    assert "numeric[x]" in problem


def test_a_row_changed_before_the_onset_shows_too(world: AlertWorld) -> None:
    world.run()
    whole = verified(world)
    assert whole.others.verified == whole.others.windows > 0
    topic = world.model.topics.predictions
    value = world.log._storage.partition(world._at(topic)).values[2 * ROWS]
    world.tamper(topic, 2 * ROWS, replace(codec(Prediction).decode(value), numeric=(-3.0,)))
    found = verified(world)
    (problem,) = found.problems
    assert (found.windows.mismatched, found.others.mismatched) == (0, 1)
    assert world.windows[2].id in problem


@pytest.mark.parametrize("topic", ["", "elsewhere"])
def test_windows_that_name_no_rows_of_the_model_are_named(topic: str) -> None:
    """Their statistics are another's, and lead to the alert that there is. Some of them no record
    names."""
    world = AlertWorld(hours=16)
    first = world.windows[0]
    for number, like in ((0, 1), (6, 12), (7, 12)):
        window, donor = world.windows[number], world.windows[like]
        sources = tuple(replace(s, topic=topic) for s in window.sources if topic)
        world.tamper(
            world.topics.windows,
            number,
            replace(
                window,
                statistics=donor.statistics,
                rows=donor.rows,
                digest=donor.digest,
                sources=sources,
            ),
        )
    (alert, *_) = world.run()
    assert alert.onset == world.windows[6].start
    found = verified(world)
    assert (found.windows.mismatched, found.others.mismatched) == (2, 1)
    assert (found.outcome, len(found.problems)) == ("wrong", 3)
    assert any(first.id in problem for problem in found.problems)
    assert all("it names " in problem for problem in found.problems)


def test_a_window_that_is_gone_is_named(world: AlertWorld) -> None:
    world.run()
    world.tamper(world.topics.windows, 9, b"no window any more")
    found = verified(world)
    assert (
        f"window {world.windows[9].id}, which the evidence names, is not on the topic "
        "driftloop.windows" in found.problems
    )


def test_windows_that_lead_to_another_alert_are_named(world: AlertWorld) -> None:
    world.run()
    # Without the first drifted window the onset, and with it the id, is another.
    world.tamper(world.topics.windows, 8, b"no window any more")
    found = verified(world)
    later = f"m-data_drift-x-v1-{START + 9 * HOUR}"
    assert any(later in problem for problem in found.problems)


def test_a_record_that_is_missing_shows_in_the_numbers(world: AlertWorld) -> None:
    alerts = world.run()
    world.tamper(world.topics.alerts, 1, replace(alerts[1], id="another"))
    found = verified(world)
    assert any("one is missing" in problem for problem in found.problems)


def test_an_alert_there_is_not_names_the_nearest(world: AlertWorld) -> None:
    first = world.run()[0]
    with pytest.raises(ConfigurationError, match=first.id):
        verified(world, first.id[:-3])


def test_an_alert_of_a_version_that_is_gone_says_so(world: AlertWorld) -> None:
    world.run()
    world.catalog.versions.clear()
    with pytest.raises(ConfigurationError, match="version 1"):
        verified(world)


def test_a_not_loaded_alert_is_recomputed_from_the_loads() -> None:
    world = AlertWorld(hours=1)
    failed = Load("m", "a", 3, 1, -1, 1, "gone", START)
    world.run(loads=[failed, replace(failed, failed=-1, error="", at=START + HOUR)])
    alert = world.alerts()[0]
    assert alert.kind is AlertKind.NOT_LOADED
    found = verified(world, alert.id)
    assert found.ok, found.problems
    assert (found.recomputed, found.windows.windows) == (2, 0)
    assert "no window" in found.notes[0]
    world.tamper(world.topics.alerts, 0, replace(alert, version=2))
    assert "version is 2, recomputed 1" in verified(world, alert.id).problems[0]


def test_windows_are_those_that_counted_whatever_came_late(world: AlertWorld) -> None:
    world.run()
    late: Window = replace(world.windows[9], revision=1, rows=7)
    world.put(world.topics.windows, late)
    assert verified(world).ok


@pytest.mark.parametrize(
    ("field", "value"),
    [("late", 5), ("late", -1), ("parts", 2), ("revision", 1), ("watermark", 10**15)],
)
def test_what_a_window_says_of_itself_wrongly_is_named(
    world: AlertWorld, field: str, value: int
) -> None:
    world.run()
    window = world.windows[5]
    wrong = replace(window, **{field: value})  # type: ignore[arg-type]
    world.tamper(world.topics.windows, 5, wrong)
    found = verified(world)
    assert found.outcome == "wrong"
    (problem,) = found.problems
    assert window.id in problem
    assert str(value) in problem


def test_what_depends_on_rows_not_read_is_a_note_unless_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recomputing, "_GAP", 0)
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    # Its rows are not read: it is another version's.
    world.tamper(world.topics.windows, 0, replace(world.windows[0], version=0))
    world.run()
    window = world.windows[11]
    world.tamper(world.topics.windows, 11, replace(window, late=5))
    named = f"window {window.id} revision 0: it says that 5 of its rows were late, the log gives 0"
    found = verified(world)
    assert found.outcome == "verified"
    assert any(named in note for note in found.notes)
    world.tamper(world.topics.windows, 4, replace(world.windows[4], parts=9))
    found = verified(world)
    assert [world.windows[4].id in found.problems[0], named in found.problems[1]] == [True, True]


def test_late_rows_are_not_compared_where_lateness_was_changed(world: AlertWorld) -> None:
    alerts = world.run()
    declared = ModelRecord("m", f'{TOML}lateness = "2h"\n', SCHEMA, "me", 0)
    world.clock.advance(HOUR)
    world.put(world.topics.models, declared)
    found = verified(world, alerts[0].id)
    assert not found.problems
    assert any("different lateness" in note for note in found.notes)


def test_what_is_drawn_counts_a_window_once_whatever_came_of_it_later() -> None:
    drawn = []
    for times in (0, 2):
        world = AlertWorld()
        for _ in range(times):
            world.put(world.topics.windows, replace(world.windows[10], revision=1))
        alerts = world.run()
        shown = evidence_of(world.log, world.catalog, AlertBook(alerts), alerts[0].id, findings=1)
        drawn.append((len(shown.points), shown.comparisons[0].rows))
    assert drawn[0] == drawn[1]


def compacted(world: AlertWorld) -> None:
    """Of the models topic only the newest declaration is left."""
    part = world.log._storage.partition(world._at(world.topics.models))
    part.values[:-1] = [b"gone"] * (len(part.values) - 1)


HALF = "false_alarms_per_100k = 0.5"


@pytest.mark.parametrize("hour", [8, 9, 10, 16])
@pytest.mark.parametrize(
    "alerts", [HALF, 'reference = "first_weeks"\nreference_period = "3h"'], ids=["goes on", "anew"]
)
def test_an_alert_across_a_redeclaration_is_verified_under_those_it_names(
    world: AlertWorld, hour: int, alerts: str
) -> None:
    record = world.redeclaration(alerts, hour)
    said = world.run(declared={hour: record})
    digests = {world.model.digest, declaration_of(record).digest}
    assert {alert.declaration for alert in said} <= digests
    for id in {alert.id for alert in said}:
        found = verified(world, id)
        assert (found.outcome, found.problems) == ("verified", ())


@pytest.mark.parametrize("late", [1, 2])
def test_what_is_drawn_is_what_was_tested_under_the_declaration_that_the_alert_names(
    world: AlertWorld, late: int
) -> None:
    """The service read it when it had tested some windows that were written after it."""
    record = world.redeclaration('reference = "first_weeks"\nreference_period = "3h"', 8)
    (first, *_) = world.run(declared={8 + late: record})
    assert first.declaration == world.model.digest
    assert verified(world).ok
    book = AlertBook(world.alerts())
    shown = evidence_of(world.log, world.catalog, book, first.id, findings=1)
    level = {point.at: point.log10_e for point in shown.points}
    assert level[first.at] == pytest.approx(first.evidence.e_value / LOG_TEN)


@pytest.mark.parametrize("late", [1, 2])
def test_a_declaration_that_the_service_read_late_makes_no_alert_wrong(
    world: AlertWorld, late: int
) -> None:
    record = world.redeclaration(HALF, 8)
    (first, *_) = world.run(declared={8 + late: record})
    assert first.declaration == world.model.digest
    assert verified(world).ok


def test_records_that_name_no_declaration_are_told_of(world: AlertWorld) -> None:
    alerts = world.run()
    world.tamper(world.topics.alerts, 0, replace(alerts[0], declaration=""))
    found = verified(world)
    assert found.ok
    (note,) = (note for note in found.notes if "no declaration" in note)
    assert note.startswith(f"1 of {len(alerts)} records")


def test_an_alert_whose_declaration_is_gone_is_not_called_wrong(world: AlertWorld) -> None:
    alerts = world.run()
    world.redeclaration(HALF, 20)
    assert verified(world).ok
    compacted(world)
    found = verified(world)
    assert (found.outcome, found.ok, found.problems) == ("not_comparable", False, ())
    (why,) = found.uncompared
    assert world.model.digest in why
    assert "driftloop.models no longer holds" in why
    assert (found.records, found.recomputed) == (len(alerts), 0)
    assert found.windows.verified == found.windows.windows >= 6
    assert found.others.verified == found.others.windows >= 8
    assert found.text().startswith(f"alert {alerts[0].id}: cannot be compared")
    assert found.document()["outcome"] == "not_comparable"


def test_what_does_not_depend_on_a_declaration_that_is_gone_is_still_compared(
    world: AlertWorld,
) -> None:
    alerts = world.run()
    world.redeclaration(HALF, 20)
    compacted(world)
    world.tamper(world.topics.alerts, 1, replace(alerts[1], acknowledged_by="eve"))
    found = verified(world)
    assert found.outcome == "wrong"
    assert found.uncompared
    assert all("nobody's command" in problem for problem in found.problems)
    world.tamper(world.topics.alerts, 1, replace(alerts[1], sequence=7))
    (problem,) = verified(world).problems
    assert "should be record 1" in problem
    world.tamper(world.topics.alerts, 1, alerts[1])
    world.tamper(world.topics.windows, 9, b"no window any more")
    first, *more = verified(world).problems
    assert world.windows[9].id in first
    # What cannot be read is told where, for it may be what the rest comes from.
    assert len(more) == 1
    assert "offset 9 decided nothing" in more[0]


def test_of_an_older_release_too_an_alert_is_not_called_wrong_for_what_is_gone(
    world: AlertWorld,
) -> None:
    for number, alert in enumerate(world.run()):
        world.tamper(world.topics.alerts, number, replace(alert, declaration=""))
    world.redeclaration(HALF, 20)
    compacted(world)
    found = verified(world)
    assert (found.outcome, found.problems) == ("not_comparable", ())
    assert "written before the oldest declaration" in found.uncompared[0]


def test_an_alert_under_a_newer_declaration_is_compared_although_an_older_one_is_gone(
    world: AlertWorld,
) -> None:
    record = world.redeclaration(HALF, 5)
    (first, *_) = world.run(declared={5: record})
    assert first.declaration == declaration_of(record).digest
    compacted(world)
    assert verified(world).ok


def test_what_people_said_is_counted_although_a_declaration_is_gone(world: AlertWorld) -> None:
    first = world.run()[0]
    world = AlertWorld(hours=20, shift=drift_for_a_while)
    world.run((9, world.command(CommandAction.ACKNOWLEDGE, first)))
    world.redeclaration(HALF, 20)
    compacted(world)
    found = verified(world)
    assert (found.outcome, found.annotations, found.recomputed) == ("not_comparable", 1, 0)

"""``driftloop alert``: what is listed, shown and asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import driftloop.cli.__main__ as command_line
from alert_world import HOUR, START, AlertWorld
from driftloop.cli import alerting
from driftloop.cli.alert_evidence import evidence_of
from driftloop.cli.alert_records import AlertBook
from driftloop.cli.alert_view import AlertPage, print_page
from driftloop.cli.alert_words import facts, number
from driftloop.drift.shiryaev import LOG_TEN
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Log
from driftloop.kernel.records import Alert, Command, CommandAction, Finding, ModelRecord
from driftloop.kernel.settings import Settings

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def world() -> AlertWorld:
    """x is shifted for a while; c has new values, and that alert is open."""
    made = AlertWorld(
        hours=22,
        shift=lambda hour: 1.0 if 8 <= hour < 13 else 0.0,
        new=lambda hour: 0.03 if hour >= 17 else 0.0,
    )
    made.run()
    return made


@pytest.fixture
def run(world: AlertWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    @contextmanager
    def memory() -> Iterator[tuple[Log, Settings]]:
        yield world.log, Settings(bootstrap="memory", directory=tmp_path)

    monkeypatch.setattr(command_line, "running_log", memory)
    monkeypatch.setattr(alerting, "running_log", memory)
    return lambda *arguments: CliRunner().invoke(command_line.app, [*arguments])


def ids(world: AlertWorld) -> tuple[str, str]:
    """Of the one that is over, and the open one."""
    over, still = dict.fromkeys(alert.id for alert in world.alerts())
    return over, still


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 1, 3), result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def drawn(world: AlertWorld, id: str, width: int, encoding: str = "utf-8") -> str:
    """What a terminal of this width without colour shows."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    console = Console(file=out, width=width, no_color=True, force_terminal=False)
    book = AlertBook.read(world.log, world.topics)
    shown = evidence_of(world.log, world.catalog, book, id, findings=3)
    print_page(console, AlertPage(book.records(id), shown, 0, 1.0))
    out.flush()
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(encoding)


def test_open_alerts_are_listed_and_the_others_on_demand(run: Run, world: AlertWorld) -> None:
    over, still = ids(world)
    listed = run("alert", "list").stdout
    assert still in listed
    assert over not in listed
    assert "new_categories of c  open" in listed
    assert "3." in listed and "% more new values (floor 0.5%)" in listed  # noqa: PT018
    assert over in run("alert", "list", "--all").stdout


def test_the_list_is_narrowed_by_model_and_kind(run: Run, world: AlertWorld) -> None:
    over, still = ids(world)
    found = document(run("alert", "list", "--all", "--kind", "data_drift", "--json"))
    assert [(a["id"], a["state"]) for a in found["alerts"]] == [(over, "resolved")]
    found = document(run("alert", "list", "--model", "m", "--json"))
    assert [(a["id"], a["state"]) for a in found["alerts"]] == [(still, "open")]
    assert run("alert", "list", "--model", "n").exit_code == 1
    assert "data_drift" in run("alert", "list", "--kind", "data_drfit").stderr


def test_no_line_of_a_pipe_is_broken(run: Run) -> None:
    lines = run("alert", "list").stdout.splitlines()
    assert len(lines) == 4


def test_a_page_has_the_evidence_in_words(run: Run, world: AlertWorld) -> None:
    over, _ = ids(world)
    page = drawn(world, over, 120)
    alert = next(a for a in world.alerts() if a.id == over)
    for part in (
        f"threshold   {number(alert.evidence.threshold)} (log10 5.52)",
        "30.00% of it is this test's: of 1 per 100,000 rows, one false alert in 333,333 rows",
        "suspected at 2013-01-01 08:00 UTC",
        "m.predictions/0 [2,400, ",
        "Nothing: it is over.",
        "every row counts",
    ):
        assert part in page


@pytest.mark.parametrize(
    ("log10", "text"),
    [
        (-7.0, "0"),
        (-1.0, "0.1"),
        (1.5, "32"),
        (5.99, "977,237"),
        (6.0, "1.0 x 10^6"),
        (6.977, "9.5 x 10^6"),
        (6.999, "1.0 x 10^7"),
        (13.03, "1.1 x 10^13"),
        (99.9999, "1.0 x 10^100"),
    ],
)
def test_an_e_value_has_a_digit_before_the_point(log10: float, text: str) -> None:
    assert number(log10 * LOG_TEN) == text


def test_the_budget_of_a_segment_is_of_its_rows(world: AlertWorld) -> None:
    over, _ = ids(world)
    alert = replace(next(a for a in world.alerts() if a.id == over), segment="a")
    assert dict(facts(alert, 0, 1.0))["budget"].endswith("in 333,333 rows of segment a")


def test_every_stream_of_an_alert_is_named(world: AlertWorld) -> None:
    over, _ = ids(world)
    records = AlertBook.read(world.log, world.topics).records(over)
    evidence = records[-1].evidence
    findings = (*evidence.findings, Finding("y[a]", 30.0, 0.4, "psi"))
    records = [replace(records[-1], evidence=replace(evidence, findings=findings))]
    shown = evidence_of(world.log, world.catalog, AlertBook(records), over, findings=1)
    console = Console(width=80, record=True, file=io.StringIO())
    print_page(console, AlertPage(records, shown, 0, None))
    page = " ".join(console.export_text().split())
    assert "data_drift of x + 1 more" in page
    assert "y[a] 1.1 x 10^13 PSI 0.400" in page
    assert "Not drawn (--findings N): y[a]" in page


def test_a_resolution_tells_the_effect_it_was_judged_by(world: AlertWorld) -> None:
    over, _ = ids(world)
    last = AlertBook.read(world.log, world.topics).records(over)[-1]
    evidence = last.evidence
    assert evidence.effect < 0.5 * evidence.effect_floor
    assert f"{evidence.effect_name} {evidence.effect:.4f}" in last.summary


@pytest.mark.parametrize("width", [80, 120])
def test_both_charts_fit_the_terminal(world: AlertWorld, width: int) -> None:
    over, still = ids(world)
    for id in (over, still):
        page = drawn(world, id, width)
        assert max(map(len, page.splitlines())) <= width
        for part in ("rows from the onset", "reference", "onset 2013-01-01", "opened 2013-01-01"):
            assert part in page
    page = drawn(world, over, width)
    assert "up to -1.28" in page
    assert "over 1.28" in page
    assert "resolved 2013-01-01" in page


def test_an_output_of_ascii_gets_ascii(world: AlertWorld) -> None:
    for id in ids(world):
        page = drawn(world, id, 80, "ascii")
        assert "##" in page
        assert "--" in page


def test_the_chart_passes_the_threshold_when_the_alert_opens(world: AlertWorld) -> None:
    over, _ = ids(world)
    book = AlertBook.read(world.log, world.topics)
    records = book.records(over)
    shown = evidence_of(world.log, world.catalog, book, over, findings=1)
    threshold = records[0].evidence.threshold / LOG_TEN
    level = {point.at: point.log10_e or 0.0 for point in shown.points}
    assert level[records[0].opened_at] >= threshold > level[START + 8 * HOUR]
    assert level[records[0].opened_at] == pytest.approx(records[0].evidence.e_value / LOG_TEN, 1e-6)


def test_a_document_has_what_is_drawn(run: Run, world: AlertWorld) -> None:
    over, still = ids(world)
    found = document(run("alert", "show", over, "--json"))
    (compared,) = found["comparisons"]
    assert sum(bar["now"] for bar in compared["bars"]) == pytest.approx(1.0)
    assert [record["sequence"] for record in found["records"]] == list(range(len(found["records"])))
    assert max(point["log10_e"] or 0 for point in found["e_value_over_time"]) > 10
    found = document(run("alert", "show", still, "--json"))
    assert [bar["label"] for bar in found["comparisons"][0]["bars"]] == ["known", "new"]


def test_categories_are_compared_by_level_and_new_ones_by_themselves() -> None:
    world = AlertWorld(hours=12, shift=lambda hour: 0.0, new=lambda hour: 0.4 * (hour >= 6))
    world.run()
    book = AlertBook.read(world.log, world.topics)
    shown = evidence_of(world.log, world.catalog, book, world.alerts()[0].id, findings=3)
    labels = [bar.label for one in shown.comparisons for bar in one.bars]
    assert labels in (["known", "new"], ["even", "odd", "new values"])


def test_an_unknown_alert_is_told_with_the_nearest(run: Run, world: AlertWorld) -> None:
    _, still = ids(world)
    for command in (
        ["show"],
        ["acknowledge", "--why", "x"],
        ["snooze", "--for", "2h", "--why", "x"],
    ):
        result = run("alert", command[0], still[:-4], *command[1:])
        assert result.exit_code == 1
        assert still in result.stderr


def test_an_alert_that_is_over_takes_no_command(run: Run, world: AlertWorld) -> None:
    over, still = ids(world)
    result = run("alert", "acknowledge", over, "--why", "late")
    assert result.exit_code == 1
    assert "is over since 2013-01-01" in result.stderr
    assert still in result.stderr


def test_acknowledging_is_a_command_of_the_audit_trail(run: Run, world: AlertWorld) -> None:
    _, still = ids(world)
    said = document(run("alert", "acknowledge", still, "--why", "I am on it", "--json"))
    assert (said["action"], said["alert"], said["model"]) == ("acknowledge", still, "m")
    command = newest_command(world)
    assert (command.action, command.alert, command.until) == (CommandAction.ACKNOWLEDGE, still, 0)
    assert command.why == "I am on it"


def test_a_snooze_says_until_when(run: Run, world: AlertWorld) -> None:
    _, still = ids(world)
    assert run("alert", "snooze", still, "--for", "2h", "--why", "x").exit_code == 0
    command = newest_command(world)
    assert command.action is CommandAction.SNOOZE
    assert command.until == command.at + 2 * HOUR
    result = run("alert", "snooze", still, "--for", "2 moons", "--why", "x")
    assert result.exit_code == 2
    assert "a duration such as" in result.stderr


def test_verifying_an_alert_ends_with_its_verdict(run: Run, world: AlertWorld) -> None:
    over, _ = ids(world)
    result = run("verify", "alert", over)
    assert result.exit_code == 0
    assert f"alert {over}: verified" in result.stdout
    source = world.alerts()
    number = next(i for i, a in enumerate(source) if a.id == over)
    wrong: Alert = source[number]
    world.tamper(world.topics.alerts, number, replace(wrong, version=9))
    try:
        result = run("verify", "alert", over, "--json")
        assert result.exit_code == 1
        assert any("version is 9" in problem for problem in document(result)["problems"])
    finally:
        world.tamper(world.topics.alerts, number, wrong)


def test_an_alert_that_there_is_not_ends_with_a_code_of_its_own(run: Run) -> None:
    result = run("verify", "alert", "no-such-alert")
    assert result.exit_code == 4
    assert "there is no alert 'no-such-alert'" in result.stderr


def test_an_alert_whose_declaration_is_gone_ends_with_a_verdict_of_its_own(
    run: Run, world: AlertWorld
) -> None:
    over, _ = ids(world)
    models = world.log._storage.partition(world._at(world.topics.models))
    (kept,) = models.values
    record = codec(ModelRecord).decode(kept)
    other = replace(record, declaration=f"{record.declaration}[alerts]\nshift_floor = 0.3\n")
    world.tamper(world.topics.models, 0, other)
    models.timestamps[0] += 1  # after the windows
    try:
        result = run("verify", "alert", over, "--json")
        assert result.exit_code == 3
        said = document(result)
        assert (said["ok"], said["outcome"], said["problems"]) == (False, "not_comparable", [])
        assert world.model.digest in said["uncompared"][0]
        assert f"alert {over}: cannot be compared" in run("verify", "alert", over).stdout
    finally:
        models.values[0], models.timestamps[0] = kept, models.timestamps[0] - 1


def newest_command(world: AlertWorld) -> Command:
    return codec(Command).decode(world._batches(world.topics.commands)[-1].values[0])


def test_a_dispersion_of_first_weeks_says_that_few_windows_do_not_tell(world: AlertWorld) -> None:
    record = world.alerts()[0]
    trained = replace(record, evidence=replace(record.evidence, dispersion=3.0))
    first = replace(trained, evidence=replace(trained.evidence, reference="first_weeks by hour"))
    assert "fewer than 400 windows" in dict(facts(first, record.at, 1.0))["dispersion"]
    told = dict(facts(trained, record.at, 1.0))["dispersion"]
    assert told.startswith(
        "3.00: so many rows count as one, for they come in clumps, or may, where"
    )

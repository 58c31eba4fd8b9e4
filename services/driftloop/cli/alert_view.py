"""Alerts on a terminal, and as plain documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from driftloop.cli.alert_charts import glyphs, level_over_time, paired_bars
from driftloop.cli.alert_evidence import Shown, named
from driftloop.cli.alert_records import state_text, subject_text
from driftloop.cli.alert_words import effect_text, facts, floor_text, history, number
from driftloop.cli.printable import printable_record
from driftloop.cli.records_text import moment
from driftloop.drift.shiryaev import LOG_TEN
from driftloop.kernel.attention import attention
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.records import Alert, AlertStatus, Severity

_STYLES = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Everything that is shown of one alert."""

    records: Sequence[Alert]
    shown: Shown
    now: int
    budget: float | None


def print_list(console: Console, alerts: Sequence[Alert], now: int) -> None:
    """A few lines per alert: ids and summaries are too long for the columns of a table."""
    for alert in map(printable_record, alerts):
        evidence = alert.evidence
        head = Text(f"{alert.severity:<8}", style=_STYLES[alert.severity])
        head.append(f"  {alert.kind} of {subject_text(alert)}", style="bold")
        head.append(f"  {state_text(alert, now)}", style="not bold")
        floor = floor_text(evidence.effect_name, evidence.effect_floor)
        effect = f"{effect_text(evidence.effect_name, evidence.effect)} (floor {floor})"
        console.print(head, soft_wrap=not console.is_terminal)
        for line in (alert.id, f"since {moment(alert.onset)} UTC: {effect}", alert.summary):
            _indented(console, line)


def print_page(console: Console, page: AlertPage) -> None:
    """The evidence in words, drawn, and the alert's history."""
    page = printable_record(page)
    alert = page.records[-1]
    drawn = glyphs(console.encoding)
    title = Text(f"{alert.kind} of {subject_text(alert)}", style="bold")
    console.print(title)
    console.print(Text(alert.id, style="dim"), soft_wrap=True)
    for line in (alert.summary, alert.action):
        console.print(Text(line))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts(alert, page.now, page.budget):
        table.add_row(name, Text(text))
    console.print()
    console.print(table)
    console.print()
    if len(alert.evidence.findings) > 1:
        console.print(_findings(alert))
    if page.shown.problem:
        console.print(Text(f"Nothing can be drawn: {page.shown.problem}."))
    points = page.shown.points
    if points and points[-1].at > alert.at:
        console.print(
            Text(
                f"Drawn is what was tested to {moment(points[-1].at)} UTC; the words above are "
                f"those of the newest record, of {moment(alert.at)} UTC."
            )
        )
        console.print()
    for compared in page.shown.comparisons:
        _lines(console, paired_bars(compared, console.width, drawn))
    drawn_subjects = {compared.subject for compared in page.shown.comparisons}
    names = [f.subject for f in alert.evidence.findings if f.subject not in drawn_subjects]
    if drawn_subjects and names:
        console.print(Text(f"Not drawn (--findings N): {', '.join(names)}"))
        console.print()
    if points:
        marks = [("onset", alert.onset + 1), ("opened", alert.opened_at)]
        if alert.status is AlertStatus.RESOLVED:
            marks.append(("resolved", alert.at))
        threshold = alert.evidence.threshold / LOG_TEN
        console.print(
            Text(f"log10 of the e-value of {named(alert)} after each window; ", end="").append(
                f"{drawn.line * 2} its threshold", style="red"
            )
        )
        _lines(console, level_over_time(points, threshold, marks, console.width, drawn))
    console.print(_history(page.records))


def document(page: AlertPage) -> dict[str, Any]:
    """The newest record, and beside it what is drawn."""
    alert = page.records[-1]
    return {
        **to_plain(alert),
        "state": state_of(alert, page.now),
        "e_value_over_time": [to_plain(point) for point in page.shown.points],
        "comparisons": [to_plain(one) for one in page.shown.comparisons],
        "not_drawn": page.shown.problem,
        "records": [to_plain(record) for record in page.records],
    }


def state_of(alert: Alert, now: int) -> str:
    """One word: ``resolved``, or whether somebody looks after it."""
    return "resolved" if alert.status is AlertStatus.RESOLVED else attention(alert, now).value


def _history(records: Sequence[Alert]) -> Table:
    table = Table("record", "at (UTC)", "", "severity", "e-value", "effect", box=SIMPLE_HEAD)
    for line in history(records):
        table.add_row(*map(Text, line))
    return table


def _findings(alert: Alert) -> Table:
    """Every stream that belongs to it, the strongest first."""
    table = Table("stream", "e-value", "effect", box=SIMPLE_HEAD)
    for finding in alert.evidence.findings:
        effect = effect_text(finding.effect_name, finding.effect)
        table.add_row(Text(finding.subject), number(finding.e_value), effect)
    return table


def _lines(console: Console, lines: Sequence[Text]) -> None:
    for line in lines:
        console.print(line, overflow="fold", highlight=False)
    console.print()


def _indented(console: Console, line: str) -> None:
    if console.is_terminal:
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    else:
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)

"""``driftloop alert``: what people do with alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from driftloop.cli.opening import running_log
from driftloop.cli.options import Json, OneModel, Why
from driftloop.cli.output import Output, UsageError, reported

if TYPE_CHECKING:
    from driftloop.kernel.records import CommandAction

_LONGEST_SNOOZE = 366 * 86_400_000
"""ms."""

Id = Annotated[str, typer.Argument(help="The alert's id.", metavar="ID")]

app = typer.Typer(help="Alerts: list, show, acknowledge, snooze.", rich_markup_mode=None)


@app.command("list")
@reported
def list_alerts(
    model: OneModel = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only of this kind.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    json: Json = False,
) -> None:
    """The open alerts: what, since when, how large, and who looks after it."""
    from rich.console import Console

    from driftloop.adapters.clock import SystemClock
    from driftloop.cli.alert_records import AlertBook
    from driftloop.cli.alert_view import print_list, state_of
    from driftloop.cli.control import declared_model, read_catalog
    from driftloop.drift.wording import rank
    from driftloop.kernel.codec.mapping import to_plain
    from driftloop.kernel.declaration_wording import one_of
    from driftloop.kernel.records import AlertKind

    if kind is not None and kind not in list(AlertKind):
        raise UsageError(f"there are no alerts of kind {kind!r}: {one_of(kind, list(AlertKind))}")
    out = Output(json)
    now = SystemClock().now()
    with running_log() as (log, settings):
        if model is not None:
            declared_model(read_catalog(log, settings.topics), model)
        book = AlertBook.read(log, settings.topics, out.progress)
    alerts = [
        alert
        for alert in (book.newest() if every else book.open())
        if model in (None, alert.model) and kind in (None, alert.kind.value)
    ]
    if json:
        shown = [{**to_plain(alert), "state": state_of(alert, now)} for alert in alerts]
        out.show({"alerts": shown}, "")
    elif alerts:
        # The gravest first; within those in the order of their opening.
        print_list(Console(), sorted(alerts, key=lambda alert: -rank(alert.severity)), now)
    else:
        out.show({}, "no alerts" if every else "no alerts are open; --all shows those that were")


@app.command()
@reported
def show(
    id: Id,
    findings: Annotated[int, typer.Option(min=0, help="Draw so many of its streams.")] = 3,
    json: Json = False,
) -> None:
    """An alert's evidence: in words, drawn against the reference and over time, and its history."""
    from rich.console import Console

    from driftloop.adapters.clock import SystemClock
    from driftloop.cli.alert_evidence import Shown, evidence_of
    from driftloop.cli.alert_records import AlertBook
    from driftloop.cli.alert_view import AlertPage, document, print_page
    from driftloop.cli.control import read_catalog
    from driftloop.kernel.errors import ConfigurationError

    out = Output(json)
    with running_log() as (log, settings):
        book = AlertBook.read(log, settings.topics, out.progress)
        records = book.records(id)
        catalog = read_catalog(log, settings.topics, out.progress)
        try:
            shown = evidence_of(log, catalog, book, id, findings=findings, progress=out.progress)
        except ConfigurationError as error:
            shown = Shown(problem=str(error))
    declared = catalog.models.get(records[-1].model)
    budget = None
    # Another declaration's budget is not what its threshold came from.
    if declared is not None and records[-1].declaration in ("", declared.digest):
        budget = declared.alerts.false_alarms_per_100k
    page = AlertPage(records, shown, SystemClock().now(), budget)
    if json:
        out.show(document(page), "")
    else:
        print_page(Console(), page)


@app.command()
@reported
def acknowledge(id: Id, why: Why, json: Json = False) -> None:
    """Say that you know of an alert and look after it."""
    from driftloop.kernel.records import CommandAction

    _annotate(CommandAction.ACKNOWLEDGE, id, why, None, json)


@app.command()
@reported
def snooze(
    id: Id,
    span: Annotated[str, typer.Option("--for", help="How long, such as 2h.", metavar="TIME")],
    why: Why,
    json: Json = False,
) -> None:
    """Put an alert off for a time; after it, it is open again."""
    from driftloop.kernel.quantities import parse_duration
    from driftloop.kernel.records import CommandAction

    try:
        length = parse_duration(span)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if length <= 0:
        raise UsageError("--for: a snooze takes some time; acknowledge an alert to take it up")
    if length > _LONGEST_SNOOZE:
        raise UsageError(f"--for {span}: a snooze lasts a year at most; acknowledge the alert")
    _annotate(CommandAction.SNOOZE, id, why, length, json)


def _annotate(action: CommandAction, id: str, why: str, length: int | None, json: bool) -> None:
    from driftloop.adapters.clock import SystemClock
    from driftloop.cli.alert_records import AlertBook
    from driftloop.cli.commanding import current_user, publish_command
    from driftloop.cli.records_text import moment

    out = Output(json)
    with running_log() as (log, settings):
        alert = AlertBook.read(log, settings.topics, out.progress).open_one(id)
        now = SystemClock().now()
        until = 0 if length is None else now + length
        command = publish_command(
            log,
            settings.topics,
            action,
            alert.model,
            who=current_user(),
            why=why,
            now=now,
            alert=id,
            until=until,
        )
    lasts = f" until {moment(until)} UTC" if until else ""
    out.show(
        {
            "id": command.id,
            "model": alert.model,
            "action": command.action.value,
            "alert": id,
            "until": until,
            "who": command.who,
            "at": command.at,
            "why": why,
        },
        f"asked to {action.value} alert {id}{lasts} as {command.who} ({command.id})",
    )

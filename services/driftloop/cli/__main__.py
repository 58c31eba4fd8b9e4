"""``driftloop``: the command line. Each command imports what it needs when it runs, so that
``--help`` is quick."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from driftloop.cli import alerting, asking
from driftloop.cli.opening import read_settings, running_log
from driftloop.cli.options import Json, Model, OneModel
from driftloop.cli.output import Output, UsageError, encodable, reported, write
from driftloop.kernel.errors import ConfigurationError

app = typer.Typer(
    name="driftloop",
    help="Event-driven machine learning on Kafka that keeps itself right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes longer to load than all the rest
)
verify_app = typer.Typer(help="Recompute from the log and compare, bit for bit.")
app.add_typer(verify_app, name="verify", no_args_is_help=True)
app.add_typer(alerting.app, name="alert", no_args_is_help=True)


class TailKind(StrEnum):
    """What ``tail`` follows. ``tailing.KINDS`` has the same names."""

    ALERTS = "alerts"
    ESTIMATES = "estimates"
    PREDICTIONS = "predictions"
    OUTCOMES = "outcomes"
    WINDOWS = "windows"
    VERSIONS = "versions"
    DEPLOYMENTS = "deployments"
    RUNS = "runs"
    LOADS = "loads"
    DEAD_LETTERS = "dead-letters"


@app.command()
@reported
def up(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Apply this declaration too.", metavar="FILE"),
    ] = None,
    json: Json = False,
) -> int:
    """Start Kafka, if none is given, and all services; restart what dies; until Ctrl-C."""
    from driftloop.cli.upping import run_up

    return run_up(read_settings(), Output(json), model=model)


@app.command()
@reported
def apply(
    file: Annotated[Path, typer.Argument(help="The model's declaration, TOML.", metavar="FILE")],
    check: Annotated[bool, typer.Option("--check", help="Only check the file.")] = False,
    json: Json = False,
) -> None:
    """Declare a model: check the file, make its topics, publish it. Services pick it up."""
    from driftloop.adapters.clock import SystemClock
    from driftloop.cli.applying import advice, apply_declaration, load_declaration
    from driftloop.cli.commanding import current_user

    out = Output(json)
    model = load_declaration(file)
    declared = model.declaration
    advised = advice(declared)
    for line in advised:
        out.progress(f"advice: {line}")
    if check:
        out.show(
            {"model": declared.name, "valid": True, "advice": advised},
            f"{file} declares {declared.name!r}: valid",
        )
        return
    with running_log() as (log, settings):
        now = SystemClock().now()
        applied = apply_declaration(log, settings.topics, model, who=current_user(), now=now)
    made = f"; made {', '.join(applied.made)}" if applied.made else ""
    did = "applied" if applied.changed else "in force already, nothing changed"
    out.show(
        {
            "model": declared.name,
            "changed": applied.changed,
            "made": applied.made,
            "applied_by": applied.record.applied_by,
            "applied_at": applied.record.applied_at,
            "advice": advised,
        },
        f"model {declared.name!r}: {did}{made}",
    )


@app.command()
@reported
def produce(
    model: Model,
    file: Annotated[
        str, typer.Argument(help="JSON lines or an Avro file; - is standard input.")
    ] = "-",
    labels: Annotated[bool, typer.Option("--labels", help="Labels, not events.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first misfit.")] = False,
    json: Json = False,
) -> None:
    """Send events or labels to a model."""
    from driftloop.cli.producing import produce as send
    from driftloop.client import Client

    out = Output(json)
    with contextlib.ExitStack() as stack:
        if file == "-":
            source = sys.stdin.buffer
        else:
            try:
                source = stack.enter_context(Path(file).open("rb"))
            except OSError as error:
                raise UsageError(f"{file} cannot be read: {error.strerror}") from error
        log, settings = stack.enter_context(running_log())
        client = stack.enter_context(Client(log=log, prefix=settings.prefix))
        done = send(client, model, source, labels=labels, strict=strict, on_problem=out.progress)
    kind = "labels" if labels else "events"
    rejected = f"; {done.rejected} rejected" if done.rejected else ""
    out.show(
        {
            "model": model,
            "kind": kind,
            "sent": done.sent,
            "rejected": done.rejected,
            "problems": done.problems,
        },
        f"{done.sent} {kind} sent to model {model!r}{rejected}",
    )


@app.command()
@reported
def tail(
    what: Annotated[TailKind, typer.Argument(help="What to show.")],
    model: OneModel = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="All there is.")] = False,
    last: Annotated[int, typer.Option("-n", min=0, help="So many of the newest.")] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for more, until Ctrl-C.")] = True,
    json: Json = False,
) -> None:
    """Show the newest records of a kind, oldest first, and those to come."""
    from driftloop.cli import tailing

    out = Output(json)
    with running_log() as (log, settings):
        chosen = tailing.tail_of(log, settings.topics, what.value, model)
        entries = tailing.tail(
            log,
            chosen,
            last=None if from_start else last,
            follow=follow,
            stop=threading.Event(),
            on_problem=out.progress,
        )
        try:
            for entry in entries:
                if json:
                    out.show(entry.document(), "")
                else:
                    write(entry.text())
        except KeyboardInterrupt:
            if not follow:
                raise


@app.command()
@reported
def status(model: OneModel = None, json: Json = False) -> None:
    """How the services and the models stand."""
    from rich.console import Console
    from rich.table import Table

    from driftloop.cli import standing
    from driftloop.cli.supervision import SERVICES

    out = Output(json)
    with running_log() as (log, settings):
        services = standing.service_rows(settings.directory, SERVICES)
        models = standing.model_rows(log, settings.topics, model, out.progress)
        bootstrap = settings.bootstrap
    if json:
        out.show({"bootstrap": bootstrap, "services": services, "models": models}, "")
        return
    console = Console(markup=False)  # a segment in brackets is no style
    console.print(f"Kafka at {bootstrap}")
    shown = Table("service", "state", "lag", "details")
    for row in services:
        shown.add_row(*standing.service_line(row))
    console.print(shown)
    shown = Table("model", "serves", "newest windows", "open alerts")
    for row in models:
        shown.add_row(*standing.model_line(row))
    console.print(shown if models else "no model is declared: driftloop apply FILE")


@verify_app.command("windows")
@reported
def verify_windows(
    model: OneModel = None,
    sample: Annotated[int, typer.Option(min=0, help="Only so many; 0: all.")] = 0,
    json: Json = False,
) -> int:
    """Recompute closed windows (their newest revisions) from the offsets they name.

    Ends with exit code 1 unless every window is what the log gives.
    """
    from driftloop.cli.control import declared_model, newest_windows, read_catalog
    from driftloop.cli.verifying import evenly, verify_windows

    out = Output(json)
    with running_log() as (log, settings):
        catalog = read_catalog(log, settings.topics, out.progress)
        if model is not None:
            declared_model(catalog, model)
        windows = newest_windows(log, settings.topics, model, out.progress)
        found = verify_windows(log, catalog, evenly(windows, sample), out.progress)
    lines = [
        f"{found.windows} windows: {found.verified} verified, {found.mismatched} mismatched, "
        f"{found.unverifiable} unverifiable",
        *found.details,
    ]
    out.show(
        {
            "windows": found.windows,
            "verified": found.verified,
            "mismatched": found.mismatched,
            "unverifiable": found.unverifiable,
            "details": found.details,
        },
        "\n".join(lines),
    )
    return 0 if found.ok else 1


@verify_app.command("alert")
@reported
def verify_alert(id: alerting.Id, json: Json = False) -> int:
    """Recompute an alert from its windows, and those from the log, and compare every record.

    Ends with exit code 1 if something is not as recomputed, with 3 if nothing is wrong but the
    declaration that the alert was made under is gone, and with 4 if there is nothing to compare.
    """
    from driftloop.cli.alert_verification import EXIT_CODES, NOTHING_COMPARED
    from driftloop.cli.control import read_catalog
    from driftloop.cli.verifying_alerts import verify_alert

    out = Output(json)
    with running_log() as (log, settings):
        catalog = read_catalog(log, settings.topics, out.progress)
        try:
            found = verify_alert(log, catalog, id, out.progress)
        except ConfigurationError as error:
            out.progress(f"driftloop: {error}")
            return NOTHING_COMPARED
    out.show(found.document(), found.text())
    return EXIT_CODES[found.outcome]


@app.command()
@reported
def demo(
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Replay until this day of 2013, YYYY-MM-DD."),
    ] = None,
    recode: Annotated[
        str,
        typer.Option(
            metavar="DATE|never",
            help="From this day on carriers come as ICAO codes, as if the feed had been changed.",
        ),
    ] = "2013-05-15",
    speed: Annotated[
        float, typer.Option(min=0.0, help="Event time per time, at most; 0: as fast as it goes.")
    ] = 0.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards.")] = False,
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="At each window wait until all is acted on.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="One process, without Kafka.")] = False,
    json: Json = False,
) -> int | None:
    """Replay the flights of 2013 through the whole loop and show what happens."""
    from driftloop.cli.demo import run_demo

    return run_demo(
        until=until,
        recode=recode,
        speed=speed,
        keep=keep,
        json=json,
        lockstep=lockstep,
        memory=memory,
    )


asking.register(app)


def main() -> None:
    """The entry point of ``driftloop``. SIGTERM ends a command as Ctrl-C does."""
    # SIGINT too: a shell starts background jobs with it ignored, and they must be stoppable.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    encodable()
    app()


if __name__ == "__main__":
    main()

"""The commands with which people step in: each writes one record of the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from driftloop.cli.opening import running_log
from driftloop.cli.options import Json, Model, Why
from driftloop.cli.output import Output, reported

if TYPE_CHECKING:
    from driftloop.kernel.records import CommandAction


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retrain, promote, reject, rollback):
        app.command()(command)


@reported
def retrain(model: Model, why: Why, json: Json = False) -> None:
    """Ask for a training run."""
    from driftloop.kernel.records import CommandAction

    _command(CommandAction.RETRAIN, model, None, why, json)


@reported
def promote(
    model: Model,
    version: Annotated[int, typer.Argument(min=0, help="The version to serve.")],
    why: Why,
    json: Json = False,
) -> None:
    """Make a version the champion, whatever the test says."""
    from driftloop.kernel.records import CommandAction

    _command(CommandAction.PROMOTE, model, version, why, json)


@reported
def reject(
    model: Model,
    why: Why,
    version: Annotated[
        int | None,
        typer.Argument(min=1, help="The candidate; without it the one in shadow."),
    ] = None,
    json: Json = False,
) -> None:
    """Send a candidate away."""
    from driftloop.kernel.records import CommandAction

    _command(CommandAction.REJECT, model, version, why, json)


@reported
def rollback(model: Model, why: Why, json: Json = False) -> None:
    """Serve the champion before this one again."""
    from driftloop.kernel.records import CommandAction

    _command(CommandAction.ROLL_BACK, model, None, why, json)


def _command(action: CommandAction, model: str, version: int | None, why: str, json: bool) -> None:
    from driftloop.adapters.clock import SystemClock
    from driftloop.cli.commanding import current_user, publish_command

    with running_log() as (log, settings):
        command = publish_command(
            log,
            settings.topics,
            action,
            model,
            version=-1 if version is None else version,
            who=current_user(),
            why=why,
            now=SystemClock().now(),
        )
    about = "" if version is None else f" version {version}"
    Output(json).show(
        {
            "id": command.id,
            "model": model,
            "action": command.action.value,
            "version": command.version,
            "who": command.who,
            "at": command.at,
            "why": why,
        },
        f"asked to {command.action.value.replace('_', ' ')}{about} of model {model!r} "
        f"as {command.who} ({command.id})",
    )

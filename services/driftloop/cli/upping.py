"""``driftloop up``: Kafka if needed, every service, looked after until Ctrl-C."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.registry.opening import open_wire
from driftloop.cli.applying import DeclaredModel, advice, apply_declaration, load_declaration
from driftloop.cli.brokering import broker_in_use
from driftloop.cli.commanding import current_user
from driftloop.cli.output import Output
from driftloop.cli.standing import service_line
from driftloop.cli.supervision import SERVICES, Fleet
from driftloop.kernel.codec import wire
from driftloop.kernel.settings import Settings

_LOOK_EVERY_S = 0.5
_SHOW_EVERY_S = 1.0


def run_up(
    settings: Settings,
    out: Output,
    *,
    model: Path | None = None,
    ready_within_s: float = 120.0,
    stop: threading.Event | None = None,
) -> int:
    """Runs until Ctrl-C or ``stop``; the exit code. Nothing runs any more when it returns.

    Raises :class:`DriftloopError` when Kafka or a service cannot be started.
    """
    ended = stop or threading.Event()
    declared = None if model is None else load_declaration(model)
    try:
        with ExitStack() as stack:
            used = stack.enter_context(broker_in_use(settings, out.progress))
            _prepare(used.settings, declared, out)
            out.progress(
                f"starting {len(SERVICES)} services; logs in {used.settings.directory}/logs"
            )
            fleet = stack.enter_context(Fleet(used.settings, SERVICES, progress=out.progress))
            fleet.wait_ready(ready_within_s)
            out.show(
                {
                    "event": "ready",
                    "bootstrap": used.settings.bootstrap,
                    "directory": str(used.settings.directory),
                    "services": fleet.statuses(),
                },
                f"ready: Kafka at {used.settings.bootstrap}, {len(SERVICES)} services; "
                "Ctrl-C stops them",
            )
            _look_after(fleet, used.look_after, out, ended)
    except KeyboardInterrupt:
        pass
    out.show({"event": "stopped"}, "stopped")
    return 0


def _prepare(settings: Settings, declared: DeclaredModel | None, out: Output) -> None:
    clock = SystemClock()
    log = KafkaLog(settings.bootstrap, settings.kafka_options, clock=clock)
    try:
        log.ensure_topics(settings.topics.specs())
        wire.install(open_wire(settings.registry, settings.registry_options, clock))
        if declared is not None:
            applied = apply_declaration(
                log, settings.topics, declared, who=current_user(), now=clock.now()
            )
            for line in advice(declared.declaration):
                out.progress(f"advice: {line}")
            did = "applied" if applied.changed else "in force already"
            out.progress(f"model {applied.record.name!r} {did}")
    finally:
        wire.in_force().close()
        log.close()


def _look_after(
    fleet: Fleet, look_after_broker: Callable[[], None], out: Output, ended: threading.Event
) -> None:
    console = Console(stderr=True)
    if out.json or not console.is_terminal:
        while not ended.wait(_LOOK_EVERY_S):
            look_after_broker()
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not ended.wait(_SHOW_EVERY_S):
            look_after_broker()
            live.update(table(fleet.statuses()), refresh=True)
    sys.stderr.flush()


def table(statuses: list[dict[str, Any]]) -> Table:
    """The services, one a row."""
    shown = Table("service", "state", "lag", "details", expand=False)
    for row in statuses:
        shown.add_row(*service_line(row))
    return shown

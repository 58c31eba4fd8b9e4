"""How things stand: the services by their HTTP, the models by the control topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from driftloop.adapters.clock import SystemClock
from driftloop.cli.alert_records import subject_text
from driftloop.cli.announcements import Announcement, announced
from driftloop.cli.control import declared_model, read_catalog, read_records
from driftloop.cli.printable import printable
from driftloop.cli.records_text import mean_loss, moment
from driftloop.kernel.attention import attention
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Alert, AlertStatus, Deployment, Stream, Window
from driftloop.kernel.topics import ControlTopics

_FIRST_LOOK = 256


def service_rows(directory: Path, services: Iterable[str]) -> list[dict[str, Any]]:
    """Of every process that runs what its ``/status`` says, and an entry for each of ``services``
    that has none."""
    found = announced(directory)
    if found:
        with ThreadPoolExecutor(len(found), thread_name_prefix="status") as pool:
            rows = list(pool.map(_row, found))
    else:
        rows = []
    absent = [s for s in services if s not in {row["service"] for row in rows}]
    rows += [
        {"service": s, "instance": "", "running": False, "ready": False, "pid": None, "url": None}
        for s in absent
    ]
    order = {service: index for index, service in enumerate(services)}
    return sorted(rows, key=lambda row: (order.get(row["service"], len(order)), row["instance"]))


def model_rows(
    log: Log,
    topics: ControlTopics,
    model: str | None = None,
    on_problem: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Of every model, or one, what is deployed, its newest closed windows and open alerts."""
    if not log.partitions(topics.models):
        return []
    catalog = read_catalog(log, topics, on_problem)
    chosen = sorted(catalog.models) if model is None else [declared_model(catalog, model).name]
    alerts = _open_alerts(read_records(log, Alert, topics.alerts, on_problem))
    windows = _newest_windows(log, topics, chosen)
    now = SystemClock().now()
    return [
        {
            "model": name,
            **_deployed(catalog, name),
            "windows": {stream.value: _window(windows.get((name, stream))) for stream in Stream},
            "open_alerts": [_alert(alert, now) for alert in alerts if alert.model == name],
        }
        for name in chosen
    ]


def service_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """For a table: service, state, lag, what it says of itself."""
    name = f"{row['service']}-{row['instance']}" if row["instance"] else str(row["service"])
    if not row.get("running", True):
        return name, "not running", "", ""
    state = "ready" if row["ready"] else str(row.get("state", "starting"))
    if not row["ready"] and state == "running":
        state = "starting"
    lag = f"{row['lag']:,}" if "lag" in row else ""
    return name, state, lag, details_text(row.get("details", {}))


def model_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """For a table: model, what serves, newest windows, open alerts."""
    shadow = f", shadow v{row['shadow']}" if row["shadow"] >= 0 else ""
    windows = [
        f"{stream} to {moment(window['end'])} ({window['rows']} rows"
        + (f", loss {window['loss']:.4f})" if window["loss"] is not None else ")")
        for stream, window in row["windows"].items()
        if window is not None
    ]
    alerts = [
        printable(f"{a['kind']} of {a['subject']} ({a['severity']}, {a['state']})")
        for a in row["open_alerts"]
    ]
    return (
        str(row["model"]),
        f"v{row['champion']}{shadow} ({row['stage']})",
        "\n".join(windows) or "none closed yet",
        "\n".join(alerts) or "none",
    )


def details_text(details: Mapping[str, Any]) -> str:
    """``name value`` pairs, nested ones in brackets, empty ones left out."""
    parts = []
    for name, value in details.items():
        if isinstance(value, Mapping):
            inner = details_text(value)
            if inner:
                parts.append(f"{name} ({inner})")
        elif isinstance(value, list | tuple):
            if value:
                parts.append(f"{name} {', '.join(map(str, value))}")
        elif value is not None and value != "":
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _row(process: Announcement) -> dict[str, Any]:
    said = process.status()
    return {
        "service": process.service,
        "instance": process.instance,
        "running": True,
        "ready": False,
        "pid": process.pid,
        "url": process.url,
        **(said or {}),
    }


def _deployed(catalog: Catalog, model: str) -> dict[str, Any]:
    deployment: Deployment | None = catalog.deployments.get(model)
    versions = [version for name, version in catalog.versions if name == model]
    return {
        "champion": 0 if deployment is None else deployment.champion,
        "shadow": -1 if deployment is None else deployment.shadow,
        "stage": "steady" if deployment is None else deployment.stage.value,
        "newest_version": max(versions, default=0),
    }


def _open_alerts(records: Iterable[Alert]) -> list[Alert]:
    newest = {alert.id: alert for alert in records}
    return sorted(
        (a for a in newest.values() if a.status is not AlertStatus.RESOLVED),
        key=lambda a: (a.opened_at, a.id),
    )


def _newest_windows(
    log: Log, topics: ControlTopics, models: Iterable[str]
) -> dict[tuple[str, Stream], Window]:
    """Per model and stream the window that ends last, looked for from the end of the topic."""
    found: dict[tuple[str, Stream], Window] = {}
    starts, ends = log.start_offsets([topics.windows]), log.end_offsets([topics.windows])
    wanted: dict[int, set[tuple[str, Stream]]] = {}
    for model in models:
        wanted.setdefault(topics.partition(model), set()).update((model, s) for s in Stream)
    for partition, keys in wanted.items():
        source = TopicPartition(topics.windows, partition)
        high, span = ends.get(source, 0), _FIRST_LOOK
        while high > starts.get(source, 0) and not keys <= found.keys():
            low = max(starts.get(source, 0), high - span)
            for batch in log.read(source, low, high):
                for value in batch.values:
                    try:
                        window = codec(Window).decode(value)
                    except DecodeError:
                        continue  # counted and reported by the services that follow the topic
                    key = (window.model, window.stream)
                    known = found.get(key)
                    if known is None or (known.end, known.revision) <= (
                        window.end,
                        window.revision,
                    ):
                        found[key] = window
            high, span = low, span * 4
    return found


def _window(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None
    loss = mean_loss(window)
    return {
        "id": window.id,
        "start": window.start,
        "end": window.end,
        "version": window.version,
        "revision": window.revision,
        "rows": window.rows,
        "loss": loss if loss == loss else None,
    }


def _alert(alert: Alert, now: int) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind.value,
        "subject": subject_text(alert),
        "severity": alert.severity.value,
        "state": attention(alert, now).value,
        "acknowledged_by": alert.acknowledged_by,
        "snoozed_until": alert.snoozed_until,
        "opened_at": alert.opened_at,
        "summary": alert.summary,
        "action": alert.action,
    }

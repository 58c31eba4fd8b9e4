"""Alerts, runs, versions and deployments: each once, in order, and following from the windows; and
the services' state in the changelogs as it must be after all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.deployer.core import DeployerCore
from driftloop.drift.core import DriftCore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import ArtifactError
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    Deployment,
    Run,
    RunStatus,
    Version,
)

from . import model
from .findings import Findings
from .reading import Record, compacted
from .rows import Rows


def check_alerts(alerts: Sequence[Alert], found: Findings) -> None:
    """Opened once, updated in between, resolved at most once and last."""
    found.once("opening of", (a.id for a in alerts if a.status is AlertStatus.OPENED))
    found.once("alert record", ((a.id, a.sequence) for a in alerts))
    by_id: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_id[alert.id].append(alert)
    for id, records in by_id.items():
        statuses = [alert.status for alert in records]
        right = statuses[0] is AlertStatus.OPENED and AlertStatus.RESOLVED not in statuses[:-1]
        if not right or [a.sequence for a in records] != list(range(len(records))):
            found.mismatched(f"alert {id}: {[(a.sequence, a.status.value) for a in records]}")


def replay_drift(
    catalog: Catalog,
    windows: Sequence[Record],
    loads: Sequence[Record],
    alerts: Sequence[Alert],
    estimates: Sequence[Record],
    changelog: Sequence[Record],
    found: Findings,
) -> None:
    """The windows, and what was told of loading, once more through a new drift core give the same
    alerts of each and the same estimates, and leave the state that the changelog holds. But for
    staleness, which only the clock decides. ``catalog`` has one declaration of each model, so the
    run must not change any: the alerts name the one they were tested under."""
    core = DriftCore(catalog)
    letters = 0
    values: dict[str, list[bytes | None]] = defaultdict(list)
    for record in (*windows, *loads):
        out = core.process(
            RecordBatch(
                record.topic, record.partition, [record.offset], [record.timestamp],
                [record.key], [record.value],
            )
        )  # fmt: skip
        letters += len(out.dead_letters)
        for send in out.sends:
            values[send.topic] += send.values
    topics = catalog.topics
    said = map(codec(Alert).decode, values[topics.alerts])
    again = [alert for alert in said if alert.kind != AlertKind.STALE]
    known = [alert for alert in alerts if alert.kind != AlertKind.STALE]
    # How the two topics interleave is not said anywhere, and decides nothing.
    known.sort(key=lambda alert: alert.kind is AlertKind.NOT_LOADED)
    found.mismatched("windows that drift rejects", letters)
    in_force = {"", *(declared.digest for declared in catalog.models.values())}
    for digest in sorted({alert.declaration for alert in known} - in_force):
        found.mismatched(f"alerts were tested under a declaration that is not in force: {digest}")
    if again != known:
        pairs = zip(again, known, strict=False)
        first = next((number for number, (a, b) in enumerate(pairs) if a != b), -1)
        found.mismatched(
            f"alerts: {len(known)} in the log, {len(again)} from the windows; "
            f"number {first} differs"
        )
    if values[topics.estimates] != [record.value for record in estimates]:
        found.mismatched(
            f"estimates: {len(estimates)} in the log, {len(values[topics.estimates])} other ones "
            "from the windows"
        )
    state = {k: v for k, v in core.snapshot().items() if v is not None and "/freshness" not in k}
    stored = {k: v for k, v in _state("drift", changelog).items() if "/freshness" not in k}
    _same_entries("drift", state, stored, found)


def check_versions(
    versions: Sequence[Version],
    runs: Sequence[Run],
    store: DirectoryStore,
    found: Findings,
) -> None:
    """Every published run made one version, whose artifact is there and whole."""
    found.once("version", (v.version for v in versions))
    if sorted(v.version for v in versions) != list(range(1, len(versions) + 1)):
        found.mismatched(f"versions {[v.version for v in versions]}")
    for version in versions:
        try:
            store.get(version.artifact, version.digest)
        except ArtifactError as error:
            found.mismatched(f"version {version.version}: {error}")
    by_id: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_id[run.id].append(run)
    for id, records in by_id.items():
        if [r.status for r in records] not in (
            [RunStatus.STARTED, RunStatus.PUBLISHED],
            [RunStatus.STARTED, RunStatus.FAILED],
        ):
            found.mismatched(f"run {id}: {[r.status.value for r in records]}")
    published = {r.version: r.id for r in runs if r.status is RunStatus.PUBLISHED}
    if published != {v.version: v.run_id for v in versions}:
        found.mismatched(f"runs published {published}, not the versions there are")


def check_deployments(
    catalog: Catalog,
    deployments: Sequence[Deployment],
    versions: Sequence[Version],
    changelog: Sequence[Record],
    found: Findings,
) -> int:
    """In sequence, and as the deployer's state has it. How often the champion changed."""
    found.once("deployment", (d.sequence for d in deployments))
    if [d.sequence for d in deployments] != list(range(1, len(deployments) + 1)):
        found.mismatched(f"deployments {[d.sequence for d in deployments]}")
    subjects = [d.subject for d in deployments if d.reason == "candidate"]
    found.once("candidacy of version", subjects)
    core = DeployerCore(catalog)
    partition = catalog.topics.partition(model.NAME)
    core.restore(TopicPartition(catalog.topics.windows, partition), _state("deployer", changelog))
    state = core.deployed().get(model.NAME)
    if state != (deployments[-1] if deployments else None):
        found.mismatched(f"the deployer's state is {state}, not the newest deployment")
    champions = [0, *(d.champion for d in deployments)]
    for champion in set(champions) - {0, *(v.version for v in versions)}:
        found.mismatched(f"champion {champion} was never published")
    return sum(a != b for a, b in pairwise(champions))


def check_sketch_state(
    changelog: Sequence[Record], streams: dict[str, Rows], found: Findings
) -> None:
    """The watermark that featurestats kept of every source partition is the highest time in it."""
    stored = _state("featurestats", changelog)
    for stream, rows in streams.items():
        for number in range(model.PARTITIONS):
            highest = int(np.max(rows.time[rows.partition == number]))
            entry = f"{model.NAME}/{stream}/{number}/watermark"
            if stored.get(entry) != b"%d" % highest:
                found.mismatched(f"{entry} is {stored.get(entry)!r}, not {highest}")


def _state(service: str, changelog: Sequence[Record]) -> dict[str, bytes]:
    prefix = f"{service}/".encode()
    return {
        key[len(prefix) :].decode(): value
        for key, value in compacted(changelog).items()
        if key.startswith(prefix)
    }


def _same_entries(
    service: str, state: dict[str, bytes], stored: dict[str, bytes], found: Findings
) -> None:
    wrong = [k for k in sorted(state.keys() | stored.keys()) if state.get(k) != stored.get(k)]
    for name in wrong:
        found.mismatched(
            f"{service}'s state {name}: stored {stored.get(name, b'nothing')[:200]!r}, "
            f"by the windows {state.get(name, b'nothing')[:200]!r}"
        )

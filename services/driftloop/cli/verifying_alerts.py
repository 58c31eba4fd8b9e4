"""An alert recomputed: from its windows, and those from the log.

What people said of an alert (acknowledged, snoozed) is on it, but does not follow from windows; it
is compared with the commands topic instead.

The models topic is compacted. Where it does not hold the declaration any more that an alert was
made under, nothing can be said about what its windows lead to, and that is no sign that anybody
changed anything: the rest is compared, and the answer says what could not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from driftloop.cli.alert_commands import Commands
from driftloop.cli.alert_differences import Differ
from driftloop.cli.alert_records import AlertBook
from driftloop.cli.alert_verification import NONE, AlertVerification
from driftloop.cli.late_rows import Lateness
from driftloop.cli.retracing import STREAM_OF, Retracing, Step
from driftloop.cli.stale_differences import StaleDiffer
from driftloop.cli.verifying import verify_groups, verify_windows
from driftloop.cli.window_order import Finding
from driftloop.drift.core import SERVICE
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import Log
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    Command,
    Stream,
    Window,
)

_SHOWN = 5
"""Windows of which something is not certain, one by one."""


def verify_alert(
    log: Log,
    catalog: Catalog,
    id: str,
    progress: Callable[[str], None] = lambda line: None,
) -> AlertVerification:
    """Raises :class:`ConfigurationError` for an alert there is not, or when what it was made from
    is gone altogether; :class:`LogError` when the log does not answer."""
    # Asked first: what the service has read by then, it has written its alerts of.
    topics = catalog.topics
    committed = log.committed(
        topics.group(SERVICE), [topics.windows, topics.loads, topics.commands]
    )
    book = AlertBook.read(log, catalog.topics, progress)
    records = book.records(id)
    kind, model = records[0].kind, records[0].model
    said = Commands.read(log, topics, id, progress)
    commands = said.all
    unheard, unsure = said.unheard(log, records, committed)
    stale = kind is AlertKind.STALE
    stream = Stream.PREDICTIONS if stale else STREAM_OF.get(kind)
    retracing = Retracing(log, catalog, model, stream, book.all(), progress)
    position = committed.get(retracing.source)
    if stale:
        whole = _verify_stale(log, retracing, catalog, records, commands, progress, position)
        return replace(whole, problems=(*whole.problems, *unheard), notes=(*whole.notes, *unsure))
    lost = () if kind is AlertKind.NOT_LOADED else _lost(records, retracing, catalog)
    differ = Differ(records, commands)
    last = records[-1]
    misled: list[str] = []
    led: list[str] = []
    for step in retracing.steps():
        # The service may have come further since it was asked, and have written what was read.
        if position is not None and step.offset >= position and differ.complete:
            break
        for alert in step.said:
            if alert.id == id:
                differ.said(alert)
                led += _led(retracing, step)
            elif alert.status is AlertStatus.OPENED and alert.kind is kind:
                misled.append(alert.id)
        differ.state(_open(retracing, id))
        if not lost and differ.complete and last.status is AlertStatus.RESOLVED:
            break
    notes = (*_notes(retracing, log, kind, records), *unsure)
    problems = [*differ.finish(misled, certain=position is not None), *unheard]
    gone: tuple[str, ...] = ()
    if lost and retracing.began_before(last.version):
        gone = lost
    elif lost:
        # Of declarations written later than the oldest that is left, none can have been lost.
        problems += (f"{why}, and there was none: the oldest it has is older" for why in lost)
    elif problems and stream is not None and retracing.began_before(last.version):
        gone = (
            f"windows of version {last.version} were written before the oldest declaration of the "
            f"model that the topic {catalog.topics.models} holds, and with those it holds they "
            "lead to something else; which was in force then cannot be told",
        )
    if gone:
        problems, led = [*differ.apart(), *unheard], []
    named = [*(w for record in records for w in record.evidence.windows), *led]
    windows = others = NONE
    if stream is not None:
        lateness = retracing.lateness()
        there = _there(catalog, retracing.windows, named, problems)
        rest = [
            window
            for window in retracing.windows.values()
            if window.version == last.version
            and window.id not in named
            # Where it cannot be told which window ended the alert, those until then.
            and not (gone and last.status is AlertStatus.RESOLVED and window.end > last.at)
        ]
        progress(f"verifying {len(there)} windows, and {len(rest)} others of their version")
        windows, others = verify_groups(log, catalog, [there, rest], progress, lateness)
        problems += [*windows.details, *others.mismatches]
        looked = {*named, *(window.id for window in rest)}
        found = [finding for finding in retracing.findings() if finding.window in looked]
        doubts = (*retracing.refused, *windows.doubts, *others.doubts)
        notes += _judged(found, doubts, lateness, problems)
        if others.unverifiable:
            notes += (
                f"{others.unverifiable} windows that no record names cannot be recomputed, the "
                f"first: {others.problems[0]}",
            )
    return AlertVerification(
        id,
        len(records),
        differ.recomputed,
        differ.annotations,
        windows,
        others,
        tuple(problems),
        notes,
        gone,
    )


def _lost(records: Sequence[Alert], retracing: Retracing, catalog: Catalog) -> tuple[str, ...]:
    """Of each declaration that the records name and the log does not have."""
    named = dict.fromkeys(record.declaration for record in records if record.declaration)
    return tuple(
        f"made under a declaration ({digest}) that the topic {catalog.topics.models} no longer "
        "holds"
        for digest in named
        if digest not in retracing.digests
    )


def _led(retracing: Retracing, step: Step) -> list[str]:
    """Ids of the windows, in all their parts, that a step's alerts come from."""
    tested = [id for kept in step.tested for id in kept.ids]
    if tested or not isinstance(step.record, Window):
        return tested
    return retracing.parts(step.record)


def _open(retracing: Retracing, id: str) -> Alert | None:
    alerts = retracing.core.open_alerts().values()
    return next((alert for found in alerts for alert in found if alert.id == id), None)


def _there(
    catalog: Catalog, found: dict[str, Window], named: Iterable[str], problems: list[str]
) -> list[Window]:
    """The windows named, in the revisions that were used."""
    wanted = list(dict.fromkeys(named))
    problems += [
        f"window {id}, which the evidence names, is not on the topic {catalog.topics.windows}"
        for id in wanted
        if id not in found
    ]
    return [found[id] for id in wanted if id in found]


def _judged(
    findings: Sequence[Finding],
    doubts: Sequence[str],
    lateness: Lateness | None,
    problems: list[str],
) -> tuple[str, ...]:
    """Adds to the problems what windows say wrong of themselves beside their statistics. Where
    that is not certain it is a problem beside others, for it may be what they come from, and
    otherwise a note; these are returned."""
    problems += [finding.text for finding in findings if finding.certain]
    unsure = [*(finding.text for finding in findings if not finding.certain), *doubts]
    notes = [f"{doubt}; that is possible, but not usual" for doubt in unsure[:_SHOWN]]
    if len(unsure) > _SHOWN:
        notes.append(f"the like is true of {len(unsure) - _SHOWN} more windows")
    if problems:
        problems += notes
        notes = []
    if lateness is None:
        notes.append(
            "the log has declarations of the model that allow different lateness, or events at "
            "other times: how many rows were late was not compared"
        )
    return tuple(notes)


def _notes(
    retracing: Retracing, log: Log, kind: AlertKind, records: Sequence[Alert]
) -> tuple[str, ...]:
    notes = []
    if kind is AlertKind.NOT_LOADED:
        notes.append(
            "an alert of not_loaded comes from no window: it was recomputed from what inference "
            f"wrote to {retracing.source.topic}, which is all that decides it; whether that is "
            "true of the artifact is on no topic"
        )
    elif silent := sum(not record.declaration for record in records):
        notes.append(
            f"{silent} of {len(records)} records name no declaration, as an older release's do: "
            "what they say was compared with what the log's declarations lead to"
        )
    if retracing.declarations > 1:
        notes.append(
            f"the log has {retracing.declarations} declarations of the model; each was taken from "
            "the time it was written on, unless an alert names another, and a service may have "
            "read it a moment later"
        )
    start = log.start_offsets([retracing.source.topic]).get(retracing.source, 0)
    if start > 0:
        notes.append(
            f"{retracing.source.topic}/{retracing.source.partition} begins with offset {start}: "
            "what came before is gone, and what follows from it cannot be recomputed, nor how many "
            "parts windows have"
        )
    return tuple(notes)


def _verify_stale(
    log: Log,
    retracing: Retracing,
    catalog: Catalog,
    records: Sequence[Alert],
    commands: Sequence[Command],
    progress: Callable[[str], None],
    position: int | None,
) -> AlertVerification:
    windows: list[Window] = []
    read = None if position is None else 0
    for step in retracing.steps():
        if isinstance(step.record, Window) and step.taken:
            windows.append(step.record)
            if position is not None and step.offset < position:
                read = len(windows)
    gone = _other_floors(records, retracing, catalog)
    differ = StaleDiffer(records, commands, windows, retracing.allowed_ages)
    problems = differ.problems(read)
    recomputed = differ.recomputed
    if gone:
        problems, recomputed = Differ(records, commands).apart(), 0
    named = [*(id for record in records for id in record.evidence.windows), *differ.used]
    by_id = {window.id: window for window in reversed(windows)} | differ.used
    lateness = retracing.lateness()
    verified = verify_windows(
        log, catalog, _there(catalog, by_id, named, problems), progress, lateness
    )
    problems += verified.details
    found = [finding for finding in retracing.findings() if finding.window in named]
    notes = (
        "an alert of stale is opened by the clock of the service, when no window has come for long "
        "enough, and the clock is on no topic: the ages that its records name were taken as they "
        "are, and all else was recomputed from them, the windows and the declarations",
        *_judged(found, (*retracing.refused, *verified.doubts), lateness, problems),
    )
    return AlertVerification(
        records[0].id,
        len(records),
        recomputed,
        differ.annotations,
        verified,
        NONE,
        tuple(problems),
        notes,
        gone,
    )


def _other_floors(
    records: Sequence[Alert], retracing: Retracing, catalog: Catalog
) -> tuple[str, ...]:
    """Of each age that the records say was allowed, and none of the declarations does, where there
    were others that the log does not have any more."""
    floors = dict.fromkeys(record.evidence.effect_floor for record in records)
    if not retracing.began_before(records[-1].version):
        return ()
    return tuple(
        f"no declaration that the topic {catalog.topics.models} holds allows an age of "
        f"{floor:.0f} ms, and windows of version {records[-1].version} were written before the "
        "oldest of them"
        for floor in floors
        if floor not in retracing.allowed_ages
    )

"""A window in, alerts out: which streams are found, what they join, and who has recovered."""

from __future__ import annotations

import math
from dataclasses import replace

from driftloop.drift.alerts import told_apart
from driftloop.drift.cases import Case, Found, Member, chosen, close, follow, open_case
from driftloop.drift.detectors import Detectors
from driftloop.drift.panel import Key
from driftloop.drift.state import History, Kept
from driftloop.kernel.records import Alert, AlertKind, Window


def judge(
    detectors: Detectors,
    window: Window,
    kept: Kept,
    model: str,
    history: History,
    cases: list[Case],
    onsets: dict[AlertKind, int],
) -> list[Alert]:
    """The alerts a window leads to. ``history`` has the window already; ``cases`` are the open
    alerts, and change, as do ``onsets``, the latest of all opened so far by kind."""
    if not detectors.take(window, kept):
        return []
    open_before = list(cases)
    joined: set[str] = set()
    out: list[Alert] = []
    for kind, candidates in _candidates(detectors, cases).items():
        own = [case for case in cases if case.alert.kind is kind]
        fresh: list[tuple[Found, Member]] = []
        for margin, key in chosen(candidates, sum(len(case.members) for case in own)):
            found = _worth_an_alert(detectors, key, history)
            if found is None:
                continue
            begun = detectors.may_have_begun(key, history) if own else 0
            case = next((case for case in own if case.takes(found, begun)), None)
            if case is not None:
                case.members[key] = detectors.recovery.begin(found, kept)
                joined.add(case.alert.id)
            elif margin >= 0.0:
                fresh.append((found, detectors.recovery.begin(found, kept)))
        if fresh:
            members = {found.key: member for found, member in fresh}
            streams = [found for found, _ in fresh]
            case = open_case(model, window, streams, members, detectors.reference)
            case.alert = told_apart(case.alert, kept.number, onsets)
            cases.append(case)
            out.append(case.alert)
    for case in open_before:
        alert = _follow(detectors, case, window, kept, history, case.alert.id in joined)
        if not case.members:
            cases.remove(case)
        if alert is not None:
            out.append(alert)
    return out


def _candidates(
    detectors: Detectors, cases: list[Case]
) -> dict[AlertKind, list[tuple[float, Key]]]:
    """Streams of no open alert that come near their thresholds, by kind, in the order of kinds."""
    taken = {key for case in cases for key in case.members}
    found: dict[AlertKind, list[tuple[float, Key]]] = {kind: [] for kind in AlertKind}
    for margin, key in detectors.margins(-math.log(1.0 + len(detectors))):
        if key not in taken:
            found[detectors.stream(key).kind].append((margin, key))
    return {kind: candidates for kind, candidates in found.items() if candidates}


def _worth_an_alert(detectors: Detectors, key: Key, history: History) -> Found | None:
    """A stream that its evidence finds, if its effect is worth an alert."""
    # A slight change that has lasted long must not hide a large one that has just begun.
    for windows in (detectors.since(key, history), detectors.newest(key, history)):
        found = detectors.found(key, windows) if windows else None
        if found is not None and found.effect.ratio >= 1.0 and detectors.convinces(found):
            return found
    return None


def _follow(
    detectors: Detectors, case: Case, window: Window, kept: Kept, history: History, joined: bool
) -> Alert | None:
    """An open alert after one more window."""
    found: dict[Key, Found] = {}
    for key, member in case.members.items():
        one = detectors.found(key, history.since(member.onset) or [kept])
        if member.opened < kept.number:
            member.seen += detectors.rows(key, kept)
        # The history holds the newest of them only.
        found[key] = replace(one, rows=max(one.rows, member.seen))
    gone = [
        key
        for key, member in case.members.items()
        if member.opened < kept.number and detectors.recovery.take(member, key, kept, history)
    ]
    # As it shows in the rows that it was judged by; a single window may still be off.
    last = []
    for key in gone:
        member = case.members.pop(key)
        one = detectors.found(key, history.since(member.turned or kept.number), recovered=True)
        last.append(replace(one, rows=member.returned))
        detectors.recovery.end(key, kept, member)
    if not case.members:
        return close(case, window, last)
    left = [found[key] for key in case.members]
    return follow(case, window, left, joined, detectors.reference)

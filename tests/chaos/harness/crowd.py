"""Models that share their topics: their traffic mixed, processes killed meanwhile, and what came of
each judged as if it were alone."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import apply_declaration
from driftloop.cli.control import read_catalog
from driftloop.cli.loops import KafkaLoop
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.supervision import Fleet, service_command
from driftloop.cli.verifying import evenly
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Log
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Window
from driftloop.kernel.settings import Settings
from driftloop.kernel.topics import ModelTopics
from driftloop.kernel.verification import verify_window

from .findings import Findings
from .labels import Fate
from .letters import check_letters, place_of, read_letters
from .model import Kind, Scale
from .producing import Sender, sent_by
from .reading import MODEL_HEADER, Record, owner_of, read
from .rows import Scorers
from .run import crashes_in, none_gave_up, open_counts
from .strikes import Schedule, Strikes
from .traffic import ROUNDS, Headers, Message, Traffic
from .truth import Place, read_truth
from .verdict import judge_rows

_TURN_S = 0.02
_AHEAD = 0.02
"""Share of the events sent before the next kill must have come."""
_ONE_BY_ONE = 30
"""Windows recomputed each by itself, beside all of them in one pass."""
_OFTEN = """
import runpy
from driftloop.outcomes.core import OutcomesCore
OutcomesCore.__init__.__kwdefaults__["checkpoint_ms"] = 500
runpy.run_module("driftloop.outcomes", run_name="__main__")
"""
"""Outcomes, its store written so often that whoever takes over finds something in it."""
_FROM_STORE = re.compile(r"reading [1-9][0-9]* to [0-9]+ again")
_PAUSE = threading.Event()
"""Never set: waiting for it is the pace of the load."""
_STRANGE: Sequence[Headers] = (
    [],
    [(MODEL_HEADER, b"nobody")],
    [(MODEL_HEADER, b"\xff\xfe")],
    [(MODEL_HEADER, None)],
    [("driftloop", b"model")],
)
"""What records have in their headers that belong to none."""


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """What one run is to be. Everything random follows from the seed."""

    seed: int
    kinds: Sequence[Kind]
    """All with the same group."""
    processes: Mapping[str, int]
    scale: Scale
    """Of each model."""
    strange: int
    """Events of no model, and about as many labels."""
    kills: int
    leaves: int
    often: float = 5.0
    """How many times as often as usually something is out of the ordinary."""
    settle_s: float = 240.0

    @property
    def traffics(self) -> Sequence[Traffic]:
        """Of each model. The ids are the same in all of them."""
        return [
            Traffic(self.seed + number, self.scale, kind, self.often)
            for number, kind in enumerate(self.kinds)
        ]

    @property
    def strangers(self) -> Traffic:
        """Events and labels like the others but for their headers."""
        share = self.strange / self.scale.events
        rows = max(1, round(self.scale.window_rows * share))
        return Traffic(self.seed, Scale(self.strange, 0.0, rows, self.scale.regime_windows))


def run_crowd(
    plan: CrowdPlan, settings: Settings, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """The figures; ``details`` has the first examples of what is wrong."""
    declared = [kind.declared(plan.scale) for kind in plan.kinds]
    topics = declared[0].declaration.topics
    fleet = Fleet(settings, plan.processes, progress=tell, grace_s=5.0, command=_command)
    loop = KafkaLoop(fleet)
    quiescence = Quiescence(loop, [one.declaration for one in declared], SystemClock())
    # Of what does not run nothing is waited for.
    quiescence._inputs = {s: t for s, t in quiescence._inputs.items() if s in plan.processes}
    try:
        for one in declared:
            apply_declaration(loop.log, settings.topics, one, who="tests", now=SystemClock().now())
        sender = Sender(settings.bootstrap)
        with fleet:
            fleet.wait_ready()
            strikes = _disturbed(plan, fleet, loop.log, topics, sender, tell)
            for turn in range(ROUNDS):
                tell("waiting for rest")
                quiescence.settle(plan.settle_s, lambda: none_gave_up(fleet))
                _close(plan, topics, sender, turn)
            quiescence.settle(plan.settle_s, lambda: none_gave_up(fleet))
            state = open_counts(fleet)
        found, facts = _judged(plan, loop.log, settings, topics, tell)
    finally:
        loop.log.close()
    if state != {"predictions": 0, "labels": 0}:
        found.mismatched(f"outcomes still waits for {state}")
    return {
        "wrong": dict(found.counts),
        "crashes": crashes_in(settings.directory),
        "details": found.details(),
        "killed": dict(strikes.killed),
        "left": strikes.left,
        "from_store": _from_store(settings.directory),
        **facts,
    }


def _command(service: str) -> Sequence[str]:
    return (sys.executable, "-c", _OFTEN) if service == "outcomes" else service_command(service)


def _disturbed(
    plan: CrowdPlan,
    fleet: Fleet,
    log: Log,
    topics: ModelTopics,
    sender: Sender,
    tell: Callable[[str], None],
) -> Strikes:
    """Send all, at the pace of the plan, but never far beyond a kill that is due."""
    schedule = Schedule.of(
        plan.seed, plan.kills, 0, 0, processes=plan.processes, leaves=plan.leaves
    )
    events = plan.scale.events
    due = 0
    strikes = Strikes(
        schedule, fleet, None, log, plan.kinds[0].name, lambda: due / events, plan.seed, tell
    )
    waiting = _mixed(plan, topics)
    began = time.monotonic()
    strikes.start()
    try:
        at = 0
        while at < len(waiting) or not strikes.over:
            struck = strikes.killed.total()
            kills = schedule.kills[struck : struck + 1]
            most = min([1.0, *(kill.at + _AHEAD for kill in kills)])
            due = max(due, min(sent_by(time.monotonic() - began, plan.scale), int(most * events)))
            end = plan.traffics[0].end_ms
            until = float("inf") if due == events else end - (events - due) * plan.scale.step_ms
            first = at
            while at < len(waiting) and waiting[at][0] <= until:
                at += 1
            for _, topic, message in waiting[first:at]:
                sender.send(topic, [message])
            none_gave_up(fleet)
            _PAUSE.wait(_TURN_S)
    finally:
        strikes.stop()
    _flushed(sender)
    return strikes


def _from_store(directory: Path) -> int:
    """How often outcomes went on from its store, and not from the beginning of the log."""
    logs = (directory / "logs").glob("outcomes-*.log")
    return sum(len(_FROM_STORE.findall(log.read_text("utf-8", "replace"))) for log in logs)


def _mixed(plan: CrowdPlan, topics: ModelTopics) -> list[tuple[float, str, Message]]:
    """Events and labels of all in the order in which they are sent: event time, topic, record."""
    found: list[tuple[float, str, Message]] = []
    for number, kind in enumerate(plan.kinds):
        other = plan.kinds[number - 1].name
        for row, (at, topic, message) in enumerate(_sent(plan.traffics[number], topics)):
            # The last one counts.
            headers = [(MODEL_HEADER, other.encode())] if row % 50 == 0 else []
            headers += [*(message.headers or []), (MODEL_HEADER, kind.name.encode())]
            found.append((at, topic, message._replace(headers=headers)))
    for row, (at, topic, message) in enumerate(_sent(plan.strangers, topics)):
        headers = [*(message.headers or []), *_STRANGE[row % len(_STRANGE)]]
        found.append((at, topic, message._replace(headers=headers)))
    return sorted(found, key=lambda one: one[0])


def _sent(traffic: Traffic, topics: ModelTopics) -> Iterator[tuple[float, str, Message]]:
    for number in range(traffic.chunks):
        chunk = traffic.chunk(number)
        for at, slot in zip(chunk.position.tolist(), traffic.events(chunk), strict=True):
            for message in slot:
                yield at, topics.events, message
        for at, message in traffic.labels(chunk):
            yield at, topics.labels, message


def _close(plan: CrowdPlan, topics: ModelTopics, sender: Sender, turn: int) -> None:
    for traffic in plan.traffics:
        headers: Headers = [(MODEL_HEADER, traffic.kind.name.encode())]
        for topic, messages in zip(
            (topics.events, topics.labels), traffic.closers(turn), strict=True
        ):
            sender.send(topic, [message._replace(headers=headers) for message in messages])
    _flushed(sender)


def _flushed(sender: Sender) -> None:
    sender.flush()
    if sender.acknowledged != sender.sent:
        raise RuntimeError(f"{sender.acknowledged} of {sender.sent} were taken: {sender.failed}")


def _judged(
    plan: CrowdPlan, log: Log, settings: Settings, topics: ModelTopics, tell: Callable[[str], None]
) -> tuple[Findings, dict[str, Any]]:
    bootstrap, control = settings.bootstrap, settings.topics
    found = Findings()
    sources = {
        (r.topic, r.partition, r.offset): r
        for topic in (topics.events, topics.labels)
        for r in read(bootstrap, topic)
    }
    names = [kind.name for kind in plan.kinds]
    owner = {place: owner_of(record.headers) for place, record in sources.items()}
    letters = read_letters(bootstrap, control.dead_letters)
    for letter in letters:
        if place_of(letter) not in owner:
            found.mismatched(f"dead letter of {place_of(letter)}: {letter.reason}")
    strangers = {place: r for place, r in sources.items() if owner[place] not in names}
    _check_strangers(letters, strangers, found)
    catalog = read_catalog(log, control)
    every_window = [codec(Window).decode(r.value) for r in read(bootstrap, control.windows)]
    facts: dict[str, Any] = {"strangers": len(strangers), "windows": 0, "poison": 0}
    labels: Counter[Fate] = Counter()
    rows: Counter[str] = Counter()
    for traffic in plan.traffics:
        kind = traffic.kind
        truth = read_truth(bootstrap, topics, traffic)
        made = judge_rows(
            log,
            catalog,
            bootstrap,
            topics,
            truth,
            Scorers(DirectoryStore(settings.artifacts), [], kind.prior),
            [letter for letter in letters if owner.get(place_of(letter)) == kind.name],
            [window for window in every_window if window.model == kind.name],
            found,
            lambda line, name=kind.name: tell(f"{name}: {line}"),  # type: ignore[misc]
        )
        rows[topics.predictions] += len(made.predictions)
        rows[topics.outcomes] += len(made.outcomes)
        labels += made.labels.right
        facts["poison"] += len(truth.broken)
        facts["windows"] += made.windows
    for topic, count in rows.items():
        found.mismatched(
            f"{topic}: rows of no model", sum(1 for _ in read(bootstrap, topic)) - count
        )
    tell("windows one by one")
    final = {window.id: window for window in sorted(every_window, key=lambda w: w.revision)}
    # One that names offsets which are not there would be waited for.
    sample = [] if found.counts else evenly(list(final.values()), _ONE_BY_ONE)
    for window in sample:
        if not verify_window(log, catalog.models[window.model], None, window):
            found.mismatched(f"window {window.id} does not follow from the log")
    facts["late_rows"] = sum(window.late for window in final.values())
    facts["revisions"] = len(every_window) - len(final)
    return found, {
        **facts,
        "rows": dict(rows),
        "labels": {str(k.name): n for k, n in labels.items()},
    }


def _check_strangers(
    letters: Sequence[DeadLetter], strangers: Mapping[Place, Record], found: Findings
) -> None:
    """Every record of no model is told once, with its bytes, and why."""
    own = [letter for letter in letters if place_of(letter) in strangers]
    check_letters(own, "", strangers, found)
    for letter in own:
        if letter.reason != Reason.UNKNOWN_MODEL:
            found.mismatched(f"dead letter of {place_of(letter)}, a stranger: {letter.reason}")


__all__ = ["CrowdPlan", "run_crowd"]

"""``driftloop demo``: a year of flights through the whole loop, live."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.adapters.clock import SystemClock
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.cli.commanding import current_user
from driftloop.cli.demo_setup import (
    demo_settings,
    flights_model,
    lock_file,
    moment,
    recoding,
    running_loop,
)
from driftloop.cli.demo_summary import Result, document, holds, table
from driftloop.cli.evaluation import count, intact, score
from driftloop.cli.flights import Flights, load_flights
from driftloop.cli.flights_poison import poisoned
from driftloop.cli.live import LiveView, PlainView, Progress, View
from driftloop.cli.loops import Loop
from driftloop.cli.observer import Observer
from driftloop.cli.output import as_json, write
from driftloop.cli.quiescence import Quiescence
from driftloop.cli.replay import Replay
from driftloop.cli.supervision import locked
from driftloop.cli.verifying import verify_windows
from driftloop.kernel.records import Stream
from driftloop.kernel.settings import Settings

_STEP_MS = 6 * 3_600_000
"""Event time sent between two looks at the loop."""
_LEAD_WINDOWS = 4
"""Windows the replay may be ahead of those closed: more would show promotions later than they are
earned, less would wait for every flush."""
_LOOK_S = 0.02
_STATUS_EVERY_S = 0.3
_SETTLE_S = 180.0
_RATE_OVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    until: int | None
    """Events before this moment only, ms."""
    recoded_from: int | None
    """Carriers are ICAO codes from this moment on, ms."""
    speed: float
    """Event time per time, at most; 0: no limit."""
    keep: bool
    json: bool
    lockstep: bool
    memory: bool


def run_demo(
    *,
    until: str | None,
    recode: str,
    speed: float,
    keep: bool,
    json: bool,
    lockstep: bool,
    memory: bool,
) -> int:
    """The command; its exit code: 0 when everything the demo promises holds."""
    options = Options(moment(until), recoding(recode), speed, keep, json, lockstep, memory)
    clock = SystemClock()
    started = clock.monotonic()
    # With --json standard output is for the result alone.
    console = Console(file=sys.stderr if json else sys.stdout)
    view: View = LiveView(console) if console.is_terminal else PlainView(console, clock)
    plain = PlainView(console, clock)
    given = Settings.read(os.environ)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        # Before the directory is emptied: another demo may be running in it.
        stack.enter_context(locked(lock_file(given)))
        settings = demo_settings(given)
        loading = pool.submit(load_flights, until=options.until, recoded_from=options.recoded_from)
        loop = stack.enter_context(running_loop(settings, options.memory, plain.note))
        model = flights_model(loop.settings)
        apply_declaration(loop.log, settings.topics, model, who=current_user(), now=clock.now())
        demo = _Demo(loop, model, _flights(loading, plain.note), options, clock, started)
        with view:
            demo.replay(view)
        result = demo.finish(plain.note)
        if json:
            write(as_json(document(result)))
        else:
            console.print(table(result))
        if keep:
            _keep(loop, plain.note)
        else:
            plain.note("stopping everything")
    return 0 if holds(result) else 1


class _Demo:
    """One replay through a running loop."""

    def __init__(
        self,
        loop: Loop,
        model: DeclaredModel,
        flights: Flights,
        options: Options,
        clock: SystemClock,
        started: float,
    ) -> None:
        self._loop = loop
        self._model = model.declaration
        self._flights = flights
        self._options = options
        self._clock = clock
        self._started = started
        self._producer = loop.log.producer("demo")
        until = options.until or int(flights.event_times[-1]) + 1
        self._replay = Replay(self._producer, self._model.topics, flights, poisoned(flights), until)
        self._quiescence = Quiescence(loop, [self._model], clock)
        self._note: Callable[[str], None] = lambda line: None
        self._observer = Observer(
            loop.log, loop.settings.topics, self._model.name, lambda line: self._note(line)
        )
        self._rates: deque[tuple[float, int]] = deque()
        self._statuses: list[Mapping[str, Any]] | None = None
        self._asked_at = 0.0
        self._first_promotion: float | None = None
        self._began = clock.monotonic()

    def replay(self, view: View) -> None:
        """Send everything, no faster than the loop follows, and let it settle."""
        self._note = view.note
        view.note(
            f"replaying {self._replay.events_in_all:,} flights, their labels, and "
            f"{len(poisoned(self._flights))} bad records"
        )
        since = self._options.recoded_from
        if since is not None and since < self._replay.end:
            day = f"{datetime.fromtimestamp(since / 1000, UTC):%Y-%m-%d}"
            view.note(
                f"from {day} on carriers come as ICAO codes, as if the feed had been changed "
                "(--recode never: not at all)"
            )
        self._began = self._clock.monotonic()
        size = self._model.windows.size
        while not self._replay.finished:
            waiting_for = self._look()
            if not waiting_for:
                now = self._replay.now
                if self._options.lockstep:
                    self._replay.send_until(now // size * size + size)
                    self._replay.flush()
                    self._settle(view)
                else:
                    self._replay.send_until(min(now + _STEP_MS, self._replay.end))
            else:
                self._loop.advance(_LOOK_S)
            self._loop.advance(0.0)
            self._show(view, waiting_for)
        self._replay.flush()
        view.note("everything is sent; waiting until it is all acted on")
        self._settle(view)
        self._show(view, "")

    def finish(self, note: Callable[[str], None]) -> Result:
        """Verify every window, read the topics, and compare."""
        loop, seen, model = self._loop, self._observer.seen, self._model
        while self._observer.poll(_LOOK_S):
            pass
        note(f"recomputing {len(seen.windows):,} windows from the log")
        verification = verify_windows(loop.log, self._observer.catalog, seen.windows.values(), note)
        note("reading every prediction and outcome")
        counts = count(loop.log, model)
        store = DirectoryStore(loop.settings.artifacts)
        scores = score(loop.log, model, self._flights, seen.versions.get(1), store)
        statuses = loop.statuses()
        self._observer.close()
        self._producer.close()
        return Result(
            broker=loop.kind,
            services=len({status["service"] for status in statuses}),
            restarts=sum(int(status.get("restarts", 0)) for status in statuses),
            complete=self._options.until is None,
            events=self._replay.events,
            labels=self._replay.labels,
            bad=len(self._replay.bad),
            dead_letters_topic=loop.settings.topics.dead_letters,
            intact=intact(seen.dead_letters, self._replay.bad),
            counts=counts,
            verification=verification,
            scores=scores,
            seen=seen,
            first_promotion_seconds=self._first_promotion,
            seconds=self._clock.monotonic() - self._started,
        )

    def _look(self) -> str:
        """Take in what has come; why the replay must wait, if it must."""
        while self._observer.poll(0.0):
            pass
        if self._first_promotion is None and self._observer.seen.promotions:
            self._first_promotion = self._clock.monotonic() - self._began
        now = self._clock.monotonic()
        if now - self._asked_at > _STATUS_EVERY_S:
            self._asked_at = now
            self._statuses = list(self._loop.statuses())
        reason = self._observer.halted_by(self._statuses)
        if reason:
            return reason
        if self._behind() > _LEAD_WINDOWS * self._model.windows.size:
            return "windows"
        return "the clock" if self._too_fast() else ""

    def _behind(self) -> int:
        """Event time between the windows closed and the replay, ms."""
        closed = self._observer.seen.closed_until
        start = int(self._flights.event_times[0])
        policy = self._model.windows
        until = min(closed.get(stream, start) for stream in Stream)
        return max(0, self._replay.now - policy.lateness - until)

    def _too_fast(self) -> bool:
        if self._options.speed <= 0:
            return False
        gone = (self._clock.monotonic() - self._began) * 1000 * self._options.speed
        return self._replay.now - int(self._flights.event_times[0]) > gone

    def _settle(self, view: View) -> None:
        def meanwhile() -> None:
            self._look()
            self._show(view, "the loop to act on everything")

        self._quiescence.settle(_SETTLE_S, meanwhile)

    def _show(self, view: View, waiting_for: str) -> None:
        now = self._clock.monotonic()
        self._rates.append((now, self._replay.events))
        while now - self._rates[0][0] > _RATE_OVER_S:
            self._rates.popleft()
        (then, before), (_, sent) = self._rates[0], self._rates[-1]
        view.show(
            Progress(
                now=self._replay.now,
                sent=self._replay.events,
                total=self._replay.events_in_all,
                rate=(sent - before) / max(now - then, 1e-3),
                behind_ms=self._behind(),
                waiting_for=waiting_for,
                seconds=now - self._started,
            ),
            self._observer.seen,
        )


def _flights(loading: Future[Flights], note: Callable[[str], None]) -> Flights:
    if not loading.done():
        note("loading the flights")
    return loading.result()


def _keep(loop: Loop, note: Callable[[str], None]) -> None:
    note(
        "everything keeps running until Ctrl-C; in another terminal:\n"
        f"  export DRIFTLOOP_DIRECTORY={loop.settings.directory} "
        f"DRIFTLOOP_PREFIX={loop.settings.prefix} "
        f"KAFKA_BOOTSTRAP_SERVERS={loop.settings.bootstrap}\n"
        "  driftloop status\n  driftloop tail alerts --from-start"
    )
    threading.Event().wait()

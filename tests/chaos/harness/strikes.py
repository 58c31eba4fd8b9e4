"""What is done to the loop while it works: kills, processes that leave and join, broker restarts,
commands; all from the seed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from driftloop.adapters.broker import LocalBroker
from driftloop.cli.commanding import publish_command
from driftloop.cli.control import read_catalog
from driftloop.cli.supervision import Fleet
from driftloop.kernel.errors import DriftloopError, SupervisionError
from driftloop.kernel.ports import Log
from driftloop.kernel.records import CommandAction

_LOOK_S = 0.02
_ALIVE_WITHIN_S = 120.0
_AGAIN = 0.15
"""Share of the kills that hit a service soon after its restart, often before it is ready."""

_AWAY_S = 2.0
"""Between a process's end and the start of the one in its place."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to a process of a service when this share of the events was sent."""

    at: float
    service: str
    instance: str
    again_after_s: float
    """When it is a second blow: so long after the process was started again; else negative."""


@dataclass(frozen=True, slots=True)
class Restart:
    at: float
    sigkill: bool
    """Else it is stopped as an administrator would."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that will be done, by the seed alone."""

    kills: tuple[Kill, ...]
    leaves: tuple[tuple[float, str], ...]
    """When the last process of a service is stopped, and started anew."""
    restarts: tuple[Restart, ...]
    commands: tuple[tuple[float, CommandAction], ...]

    @classmethod
    def of(
        cls,
        seed: int,
        kills: int,
        restarts: int,
        commands: int,
        *,
        processes: Mapping[str, int],
        leaves: int = 0,
        broker_kills: int = 1,
    ) -> Schedule:
        """``processes``: how many each service has."""
        rng = np.random.default_rng([seed, 2])
        moments = np.sort(rng.uniform(0.04, 0.97, kills))
        # In turn, but in an order of its own each turn: every service gets its share.
        turns = iter([str(s) for _ in range(kills) for s in rng.permutation(list(processes))])
        struck: list[Kill] = []
        for at in moments.tolist():
            if struck and rng.random() < _AGAIN:
                last = struck[-1]
                again_after_s = float(rng.uniform(0.0, 3.0))
                struck.append(Kill(at, last.service, last.instance, again_after_s))
            else:
                service = next(turns)
                instance = str(rng.integers(processes[service]))
                struck.append(Kill(at, service, instance, -1.0))
        several = [service for service, count in processes.items() if count > 1]
        leaving = np.sort(rng.uniform(0.1, 0.9, leaves if several else 0)).tolist()
        hard = set(rng.permutation(restarts)[:broker_kills].tolist())
        # A version first, so that there is something to swap.
        actions = (CommandAction.RETRAIN, *3 * (CommandAction.PROMOTE,), CommandAction.ROLL_BACK)
        asked = [0.05, *np.sort(rng.uniform(0.3, 0.85, max(commands - 1, 0))).tolist()]
        return cls(
            kills=tuple(struck),
            leaves=tuple((at, several[n % len(several)]) for n, at in enumerate(leaving)),
            restarts=tuple(
                Restart(float((k + rng.uniform(0.3, 0.7)) / restarts), k in hard)
                for k in range(restarts)
            ),
            commands=tuple(
                (at, actions[number % len(actions)]) for number, at in enumerate(asked[:commands])
            ),
        )


@dataclass(slots=True)
class Strikes:
    """Carries the schedule out, each kind on a thread of its own, so that they coincide."""

    schedule: Schedule
    fleet: Fleet
    broker: LocalBroker | None
    """None where none is to be restarted."""
    log: Log
    model: str
    progress: Callable[[], float]
    """Share of the events sent."""
    seed: int
    tell: Tell
    killed: Counter[str] = field(default_factory=Counter)
    left: int = 0
    """Processes stopped and started anew."""
    broker_restarts: int = 0
    commands: int = 0
    failure: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for task in (self._kill_all, self._leave_all, self._restart_all, self._command_all):
            thread = threading.Thread(target=self._guarded, args=(task,), name=task.__name__)
            thread.start()
            self._threads.append(thread)

    @property
    def over(self) -> bool:
        """Whether all was done. Raises what went wrong."""
        if self.failure is not None:
            raise self.failure
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            self.failure = error

    def _until(self, at: float) -> bool:
        """Wait for a share of the events; False when all is to stop."""
        while self.progress() < at:
            if self._stop.wait(_LOOK_S):
                return False
        return not self._stop.is_set()

    def _kill_all(self) -> None:
        for kill in self.schedule.kills:
            if kill.again_after_s >= 0:
                self._alive(kill)
                if self._stop.wait(kill.again_after_s):
                    return
            elif not self._until(kill.at):
                return
            self._kill(kill)

    def _kill(self, kill: Kill) -> None:
        deadline = time.monotonic() + _ALIVE_WITHIN_S
        while not self._stop.is_set():
            self._alive(kill)
            try:
                pid = self.fleet.kill(kill.service, kill.instance)
            except (KeyError, SupervisionError):  # it died by itself, or left, just now
                if time.monotonic() > deadline:
                    raise
                continue
            self.killed[kill.service] += 1
            self.tell(
                f"kill {self.killed.total()}: {kill.service}-{kill.instance} ({pid}) at "
                f"{self.progress():.1%}"
            )
            return

    def _alive(self, kill: Kill) -> None:
        """Return when the process runs."""
        deadline = time.monotonic() + _ALIVE_WITHIN_S
        while not any(
            member.pid is not None
            for member in self.fleet.members()
            if (member.service, member.instance) == (kill.service, kill.instance)
        ):
            if self._stop.wait(_LOOK_S):
                return
            if time.monotonic() > deadline:
                raise SupervisionError(f"{kill.service}-{kill.instance} was not started again")

    def _leave_all(self) -> None:
        for at, service in self.schedule.leaves:
            if not self._until(at):
                return
            count = sum(member.service == service for member in self.fleet.members())
            self.tell(f"{service}-{count - 1} leaves at {self.progress():.1%}")
            self.fleet.scale(service, count - 1)
            if self._stop.wait(_AWAY_S):
                return
            self.fleet.scale(service, count)
            self.left += 1

    def _restart_all(self) -> None:
        for restart in self.schedule.restarts:
            if not self._until(restart.at):
                return
            assert self.broker is not None
            how = "SIGKILL" if restart.sigkill else "stop"
            self.tell(f"broker: {how} at {self.progress():.1%}")
            began = time.monotonic()
            if restart.sigkill:
                self.broker.kill()
            else:
                self.broker.stop()
            self.broker.start()
            self.broker_restarts += 1
            self.tell(f"broker is back after {time.monotonic() - began:.1f} s")

    def _command_all(self) -> None:
        rng = np.random.default_rng([self.seed, 3])
        for at, action in self.schedule.commands:
            if not self._until(at):
                return
            while not self._stop.is_set():
                try:
                    self._command(action, rng)
                    self.commands += 1
                    break
                except DriftloopError as error:
                    # The broker may be away. Whether the command was written is open, then; the
                    # log knows.
                    self.tell(f"command {action}: {error}; again")
                    self._stop.wait(1.0)

    def _command(self, action: CommandAction, rng: np.random.Generator) -> None:
        topics = self.fleet.settings.topics
        version = -1
        if action is CommandAction.PROMOTE:
            catalog = read_catalog(self.log, topics)
            now = catalog.deployments.get(self.model)
            known = [0, *(v for m, v in catalog.versions if m == self.model)]
            others = [v for v in known if now is None or v != now.champion]
            # The newest as often as all the others together.
            version = int(rng.choice([*others, *others[-1:] * len(others)])) if others else 0
        publish_command(
            self.log, topics, action, self.model,
            version=version, who="chaos", now=int(time.time() * 1000), why="to swap versions",
        )  # fmt: skip
        self.tell(f"command: {action} {version if version >= 0 else ''}")

"""One process of a service, and when to start it again after it died."""

from __future__ import annotations

import enum
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from driftloop.adapters.broker.process import GuardedProcess
from driftloop.cli.announcements import Announcement, announcement_path, read_announcement

GIVE_UP_CODE = 2
"""The exit code of a service that another start would not help (``adapters.process`` has the same;
it is not imported here, for it brings all that a service needs)."""

_LOOK_EVERY_S = 5.0
_ASK_S = 1.0
_SILENT_S = 120.0
"""A process that has not answered for so long hangs. (One that answers says itself when its steps
do not end: ``adapters.http``.)"""
_ABORT_S = 2.0

_TAIL_LINES = 20
_TAIL_BYTES = 20_000


class Backoff:
    """Waiting times between restarts: they double with each death, and begin anew when the process
    had been ready for ``steady_s`` seconds."""

    def __init__(self, first_s: float = 0.2, most_s: float = 30.0, steady_s: float = 10.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._steady_s = steady_s
        self._deaths = 0

    def died(self, ready_for_s: float) -> float:
        """Seconds to wait; ``ready_for_s`` is how long the process had been ready."""
        if ready_for_s >= self._steady_s:
            self._deaths = 0
        self._deaths += 1
        # The exponent is bounded so that a thousand deaths do not overflow.
        return min(self._most_s, self._first_s * 2.0 ** min(self._deaths - 1, 30))


class State(enum.StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    """It died and will be started again."""
    FAILED = "failed"
    """It ended with ``GIVE_UP_CODE`` and is left alone."""
    STOPPED = "stopped"


class Supervised:
    """One process of a service under a guardian. Times are monotonic seconds."""

    def __init__(
        self,
        service: str,
        instance: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        directory: Path,
        grace_s: float,
    ) -> None:
        self.service = service
        self.instance = instance
        self.state = State.STOPPED
        self.restarts = 0
        self.restart_at = 0.0
        self.exit_code: int | None = None
        """Of the last end."""
        self.ready_since: float | None = None
        """When it was first seen ready since it was started."""
        self._heard_at: float | None = None
        """When it last answered since it was started."""
        self._look_at = 0.0
        self.log = directory / "logs" / f"{self.name}.log"
        self._command = tuple(command)
        self._environ = dict(environ)
        self._announcement = announcement_path(directory, service, instance)
        self._grace_s = grace_s
        self._backoff = Backoff()
        self._process: GuardedProcess | None = None
        self._log_start = 0

    @property
    def name(self) -> str:
        return f"{self.service}-{self.instance}"

    @property
    def pid(self) -> int | None:
        """The service's process, while it is thought to run."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Raises :class:`DriftloopError` when the command cannot be run at all."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._announcement.unlink(missing_ok=True)
        self._log_start = self.log.stat().st_size if self.log.is_file() else 0
        self.ready_since = None
        self._heard_at = None
        self._process = GuardedProcess(
            self._command, environ=self._environ, log=self.log, grace_s=self._grace_s
        )
        self.state = State.RUNNING

    def ended(self, now: float) -> bool:
        """Whether it has died since last asked; then it waits for its restart, or has failed."""
        if self._process is None or self._process.running:
            return False
        self.exit_code = self._process.exit_code
        self._process.stop()
        self._process = None
        ready_for_s = 0.0 if self.ready_since is None else now - self.ready_since
        self.ready_since = None
        if self.exit_code == GIVE_UP_CODE:
            self.state = State.FAILED
        else:
            self.state = State.WAITING
            self.restarts += 1
            self.restart_at = now + self._backoff.died(ready_for_s)
        return True

    def announcement(self) -> Announcement | None:
        """Where this very process is, once it has said so."""
        found = read_announcement(self._announcement)
        return found if found is not None and found.pid == self.pid else None

    def stuck(self, now: float) -> str:
        """Why it will do nothing any more though it runs; empty where it may yet. Asks only every
        few seconds."""
        found = self.announcement() if now >= self._look_at else None
        if found is None:
            return ""
        self._look_at = now + _LOOK_EVERY_S
        answer = found.get("/healthz", _ASK_S)
        if answer is None:
            # From when it was first asked, where it never answered.
            self._heard_at = now if self._heard_at is None else self._heard_at
            silent_s = now - self._heard_at
            return f"no answer for {silent_s:.0f} s" if silent_s > _SILENT_S else ""
        self._heard_at = now
        return "" if answer[0] == 200 else answer[1].decode(errors="replace").strip()

    def abort(self) -> None:
        """SIGABRT, upon which it writes into its log where it hangs; SIGKILL if that does not end
        it."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGABRT)
        self._process.wait(_ABORT_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(self._grace_s)

    def stop(self) -> None:
        """SIGTERM, after the grace SIGKILL; returns when it is gone."""
        self.state = State.STOPPED
        self.ready_since = None
        if self._process is not None:
            self._process.stop()
            self.exit_code = self._process.exit_code
            self._process = None

    def tail(self) -> str:
        """The last lines of its log since it was last started."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing in the log)"

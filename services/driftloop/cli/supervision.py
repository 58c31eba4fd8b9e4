"""The services as processes: started, watched, restarted, stopped, and never left behind."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from driftloop.adapters.clock import SystemClock
from driftloop.cli.supervised import State, Supervised
from driftloop.kernel.errors import ConfigurationError, SupervisionError
from driftloop.kernel.settings import Settings

SERVICES = ("inference", "outcomes", "featurestats", "drift", "trainer", "deployer")
"""In the order in which they start."""

_LOOK_EVERY_S = 0.1
_GRACE_S = 15.0
_FIRST = "inference"
_NICENESS = 5
"""Of the other services: where processors are short, answers come first; what is made of them later
may lie in Kafka for a moment."""


def service_command(service: str) -> Sequence[str]:
    """How a service is run."""
    return (sys.executable, "-m", f"driftloop.{service}")


def _silent(line: str) -> None:
    """Progress that nobody asked to see."""


class Fleet:
    """Processes of services, ``{service: instances}`` or one of each.

    As a context manager it starts them and a thread that watches on entry, and stops all on exit.
    However this process ends, the services end with it. One fleet at a time has a directory.
    """

    def __init__(
        self,
        settings: Settings,
        services: Sequence[str] | Mapping[str, int] = SERVICES,
        *,
        progress: Callable[[str], None] = _silent,
        environ: Mapping[str, str] = os.environ,
        command: Callable[[str], Sequence[str]] = service_command,
        grace_s: float = _GRACE_S,
    ) -> None:
        """``settings`` must name a Kafka. ``grace_s``: from SIGTERM to SIGKILL."""
        self.settings = replace(settings, directory=settings.directory.absolute())
        wanted = services if isinstance(services, Mapping) else dict.fromkeys(services, 1)
        self._progress = progress
        self._environ = dict(environ)
        self._command = command
        self._grace_s = grace_s
        self._clock = SystemClock()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._owned: IO[str] | None = None
        self._ports_used = 0
        self._members: dict[tuple[str, str], Supervised] = {}
        for service, count in wanted.items():
            for instance in range(count):
                self._add(service, str(instance))

    def __enter__(self) -> Self:
        try:
            self.start()
            self.watch()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every process. Raises :class:`ConfigurationError` where another fleet has the
        directory."""
        self._own_directory()
        with self._lock:
            for member in self._members.values():
                if member.state is State.STOPPED:
                    member.start()

    def watch(self) -> None:
        """Watch on a thread of its own until :meth:`stop`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="supervision", daemon=True)
            self._thread.start()

    def watch_once(self) -> None:
        """See who died, and start whose time has come."""
        for member in self.members():
            with self._lock:
                self._look_after(member)

    def members(self) -> list[Supervised]:
        with self._lock:
            return list(self._members.values())

    def kill(self, service: str, instance: str = "0") -> int:
        """SIGKILL to one process, which is then due to be restarted; its process id."""
        with self._lock:
            member = self._members[service, instance]
            pid = member.pid
            if pid is None:
                raise SupervisionError(f"{member.name} does not run")
            member.kill()
            self._look_after(member)
            return pid

    def scale(self, service: str, instances: int) -> None:
        """Start or stop processes of a service until there are so many."""
        with self._lock:
            mine = [m for m in self._members.values() if m.service == service]
            for member in mine[instances:]:
                del self._members[member.service, member.instance]
            for index in range(len(mine), instances):
                self._add(service, str(index)).start()
        for member in mine[instances:]:
            member.stop()

    def wait_ready(
        self, deadline_s: float = 120.0, progress: Callable[[str], None] | None = None
    ) -> None:
        """Return when every process says it is ready.

        Raises :class:`SupervisionError`, with the end of its log, for one that failed or took too
        long.
        """
        tell = progress or self._progress
        deadline = self._clock.monotonic() + deadline_s
        told: set[str] = set()
        while True:
            self.watch_once()
            waiting = []
            for member in self.members():
                if member.state is State.FAILED:
                    raise SupervisionError(_failure(member))
                found = member.announcement()
                if found is None or not found.ready():
                    waiting.append(member)
                elif member.name not in told:
                    told.add(member.name)
                    tell(f"{member.name} is ready at {found.url}")
            if not waiting:
                return
            if self._clock.monotonic() > deadline:
                raise SupervisionError(
                    f"not ready after {deadline_s:g} s: {', '.join(m.name for m in waiting)}.\n"
                    f"Last lines of {waiting[0].log}:\n{waiting[0].tail()}"
                )
            if self._stopping.wait(_LOOK_EVERY_S):
                raise SupervisionError("the services were stopped before all were ready")

    def statuses(self) -> list[dict[str, Any]]:
        """Of every process: ``service``, ``instance``, ``state``, ``pid``, ``restarts``, ``url``,
        and what its ``/status`` says (``ready`` False while it says nothing)."""
        members = self.members()
        with ThreadPoolExecutor(max(1, len(members)), thread_name_prefix="status") as pool:
            return list(pool.map(_status, members))

    def stop(self, deadline_s: float | None = None) -> None:
        """SIGTERM to all at once, SIGKILL to those that are there after the grace; returns when
        all are gone. May be repeated. ``deadline_s`` kills what is left after so long."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        members = self.members()
        if members:
            killer = None if deadline_s is None else threading.Timer(deadline_s, self._kill_all)
            if killer is not None:
                killer.start()
            try:
                with ThreadPoolExecutor(len(members), thread_name_prefix="stop") as pool:
                    stopping = [pool.submit(member.stop) for member in members]
                    try:
                        for one in stopping:
                            one.result()
                    except KeyboardInterrupt:
                        # Ctrl-C while waiting: the second one means now.
                        self._kill_all()
                        raise
            finally:
                if killer is not None:
                    killer.cancel()
        self._stopping.clear()
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def _add(self, service: str, instance: str) -> Supervised:
        port = self.settings.http_port
        if port:
            # One port cannot serve several processes: each takes the next one.
            port += self._ports_used
            self._ports_used += 1
        settings = replace(self.settings, instance=instance, http_port=port)
        if service != _FIRST:
            settings = replace(settings, niceness=max(settings.niceness, _NICENESS))
        member = Supervised(
            service,
            instance,
            self._command(service),
            environ={**self._environ, **settings.environment()},
            directory=self.settings.directory,
            grace_s=self._grace_s,
        )
        self._members[service, instance] = member
        return member

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                self.watch_once()
            except Exception as error:
                # The thread must outlive a start that did not work; the next turn tries again.
                self._progress(f"looking after the services: {error!r}")

    def _look_after(self, member: Supervised) -> None:
        now = self._clock.monotonic()
        if member.ended(now):
            if member.state is State.FAILED:
                self._progress(_failure(member))
            else:
                self._progress(
                    f"{member.name} ended with exit code {member.exit_code}; "
                    f"starting it again in {member.restart_at - now:.1f} s (see {member.log})"
                )
        if member.state is State.WAITING and now >= member.restart_at:
            member.start()
        elif member.state is State.RUNNING and member.ready_since is None:
            found = member.announcement()
            if found is not None and found.ready():
                member.ready_since = now
        if member.state is State.RUNNING and (why := member.stuck(now)):
            self._progress(f"{member.name} hangs ({why}): it is ended, and started again")
            member.abort()

    def _own_directory(self) -> None:
        if self._owned is not None:
            return
        path = self.settings.directory / "run" / "fleet.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._owned = locked(path)

    def _kill_all(self) -> None:
        for member in self.members():
            member.kill()


def locked(path: Path) -> IO[str]:
    """The lock file, open and ours; the kernel lets go of it when this process ends."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "?"
        file.close()
        raise ConfigurationError(
            f"process {owner} runs the services of {path.parent.parent} already: stop it, or "
            "choose another directory with DRIFTLOOP_DIRECTORY"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _status(member: Supervised) -> dict[str, Any]:
    found = member.announcement()
    said = None if found is None else found.status()
    return {
        "service": member.service,
        "instance": member.instance,
        "state": member.state.value,
        "pid": member.pid,
        "restarts": member.restarts,
        "url": None if found is None else found.url,
        "ready": False,
        **(said or {}),
    }


def _failure(member: Supervised) -> str:
    return (
        f"{member.name} ended with exit code {member.exit_code} and is left alone: another start "
        f"would end the same way.\nLast lines of {member.log}:\n{member.tail()}"
    )

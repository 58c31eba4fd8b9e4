"""The local broker's life: ports, storage, start, readiness, stop."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from driftloop.adapters.broker.distribution import load_distribution
from driftloop.adapters.broker.jars import obtain_jars
from driftloop.adapters.broker.java import ENVIRONMENT, find_java
from driftloop.adapters.broker.process import GuardedProcess
from driftloop.adapters.kafka.warm import provoke_internal_topics, wait_until_answering
from driftloop.kernel.errors import BrokerError, LogUnavailableError

_HOST = "127.0.0.1"
_PORT_TRIES = 5
_TAIL_LINES = 20
_PORT_TAKEN = ("Address already in use", "BindException")


def _silent(line: str) -> None:
    """Progress that nobody asked to see."""


class LocalBroker:
    """One Apache Kafka in combined KRaft mode on the loopback interface.

    ``directory`` keeps the storage (``data/``), the settings and the log; a directory used before
    is started again with what it holds. ``port`` None takes a free one; it stays the same for
    this object's life. ``environ`` says where the cache or the jars are. ``progress`` gets a line
    for each step that takes a while. ``java_options`` come after the distribution's own.

    As a context manager it starts on entry and stops on exit. The process never outlives this
    one. Every method that starts raises BrokerError, with the log's last lines, when it fails.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        heap_mb: int = 512,
        progress: Callable[[str], None] = _silent,
        environ: Mapping[str, str] = os.environ,
        start_deadline_s: float = 90.0,
        stop_deadline_s: float = 15.0,
        java_options: Sequence[str] = (),
    ) -> None:
        self._directory = directory.absolute()
        self._port = port
        self._heap_mb = heap_mb
        self._progress = progress
        self._environ = environ
        self._start_deadline_s = start_deadline_s
        self._stop_deadline_s = stop_deadline_s
        self._java_options = tuple(java_options)
        self._process: GuardedProcess | None = None
        self._log_start = 0
        self._distribution = load_distribution()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:PORT``; known from the first start on. Raises BrokerError before it."""
        if self._port is None:
            raise BrokerError("the local broker has no address yet; start it first")
        return f"{_HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the broker's Java. Raises BrokerError when it does not run."""
        if self._process is None or not self._process.running:
            raise BrokerError(f"the local broker in {self._directory} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._process is not None and self._process.running

    @property
    def log_path(self) -> Path:
        """The file that Kafka's own log is appended to."""
        return self._directory / "kafka.log"

    def start(self) -> None:
        """Starts it and returns when it answers and its internal topics exist."""
        if self.running:
            raise BrokerError(f"the local broker at {self.bootstrap} is running already")
        java = find_java()
        jars = obtain_jars(self._distribution, self._environ, self._progress)
        self._prepare_directory()
        begun = time.monotonic()
        archive = java.archive(self._distribution, jars, self._environ)
        using = [f"-XX:AOTCache={archive}"] if archive.is_file() else []

        def command(main_class: str, *arguments: str) -> list[str]:
            own = self._java_options if main_class == self._distribution.broker_class else ()
            return java.command(
                self._distribution,
                jars,
                main_class,
                arguments,
                heap_mb=self._heap_mb,
                temporary=self._directory / "tmp",
                extra=[*using, *own],
            )

        wanted = self._port
        try:
            for attempt in range(1, _PORT_TRIES + 1):
                self._port, controller_port = _choose_ports(wanted)
                self._write_settings(self._port, controller_port)
                self._format(command)
                self._progress(f"starting Kafka {self._distribution.version} at {self.bootstrap}")
                if self._launch(command, begun + self._start_deadline_s):
                    break
                # Another process was quicker to take one of the ports. Ours to choose again,
                # unless the caller named the one that is taken.
                if (wanted is not None and not _is_free(wanted)) or attempt == _PORT_TRIES:
                    raise self._failure("a port it was to listen on is taken")
            provoke_internal_topics(
                self.bootstrap, max(1.0, begun + self._start_deadline_s - time.monotonic())
            )
        except LogUnavailableError as error:
            self._give_up(wanted)
            raise self._failure(str(error)) from error
        except BaseException:
            self._give_up(wanted)
            raise
        self._progress(f"Kafka is ready at {self.bootstrap} ({time.monotonic() - begun:.1f} s)")

    def stop(self) -> None:
        """Ends it, gracefully if it can; returns when the process is gone. May be repeated."""
        if self._process is not None:
            self._process.stop()
            self._process = None
            shutil.rmtree(self._directory / "tmp", ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone. The data stays."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stops it, if it runs, and starts it on the same port and data."""
        self.stop()
        self.start()

    def _give_up(self, wanted: int | None) -> None:
        """Leaves nothing of a failed start: no process, and no port that was only a try."""
        self.stop()
        self._port = wanted

    def _prepare_directory(self) -> None:
        try:
            (self._directory / "tmp").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerError(
                f"the broker's directory {self._directory} cannot be made: {error}; choose another"
            ) from error

    @property
    def _settings_path(self) -> Path:
        return self._directory / "server.properties"

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _write_settings(self, port: int, controller_port: int) -> None:
        self._settings_path.write_bytes(
            self._distribution.render_settings(
                port=port, controller_port=controller_port, data=self._data
            )
        )

    def _format(self, command: Callable[..., list[str]]) -> None:
        """Formats the storage where that was not done before."""
        if (self._data / "meta.properties").is_file():
            return
        self._progress(f"formatting storage in {self._data}")
        # Kafka's own kind of id: a version 4 UUID, URL-safe base64, without the padding.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A first character "-" would be read as an option.
        cluster_id = cluster_id.replace("-", "A", 1) if cluster_id[0] == "-" else cluster_id
        settings = str(self._settings_path)
        self._log_start = self.log_path.stat().st_size if self.log_path.is_file() else 0
        process = self._spawn(
            command(self._distribution.storage_class, "format", "-t", cluster_id, "-c", settings)
        )
        try:
            code = process.wait(self._start_deadline_s)
        finally:
            process.stop()
        if code != 0:
            reason = "took too long" if code is None else f"ended with exit code {code}"
            raise self._failure(f"formatting its storage {reason}")

    def _launch(self, command: Callable[..., list[str]], deadline: float) -> bool:
        """Starts the broker and waits for its answer; False when a port was taken meanwhile."""
        self._log_start = self.log_path.stat().st_size if self.log_path.is_file() else 0
        process = self._spawn(command(self._distribution.broker_class, str(self._settings_path)))
        self._process = process
        try:
            answered = wait_until_answering(
                self.bootstrap,
                max(1.0, deadline - time.monotonic()),
                give_up=lambda: not process.running,
            )
        except LogUnavailableError as error:
            code = process.exit_code
            self.stop()
            if any(sign in self._log_tail() for sign in _PORT_TAKEN):
                return False
            why = str(error) if code is None else f"its process ended with exit code {code}"
            raise self._failure(why) from error
        if answered != self._cluster_id():
            # Someone else's Kafka took the port, and answers there in place of this one.
            self.stop()
            return False
        return True

    def _spawn(self, command: list[str]) -> GuardedProcess:
        return GuardedProcess(
            command, environ=ENVIRONMENT, log=self.log_path, grace_s=self._stop_deadline_s
        )

    def _cluster_id(self) -> str:
        for line in (self._data / "meta.properties").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "cluster.id":
                return value.replace("\\", "")
        raise self._failure(f"{self._data / 'meta.properties'} names no cluster.id")

    def _log_tail(self) -> str:
        """The last lines of the log since this start."""
        if not self.log_path.is_file():
            return "(no log)"
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing in the log)"

    def _failure(self, why: str) -> BrokerError:
        return BrokerError(
            f"the local Kafka in {self._directory} did not start: {why}.\n"
            f"Last lines of {self.log_path}:\n{self._log_tail()}\n"
            "Ways on: mend what the log names; or use another, empty directory; or set "
            "KAFKA_BOOTSTRAP_SERVERS to a Kafka you have."
        )


def _choose_ports(wanted: int | None) -> tuple[int, int]:
    """(port, controller's port), both free now and different. Raises BrokerError if not."""
    if wanted is not None and not _is_free(wanted):
        raise BrokerError(
            f"port {wanted} of {_HOST} is taken by another process; "
            "stop that one, or choose another port (or none, to get a free one)"
        )
    with socket.socket() as first, socket.socket() as second:
        first.bind((_HOST, 0))
        second.bind((_HOST, 0))
        free: list[int] = [first.getsockname()[1], second.getsockname()[1]]
    if wanted is None:
        return free[0], free[1]
    return wanted, next(port for port in free if port != wanted)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Kafka binds it: a connection of an earlier broker that lingers is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True

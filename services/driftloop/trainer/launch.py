"""Runs a training task in a process of its own, within limits."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from driftloop.adapters.owned import own, sweep
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.settings import Settings
from driftloop.trainer.limits import WorkerLimits
from driftloop.trainer.reading import Reading
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import TrainingTask, Untrained, WorkerResult, read_result
from driftloop.trainer.worker import OUT_OF_MEMORY

_PREFIX = "driftloop-worker-"
_LAST_LINES = 5
_NO_MEMORY = re.compile(
    r"MemoryError|bad_alloc|out of memory|cannot allocate memory|failed to map segment"
    r"|rd_\w*alloc: Assertion",
    re.I,
)
"""What libraries say who find no memory, librdkafka's assertion the last of them."""
_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_SMALL = {**dict.fromkeys(_LIBRARIES, "1"), "MALLOC_ARENA_MAX": "1"}
"""A worker trains on one core, and every thread of a library costs it address space."""


class Worker:
    """One run of a task. Never blocks but in :meth:`wait`; the time limit is kept by whoever polls
    (and, should nobody, by a limit on the worker's CPU time a little later).

    Start it from a thread that lives as long as the worker shall: the worker dies with it.
    """

    def __init__(
        self,
        rows: TrainingRows | Reading,
        task: TrainingTask,
        limits: WorkerLimits,
        *,
        settings: Settings | None = None,
        scratch: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts at once. Rows that are a :class:`Reading` the worker reads itself, from the log
        that ``settings`` name, within the same limits. ``scratch`` is where the files of the run
        lie until it has ended (the system's directory for temporary files); ``clock`` gives
        seconds."""
        self._limits = limits
        self._clock = clock
        self._result: WorkerResult | None = None
        self._progress_read = 0
        self._directory, self._lock = own(scratch or Path(tempfile.gettempdir()), _PREFIX)
        try:
            self._process = self._start(rows, task, settings or Settings())
        except BaseException:
            self._clean()
            raise
        self._started = clock()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def directory(self) -> Path:
        """The run's files; gone when it has ended."""
        return self._directory

    def poll(self) -> WorkerResult | None:
        """The result once there is one; None while the worker is at work."""
        if self._result is None:
            code = self._process.poll()
            if code is not None:
                self._end(self._outcome(code))
            elif self._clock() - self._started > self._limits.seconds:
                self.kill(f"exceeded {self._limits.seconds:g} s")
        return self._result

    def wait(self) -> WorkerResult:
        """Blocks until there is a result, at the latest when the time is up."""
        left = self._limits.seconds - (self._clock() - self._started)
        try:
            self._process.wait(max(left, 0.0))
        except subprocess.TimeoutExpired:
            self.kill(f"exceeded {self._limits.seconds:g} s")
        result = self.poll()
        assert result is not None
        return result

    def pause(self, seconds: float) -> None:
        """Returns when the worker has ended, at the latest after ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self, reason: str = "stopped") -> None:
        """End the worker now. Its result is a failure of this reason, unless it has one already."""
        if self._result is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._end(Untrained(reason, ()))

    def progress(self) -> list[dict[str, Any]]:
        """What the worker has reported since the last call; empty once it has ended."""
        if self._result is not None:
            return []
        with (self._directory / "stdout").open("rb") as file:
            file.seek(self._progress_read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._progress_read += len(whole) + len(newline)
        return [_line(line) for line in whole.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _start(
        self, rows: TrainingRows | Reading, task: TrainingTask, settings: Settings
    ) -> subprocess.Popen[bytes]:
        spec: dict[str, Any] = {}
        environment = {**os.environ, **_SMALL}
        if isinstance(rows, Reading):
            spec["reading"] = to_plain(rows)
            # Not in the file: there may be a password among them.
            environment |= settings.environment()
        else:
            rows.save(self._directory)
            spec["rows"] = str(self._directory)
        spec |= {
            "output": str(self._directory),
            "task": to_plain(task),
            "limits": to_plain(self._limits),
            "parent": os.getpid(),
        }
        file = self._directory / "spec.json"
        file.write_text(json.dumps(spec))
        with (
            (self._directory / "stdout").open("ab") as out,
            (self._directory / "stderr").open("ab") as err,
        ):
            # -P: what lies in the working directory is not to be imported. A session of its own:
            # Ctrl-C at a terminal is the parent's to handle.
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "driftloop.trainer.worker", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )

    def _outcome(self, code: int) -> WorkerResult:
        if code == 0:
            try:
                result = read_result(self._directory)
            except TrainingError as error:
                return Untrained(str(error), ())
            if isinstance(result, Untrained):
                named = result.reason.replace("out of memory", self._no_memory())
                return Untrained(named, result.candidates)
            return result
        errors = (self._directory / "stderr").read_text(errors="replace")
        last = " | ".join(errors.strip().splitlines()[-_LAST_LINES:])[-1000:]
        return Untrained(f"{self._cause(code, errors)}{': ' if last else ''}{last}", ())

    def _cause(self, code: int, errors: str) -> str:
        if code == OUT_OF_MEMORY or _NO_MEMORY.search(errors):
            return self._no_memory()
        if code == -signal.SIGXCPU:
            return f"exceeded {self._limits.seconds:g} s"
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        return f"crashed with exit code {code}"

    def _no_memory(self) -> str:
        return f"out of memory: limit {_size(self._limits.memory)}"

    def _end(self, result: WorkerResult) -> None:
        self._result = result
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._lock)


def sweep_runs(scratch: Path | None = None) -> list[Path]:
    """Removes what runs of processes that were killed have left behind; what was removed."""
    return sweep(scratch or Path(tempfile.gettempdir()), _PREFIX)


def _line(line: bytes) -> dict[str, Any]:
    """A line that is no JSON object was written by a library."""
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict):
            return value
    return {"step": "output", "text": line.decode(errors="replace")}


def _size(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"

"""A child process under a guardian: started, stopped, killed, and never left behind."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from driftloop.adapters.broker import guardian
from driftloop.kernel.errors import BrokerError

# How much longer than the command's own grace the guardian may take before the group is killed.
_GUARDIAN_MARGIN_S = 5.0


class GuardedProcess:
    """One command, in a session of its own, whose output goes to a log file.

    It ends with this process, however this one ends: return, exception, Ctrl-C, SIGKILL.
    ``grace_s`` is the time between SIGTERM and SIGKILL.
    """

    def __init__(
        self, command: Sequence[str], *, environ: Mapping[str, str], log: Path, grace_s: float
    ) -> None:
        self._grace_s = grace_s
        self._owner = os.getpid()
        with log.open("ab") as output:
            self._guardian = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", guardian.__file__),
                    *(str(self._owner), str(grace_s)),
                    *command,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environ),
                start_new_session=True,
            )
        atexit.register(self.stop)
        try:
            assert self._guardian.stdout is not None
            with self._guardian.stdout as announced:
                line = announced.readline()
            if not line:
                raise BrokerError(f"{command[0]} could not be started; see {log}")
            self.pid = int(line)
        except BaseException:
            self.stop()
            raise

    @property
    def running(self) -> bool:
        """Whether the command still runs."""
        return self._guardian.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The command's exit code (128 + signal where one ended it), None while it runs."""
        return self._guardian.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Waits for the command's end; its exit code, or None when the time is over."""
        try:
            return self._guardian.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """SIGTERM, after the grace SIGKILL; returns when the process is gone. May be repeated."""
        if os.getpid() != self._owner:
            return  # a fork of the owner, which has no say over the owner's child
        atexit.unregister(self.stop)
        if self._guardian.stdin is not None:
            self._guardian.stdin.close()
        try:
            if self.wait(self._grace_s + _GUARDIAN_MARGIN_S) is None:
                self._kill_group()
        except BaseException:
            # Ctrl-C while waiting: the second one means now.
            self._kill_group()
            raise

    def kill(self) -> None:
        """SIGKILL to the command, without any grace; returns when it is gone."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def _kill_group(self) -> None:
        # The guardian is not waited for yet, so its group id cannot be another's.
        if self.running:
            os.killpg(self._guardian.pid, signal.SIGKILL)
            self._guardian.wait()

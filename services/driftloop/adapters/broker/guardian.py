"""Runs one command and sees to it that the command does not outlive the process that wanted it.

A program of its own, run as ``python -I -S guardian.py PARENT GRACE_S COMMAND...`` with the pipe of
the parent as standard input, standard output a pipe on which the command's process id is
written, and standard error the command's log. When the pipe closes or the parent is another one
(it ended, in whatever way), the command gets SIGTERM and, after GRACE_S seconds, SIGKILL. Should
the guardian itself be killed, the kernel kills the command (Linux).

A process between, because the kernel's own parent-death signal is sent when the *thread* that
started the child ends, and because setting it from a parent with threads is not safe. It uses
the standard library alone and nothing of this package.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# The pipe and SIGCHLD wake the loop at once; this is only for a pipe that a fork of the parent
# still holds open.
_LOOK_EVERY_S = 0.5


def main(arguments: list[str]) -> int:
    parent, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: asked.append(number))

    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=2, preexec_fn=_die_with(os.getpid())
    )
    os.write(1, b"%d\n" % child.pid)
    os.close(1)

    watched = [0, woken]
    while child.poll() is None and not asked and os.getppid() == parent:
        ready, _, _ = select.select(watched, [], [], _LOOK_EVERY_S)
        if 0 in ready and not os.read(0, 4096):
            break
        _drain(woken, ready)
    if child.poll() is None:
        child.terminate()
        deadline = time.monotonic() + grace_s
        while child.poll() is None and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([woken], [], [], left)
            _drain(woken, ready)
        if child.poll() is None:
            child.kill()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _drain(woken: int, ready: list[int]) -> None:
    if woken in ready:
        os.read(woken, 4096)


def _die_with(guardian: int) -> Callable[[], None]:
    """What the child does between fork and exec. Single-threaded here, so it is safe."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if library is not None:
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != guardian:
                os._exit(1)

    return prepare


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

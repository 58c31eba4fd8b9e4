"""Limits a worker sets itself before it loads anything large.

Set by the child, not between fork and exec by the parent: a parent with threads (Kafka clients)
must not run Python there.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_FILE_LIMIT = 4 * 2**30
CPU_GRACE = 5
"""Seconds of CPU beyond the wall time, which the parent watches."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What a worker may use."""

    seconds: float
    """Wall time."""
    memory: int
    """Bytes of address space; numpy, numba, LightGBM and a client of Kafka with its threads take
    about 0.6 GiB of it. A library that finds much less may not say so but wait for ever: then the
    time limit ends it."""
    nice: int = 5
    """Added to the niceness: scoring comes first."""


def apply(limits: WorkerLimits, parent: int) -> None:
    """Bind this process. It dies with ``parent`` (Linux; when the parent's *thread* that started it
    ends, to be exact)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit("the process that started this worker is gone")
    os.nice(limits.nice)
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_FSIZE, _FILE_LIMIT)
    _bound(resource.RLIMIT_CPU, math.ceil(limits.seconds) + CPU_GRACE)
    _bound(resource.RLIMIT_AS, limits.memory)


def _bound(kind: int, value: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))

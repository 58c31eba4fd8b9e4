"""Starts members of one group, fills their topic when all have joined, and takes their times."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import orjson

from loadtest.ground import Ground
from loadtest.member import Asked, command

ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
Sampling = Callable[[int], AbstractContextManager[None]]
"""Given a process's id."""
_JOIN_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Spent:
    """By all members together."""

    cpu: float
    """Seconds of processor time from before the first record was to be seen until all was
    committed."""
    seconds: float
    """Of the slowest."""
    threads: Mapping[str, float]
    """The processor time by thread."""


def _unsampled(pid: int) -> AbstractContextManager[None]:
    return nullcontext()


def run_members(
    on: Ground,
    asked: Asked,
    fill: Callable[[Callable[[], None]], None],
    *,
    count: int = 1,
    partitions: int = 4,
    sampling: Sampling = _unsampled,
) -> Spent:
    """``count`` processes share the partitions of ``asked.topic`` evenly. ``fill`` calls its
    argument before it commits what it wrote. ``sampling`` is entered for each process while it
    works."""
    members = [_start(replace(asked, instance=str(number))) for number in range(count)]
    try:
        _wait_for_shares(members, partitions)
        for member in members:
            _tell(member, b"hold\n")
        for member in members:
            _until(member, "held")

        def begin() -> None:
            for member in members:
                _tell(member, b"begin\n")
                _until(member, "begun")

        with ExitStack() as stack:
            for member in members:
                stack.enter_context(sampling(member.pid))
            fill(begin)
            ends = on.ends(asked.topic)
            line = orjson.dumps({"until": {str(p): end for p, end in ends.items()}}) + b"\n"
            for member in members:
                _tell(member, line)
            found = [_until(member, "cpu") for member in members]
        for member in members:
            member.wait(_STOP_S)
    finally:
        for member in members:
            if member.poll() is None:
                member.kill()
            member.wait()
    reached = {int(p) for said in found for p in said["positions"]}
    if len(reached) != partitions:
        raise RuntimeError(f"{asked.service}: only partitions {sorted(reached)} were worked on")
    threads: Counter[str] = Counter()
    for said in found:
        threads.update(said["threads"])
    return Spent(
        sum(said["cpu"] for said in found), max(said["seconds"] for said in found), threads
    )


def _start(asked: Asked) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(asked),
        env={**os.environ, **ONE_THREAD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def _wait_for_shares(members: Sequence[subprocess.Popen[bytes]], partitions: int) -> None:
    """Partitions move several times until all have joined; each says what it has."""
    deadline = time.monotonic() + _JOIN_S
    shares = [0] * len(members)
    wanted = partitions // len(members)
    while shares != [wanted] * len(members):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the members' shares are {shares}, not {wanted} each")
        for number, member in enumerate(members):
            if shares[number] != wanted:
                shares[number] = _until(member, "sources")["sources"]


def _until(member: subprocess.Popen[bytes], key: str) -> Mapping[str, Any]:
    """The next line with this key."""
    assert member.stdout is not None
    while line := member.stdout.readline():
        said: Mapping[str, Any] = orjson.loads(line)
        if key in said:
            return said
    raise RuntimeError(f"a member ended with {member.wait()} before it said {key!r}")


def _tell(member: subprocess.Popen[bytes], line: bytes) -> None:
    assert member.stdin is not None
    member.stdin.write(line)
    member.stdin.flush()

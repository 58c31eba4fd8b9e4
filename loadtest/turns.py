"""Ways to do the same, each in a process of its own per round, in turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from loadtest.members import ONE_THREAD
from loadtest.peers.asked import Asked

_PEER_S = 300.0

Way = Callable[[], float]
"""Does its work once; microseconds of processor time per event."""


def in_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """Per way and round; the order turns with each, and one round before is not counted. In that
    one the first way is the first.

    Only one of them runs at a time. What is compared is processor time of whole processes, which
    others on the machine disturb least; a machine that gets slower is slower for all.
    """
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        said = []
        first = max(turn, 0) % len(names)
        for name in names[first:] + names[:first]:
            cost = ways[name]()
            said.append(f"{name} {cost:.2f}")
            if turn >= 0:
                found[name].append(cost)
        sys.stderr.write(f"round {turn + 1} of {rounds}, us/event: {', '.join(said)}\n")
    return found


def peer(name: str, asked: Asked) -> Mapping[str, Any]:
    """What ``loadtest.peers.NAME`` says when it has done its work."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(orjson.dumps(asdict(asked)))
        done = subprocess.run(
            [sys.executable, "-m", f"loadtest.peers.{name}", file.name],
            env={**os.environ, **ONE_THREAD},
            stdout=subprocess.PIPE,
            timeout=_PEER_S,
            check=True,
        )
    said: Mapping[str, Any] = orjson.loads(done.stdout)
    return said


def by_thread(spent: Sequence[Mapping[str, float]], rows: int) -> dict[str, float]:
    """Microseconds per event of our threads: the median over the counted rounds, dearest first."""
    counted = spent[1:]
    names = {name for threads in counted for name in threads}
    found = {
        name: statistics.median(threads.get(name, 0.0) for threads in counted) / rows * 1e6
        for name in names
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def cost(said: Mapping[str, Any]) -> float:
    """Microseconds per event of what a peer said."""
    return float(said["cpu"]) / float(said["rows"]) * 1e6

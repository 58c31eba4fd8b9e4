"""``python -m loadtest [NAME]``: one benchmark, or all; the last line of stdout is JSON.

What comes out is kept in ``loadtest/results``, unless ``LOADTEST_RESULTS`` names another directory.
``chaos`` is not among all of them, and takes options: ``python -m loadtest chaos --help``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson

from loadtest import (
    chaos,
    codec,
    detection,
    features,
    http,
    inference,
    labelfree,
    loop,
    many,
    models,
    results,
    scale,
    statistics,
    swap,
    train,
)

BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "codec": codec.run,
    "detection": detection.run,
    "features": features.run,
    "http": http.run,
    "inference": inference.run,
    "labelfree": labelfree.run,
    "loop": loop.run,
    "many": many.run,
    "models": models.run,
    "scale": scale.run,
    "statistics": statistics.run,
    "swap": swap.run,
    "train": train.run,
}


def main(words: list[str]) -> int:
    if words[:1] == ["chaos"]:
        return chaos.main(words[1:])
    unknown = [name for name in words if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(
            f"no benchmark {unknown[0]!r}; there are: chaos, {', '.join(sorted(BENCHMARKS))}\n"
        )
        return 2
    if len(words) == 1:
        _print(_run(words[0]))
        return 0
    shown = {name: _apart(name) for name in words or sorted(BENCHMARKS)}
    _print(shown)
    return 1 if None in shown.values() else 0


def _print(shown: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(shown).decode() + "\n")


def _run(name: str) -> dict[str, Any]:
    around = results.surroundings()
    found = BENCHMARKS[name]()
    path = results.record(name, found, around, results.directory())
    sys.stderr.write(f"{name}: kept in {path}\n")
    return found


def _apart(name: str) -> dict[str, Any] | None:
    """In a process of its own: what one leaves in memory must not weigh on the next. None where it
    failed; the others go on."""
    sys.stderr.write(f"{name}\n")
    done = subprocess.run([sys.executable, "-m", "loadtest", name], stdout=subprocess.PIPE)
    if done.returncode:
        sys.stderr.write(f"{name} failed\n")
        return None
    found: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

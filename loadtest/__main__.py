"""``python -m loadtest [NAME]``: one benchmark, or all; the last line of stdout is JSON.

What comes out is kept in ``loadtest/results``, unless ``LOADTEST_RESULTS`` names another directory.
Those that simulate take ``--seed`` and ``--scale`` (of the number of repetitions); what comes of
others than the usual ones is printed and not kept. ``--profile`` says where the time of ours goes
instead (``loadtest/results/profiles``). ``chaos`` is not among all of them, and has
options of its own: ``python -m loadtest chaos --help``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson

from loadtest import (
    categories,
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
    profiles,
    results,
    scale,
    statistics,
    swap,
    train,
)

BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    "categories": categories.run,
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
SIMULATIONS = ("categories", "detection", "features", "labelfree")
"""Those with seeds."""


def main(words: list[str]) -> int:
    if words[:1] == ["chaos"]:
        return chaos.main(words[1:])
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(["chaos", *BENCHMARKS]))
    parser.add_argument("--seed", type=int, help="of the streams")
    parser.add_argument("--scale", type=float, help="of the number of repetitions, 1 by default")
    parser.add_argument(
        "--profile",
        action="store_true",
        help=f"where ours spends its time, without its peers: {', '.join(profiles.PROFILED)}",
    )
    asked = parser.parse_args(words)
    chosen = {k: getattr(asked, k) for k in ("seed", "scale") if getattr(asked, k) is not None}
    for name in asked.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}; there are: chaos, {', '.join(BENCHMARKS)}")
    if chosen and (len(asked.names) != 1 or asked.names[0] not in SIMULATIONS):
        parser.error(f"--seed and --scale are for one of {', '.join(SIMULATIONS)}")
    if asked.profile:
        if chosen or len(asked.names) != 1 or asked.names[0] not in profiles.PROFILED:
            parser.error(f"--profile is for one of {', '.join(profiles.PROFILED)}")
        _print(_profile(asked.names[0]))
        return 0
    if len(asked.names) == 1:
        _print(_run(asked.names[0], chosen))
        return 0
    shown = {name: _apart(name) for name in asked.names or sorted(BENCHMARKS)}
    _print(shown)
    return 1 if None in shown.values() else 0


def _print(shown: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(shown).decode() + "\n")


def _run(name: str, chosen: dict[str, Any]) -> dict[str, Any]:
    around = results.surroundings()
    found = BENCHMARKS[name](**chosen)
    if chosen:
        return found
    path = results.record(name, found, around, results.directory())
    sys.stderr.write(f"{name}: kept in {path}\n")
    return found


def _profile(name: str) -> dict[str, Any]:
    around = results.surroundings()
    found = profiles.run(name)
    path = results.record_profile(name, found, around)
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

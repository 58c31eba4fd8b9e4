"""Kills, broker restarts and traffic on the whole loop, and whether its log is exact afterwards.

``python -m loadtest chaos --seed N --kills N --events N``; the harness is in ``tests/chaos``.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from loadtest import results

_HARNESS = Path(__file__).resolve().parents[1] / "tests" / "chaos"


def main(words: Sequence[str]) -> int:
    """Exit code 0 only when the log is exact and everything planned was done."""
    sys.path.insert(0, str(_HARNESS))
    from harness.run import Plan, main_line, ok, run

    usual = {item.name: item.default for item in fields(Plan)}
    parser = argparse.ArgumentParser("loadtest chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="all that is random follows from it")
    parser.add_argument("--kills", type=int, default=usual["kills"])
    parser.add_argument("--events", type=int, default=usual["events"])
    parser.add_argument("--broker-restarts", type=int, default=usual["broker_restarts"])
    parser.add_argument("--rate", type=float, default=usual["rate"], help="events per second")
    parser.add_argument("--windows", type=int, default=usual["windows"])
    parser.add_argument("--commands", type=int, default=usual["commands"])
    parser.add_argument("--least-swaps", type=int, default=usual["least_swaps"])
    parser.add_argument("--keep", type=Path, help="where the broker's data and the logs stay")
    given = parser.parse_args(words)
    plan = Plan(
        seed=secrets.randbelow(2**31) if given.seed is None else given.seed,
        events=given.events,
        kills=given.kills,
        broker_restarts=given.broker_restarts,
        rate=given.rate,
        windows=given.windows,
        commands=given.commands,
        least_swaps=given.least_swaps,
    )
    # A broker that is away is part of it.
    logging.getLogger("driftloop.librdkafka").setLevel(logging.CRITICAL)
    around = results.surroundings()
    figures = run(plan, given.keep)
    result = {"name": "chaos", "ok": ok(figures, plan), **figures}
    # Unless told where, a shorter run must not take the place of the whole one.
    if "LOADTEST_RESULTS" in os.environ or plan.kills >= usual["kills"]:
        results.record("chaos", result, around, results.directory())
    sys.stdout.write(main_line(result) + "\n")
    return 0 if ok(figures, plan) else 1

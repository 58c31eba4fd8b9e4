"""Rounds of several ways to do the same, in turn: a machine whose speed drifts is fair to all."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata

ROUNDS = 7


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """CPU seconds of this process per round and way; the order turns with each round."""
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        ways[name]()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - started)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """How many times longer ``slow`` takes: median of the rounds' ratios, and their range."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def setting(*packages: str) -> dict[str, str]:
    """What a figure depends on besides the code."""
    found = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}


def plain(**ratios: Mapping[str, float]) -> dict[str, object]:
    """Medians at the keys themselves, and under ``spread`` the least and most of each."""
    spread = {name: [r["least"], r["most"]] for name, r in ratios.items()}
    return {**{name: r["median"] for name, r in ratios.items()}, "spread": spread}

"""Cost per event of statistics and inference as events, features and processes grow.

Each point is the processor time of all members of the group per event, threads included, while
they take a backlog of the same number of events. A curve is linear or better where nothing that is
added costs more than what was there before: the cost per feature and per byte does not rise from
one point to the next, no point lies below the straight line between its neighbours (a fixed cost
would hide from the first alone what bends upwards), and an event does not cost more with a process
more; each within a tenth. Of a point's rounds the best counts there: whatever else the machine does
adds to a round, and with the broker two processes are three on two cores. How much the next feature
or byte costs is in ``marginal``; which threads took a point's cost is in ``threads``.

Statistics read predictions, which leave the events' payload behind; so the bytes of events are a
question to inference alone.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from loadtest.ground import Ground, Times, fill_events, fill_predictions, ground, put_in_service
from loadtest.measure import setting
from loadtest.member import Asked
from loadtest.members import Spent, run_members
from loadtest.river_tree import frozen
from loadtest.stream import Encoder, Stream, declared

ROUNDS = 5
FEATURES = (1, 4, 16, 64)
BYTES = (100, 1_000, 10_000)
PROCESSES = (1, 2)
_NARROW = 4
"""Features of the events whose payload grows: 100 bytes hold so many."""
_TOLERANCE = 1.1
_SERVICES = {"statistics": "sketch", "inference": "inference"}


@dataclass(frozen=True, slots=True)
class Shape:
    """One model of the stream."""

    name: str
    features: int
    payload: int
    event_bytes: int
    services: tuple[str, ...]


def run() -> dict[str, Any]:
    events = int(os.environ.get("EVENTS", "1000000"))
    rounds = int(os.environ.get("ROUNDS", str(ROUNDS)))
    points: list[dict[str, Any]] = []
    shapes = _shapes()
    # The first is measured twice: once for the machine, which is slower at the beginning.
    for turn, shape in enumerate((shapes[0], *shapes)):
        # A broker of its own, so that no shape reads or rebalances among the topics of others.
        with (
            tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
            ground(Path(directory)) as on,
        ):
            measured = _points(on, shape, events, rounds if turn else 1)
            points += measured if turn else []
    found = _verdicts(points)
    return {
        "name": "scale",
        "linear_or_better": all(found["linear_or_better"].values()),
        "curves": found["linear_or_better"],
        "marginal": found["marginal"],
        "points": points,
        "rounds": rounds,
        "events": events,
        "setting": setting("confluent-kafka", "numba", "numpy"),
    }


def _shapes() -> list[Shape]:
    shapes = [
        Shape("stream", width, 0, _bytes(width, 0), ("statistics", "inference"))
        for width in FEATURES
    ]
    bare = _bytes(_NARROW, 1)
    for size in BYTES:
        payload = max(1, size - bare)
        shapes.append(Shape("stream", _NARROW, payload, _bytes(_NARROW, payload), ("inference",)))
    return shapes


def _bytes(width: int, payload: int) -> int:
    rows = Stream(width).rows(0, 1)
    return Encoder(width, payload).events(rows, Times().of(rows.ids.at)).total()


def _points(on: Ground, shape: Shape, events: int, rounds: int) -> list[dict[str, Any]]:
    model = declared(shape.name, features=shape.features, payload=shape.payload)
    put_in_service(on, model, frozen(shape.features))
    filled = 0
    costs: dict[tuple[str, int], list[Spent]] = {
        (service, count): [] for service in shape.services for count in PROCESSES
    }

    # Large events come in fewer: their bytes are what the broker and the page cache have to hold.
    number = max(20_000, min(events, 400_000_000 // shape.event_bytes))
    for turn in range(-1, rounds):
        for (service, count), kept in costs.items():
            first, filled = filled, filled + number
            spent = _spent(on, shape, service, count, first, number)
            sys.stderr.write(
                f"round {turn + 1}, {service}, {shape.features} features, {shape.event_bytes} "
                f"bytes, {count} processes: {spent.cpu / number * 1e6:.2f} us/event\n"
            )
            if turn >= 0:
                kept.append(spent)
    return [
        {
            "service": service,
            "features": shape.features,
            "event_bytes": shape.event_bytes,
            "payload": shape.payload,
            "processes": count,
            "us_per_event": statistics.median(used := [spent.cpu / number * 1e6 for spent in kept]),
            "spread": [min(used), max(used)],
            "threads": _by_thread(kept, number),
        }
        for (service, count), kept in costs.items()
    ]


def _by_thread(kept: Sequence[Spent], events: int) -> dict[str, float]:
    """Median us per event of each thread that takes at least a hundredth of one."""
    names = sorted({name for spent in kept for name in spent.threads})
    medians = {
        name: statistics.median(spent.threads.get(name, 0.0) for spent in kept) / events * 1e6
        for name in names
    }
    return {name: used for name, used in medians.items() if used >= 0.01}


def _spent(on: Ground, shape: Shape, service: str, count: int, first: int, number: int) -> Spent:
    topic = f"{shape.name}.{'events' if service == 'inference' else 'predictions'}"

    def fill(committing: Callable[[], None]) -> None:
        if service == "inference":
            fill_events(on, shape.name, shape.features, shape.payload, first, number, committing)
        else:
            fill_predictions(on, shape.name, shape.features, first, number, committing)

    directory = str(on.settings.directory)
    group = "sketch" if service == "statistics" else ""
    asked = Asked(_SERVICES[service], topic, on.bootstrap, directory, group)
    return run_members(on, asked, fill, count=count)


def _verdicts(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    linear: dict[str, bool] = {}
    marginal: dict[str, list[float]] = {}
    for service in _SERVICES:
        own = [p for p in points if p["service"] == service]
        for axis in ("features", "event_bytes"):
            for count in PROCESSES:
                curve = curve_of(own, axis, count)
                if len(curve) > 1:
                    name = f"{service}, {axis}, {count} processes"
                    linear[name] = proportional_at_most(curve) and nowhere_convex(curve)
                    marginal[name] = [(d - b) / (c - a) for (a, b), (c, d) in pairwise(curve)]
        pairs = [
            (p["spread"][0], q["spread"][0])
            for p in own
            for q in own
            if (p["processes"], q["processes"]) == PROCESSES
            and (p["features"], p["payload"]) == (q["features"], q["payload"])
        ]
        # One point may be off; all of them together tell what a process more costs.
        ratio = statistics.median(two / one for one, two in pairs)
        linear[f"{service}, processes"] = ratio <= _TOLERANCE
        marginal[f"{service}, processes"] = [ratio]
    return {"linear_or_better": linear, "marginal": marginal}


def curve_of(
    points: Sequence[dict[str, Any]], axis: str, processes: int
) -> list[tuple[float, float]]:
    """(size, cost of the best round) of one axis, ascending: along features without payload, along
    bytes with it."""
    chosen = [
        (float(p[axis]), float(p["spread"][0]))
        for p in points
        if p["processes"] == processes and (p["payload"] == 0) == (axis == "features")
    ]
    return sorted(chosen)


def proportional_at_most(curve: Sequence[tuple[float, float]]) -> bool:
    """Whether the cost per unit of size never rises from one point to the next."""
    return all(d / c <= _TOLERANCE * b / a for (a, b), (c, d) in pairwise(curve))


def nowhere_convex(curve: Sequence[tuple[float, float]]) -> bool:
    """Whether no point lies below the straight line between its neighbours."""
    return all(
        _TOLERANCE * middle >= low + (high - low) * (b - a) / (c - a)
        for (a, low), (b, middle), (c, high) in zip(curve, curve[1:], curve[2:], strict=False)
    )

"""Predictions of a Hoeffding tree over Kafka: ours against River in Faust and confluent-kafka.

All read the same events of 20 doubles and write the same predictions, from the same tree: River's
own, or the frozen arrays of it. Ours is the inference service itself: transactions with the offsets
in them, checks of every bound, metrics. The peers promise less: at least once, nothing checked.

Every way runs in a process of its own, and its whole processor time counts, all threads included.
The peers are given fewer rows; costs are per row.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.ports import TopicPartition, TopicSpec
from loadtest.ground import Ground, fill_events, ground, put_in_service
from loadtest.measure import plain, ratio, setting
from loadtest.member import Asked as Member
from loadtest.members import Spent, run_members
from loadtest.peers.asked import Asked
from loadtest.river_tree import frozen
from loadtest.stream import declared
from loadtest.turns import by_thread, cost, in_turns, peer

NAME = "stream"
WIDTH = 20
EVENTS, PREDICTIONS = f"{NAME}.events", f"{NAME}.predictions"
ROUNDS = 5
_OUT = "peer.predictions"
_COMPARED = 5_000
_TAKE = 1024
_TOLERANCE = 1e-9

Scores = dict[bytes, tuple[float, bytes]]
"""By id: the score, and the bytes of the features."""


def run() -> dict[str, Any]:
    """Outputs are compared before anything is timed."""
    rows = int(os.environ.get("EVENTS", "500000"))
    rounds = int(os.environ.get("ROUNDS", str(ROUNDS)))
    model = declared(NAME, features=WIDTH)
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        ground(Path(directory)) as on,
    ):
        put_in_service(on, model, frozen(WIDTH))
        on.log.ensure_topics([TopicSpec(_OUT, model.declaration.partitions)])
        ways = _Ways(on)
        _compare(ways)
        sys.stderr.write("equal outputs; timing\n")
        seconds = in_turns(
            {
                "driftloop": lambda: ways.timed(rows),
                "confluent": lambda: cost(ways.theirs("confluent_river", min(rows, 30_000))),
                "faust": lambda: cost(ways.theirs("faust_river", min(rows, 10_000))),
                "faust_take": lambda: cost(ways.theirs("faust_river", min(rows, 10_000), _TAKE)),
            },
            rounds,
        )
    faust = min(("faust", "faust_take"), key=lambda name: statistics.median(seconds[name]))
    return {
        "name": "inference",
        **plain(
            vs_faust_river=ratio(seconds[faust], seconds["driftloop"]),
            vs_confluent_river=ratio(seconds["confluent"], seconds["driftloop"]),
        ),
        "us_per_event": {name: statistics.median(each) for name, each in seconds.items()},
        "us_per_event_by_thread": by_thread(ways.threads, rows),
        "rounds": {"count": rounds, "us_per_event": seconds},
        "faust_peer": faust,
        "rows": rows,
        "features": WIDTH,
        "setting": setting(
            "confluent-kafka", "fastavro", "faust-streaming", "numba", "numpy", "river"
        ),
    }


@dataclass(slots=True)
class _Ways:
    """Ours fills the topic anew each time; the peers take of what it had last."""

    on: Ground
    filled: int = 0
    starts: Mapping[str, int] | None = None
    threads: list[Mapping[str, float]] = field(default_factory=list)

    def ours(self, rows: int) -> Spent:
        self.starts = {str(p): end for p, end in self.on.ends(EVENTS).items()}
        first, self.filled = self.filled, self.filled + rows

        def fill(committing: Callable[[], None]) -> None:
            fill_events(self.on, NAME, WIDTH, 0, first, rows, committing)

        return run_members(self.on, member(self.on), fill)

    def timed(self, rows: int) -> float:
        """Microseconds per event."""
        spent = self.ours(rows)
        self.threads.append(spent.threads)
        return spent.cpu / rows * 1e6

    def theirs(self, name: str, count: int, take: int = 0) -> Mapping[str, Any]:
        asked = Asked(
            self.on.bootstrap, EVENTS, self.starts or {}, count, WIDTH, out=_OUT, take=take
        )
        return peer(name, asked)


def member(on: Ground) -> Member:
    """Ours: the service itself."""
    return Member("inference", EVENTS, on.bootstrap, str(on.settings.directory))


def _compare(ways: _Ways) -> None:
    """The same score for the same event, whoever gives it, and the features as they came."""
    on = ways.on
    before = on.ends(PREDICTIONS)
    ways.ours(_COMPARED)
    ours = _scores(on, PREDICTIONS, before)
    for name, take in (("confluent_river", 0), ("faust_river", 0), ("faust_river", _TAKE)):
        before = on.ends(_OUT)
        ways.theirs(name, _COMPARED, take)
        theirs = _scores(on, _OUT, before)
        if theirs.keys() != ours.keys():
            raise AssertionError(f"{name}: {len(theirs)} predictions, ours {len(ours)}")
        worst = max(abs(theirs[key][0] - score) for key, (score, _) in ours.items())
        if worst > _TOLERANCE or any(theirs[key][1] != f for key, (_, f) in ours.items()):
            raise AssertionError(f"{name}: scores differ by up to {worst}, or features differ")
        sys.stderr.write(f"{name}, take {take}: scores differ by at most {worst:.1e}\n")


def _scores(on: Ground, topic: str, before: Mapping[int, int]) -> Scores:
    found: Scores = {}
    for partition, end in on.ends(topic).items():
        for batch in on.log.read(TopicPartition(topic, partition), before[partition], end):
            block, _, rejected = decode_predictions(
                batch.values, scores=1, numeric=WIDTH, categorical=0
            )
            if rejected:
                raise AssertionError(f"{topic}: {rejected[0].error}")
            features = np.ascontiguousarray(block.features.numeric)
            for row, key in enumerate(block.ids):
                found[key] = (float(block.scores[row, 0]), features[row].tobytes())
    return found

"""Window statistics of 20 numeric features and the score: ours against Faust and confluent-kafka.

All read the same predictions from the same Kafka. Ours is featurestats' sketch stage with its
runner, transactions, changelog and metrics, the bins of the version's profile, quantile buckets and
exact sums; the peers keep floats in memory, without buckets and without a commit of what they made.

Every way runs in a process of its own, and its whole processor time counts, all threads included.
The peers are given fewer rows; costs are per row.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.records import Partial, WindowStatistics
from driftloop.kernel.settings import Settings
from driftloop.kernel.statistics.merge import merge_all, statistics_digest
from driftloop.kernel.statistics.reading import exact_sum
from loadtest.ground import Ground, Times, fill_predictions, ground, put_in_service
from loadtest.measure import plain, ratio, setting
from loadtest.member import Asked as Member
from loadtest.members import run_members
from loadtest.peers.asked import Asked
from loadtest.stream import declared
from loadtest.turns import by_thread, cost, in_turns, peer

NAME = "stream"
WIDTH = 20
TOPIC = f"{NAME}.predictions"
ROUNDS = 5
_COMPARED = 20_000
_EARLIER = Times(start=1_600_000_000_000, rate=500)
"""The compared rows fill several windows, and lie before the others."""
_TAKE = 1024


def run() -> dict[str, Any]:
    """Outputs are compared before anything is timed."""
    rows = int(os.environ.get("EVENTS", "1000000"))
    rounds = int(os.environ.get("ROUNDS", str(ROUNDS)))
    model = declared(NAME, features=WIDTH)
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        ground(Path(directory)) as on,
    ):
        version = put_in_service(on, model)
        asked = Asked(
            on.bootstrap,
            TOPIC,
            {str(p): 0 for p in range(model.declaration.partitions)},
            _COMPARED,
            WIDTH,
            [profile.edges for profile in version.profile.numeric],
            model.declaration.windows.size,
        )
        _compare(on, asked)
        sys.stderr.write("equal outputs; timing\n")
        seconds, threads = _time(on, asked, rows, rounds)
    faust = min(("faust", "faust_take"), key=lambda name: statistics.median(seconds[name]))
    return {
        "name": "statistics",
        **plain(
            vs_faust=ratio(seconds[faust], seconds["driftloop"]),
            vs_confluent=ratio(seconds["confluent"], seconds["driftloop"]),
            of_consume_only=ratio(seconds["consume_only"], seconds["driftloop"]),
        ),
        "us_per_event": {name: statistics.median(each) for name, each in seconds.items()},
        "us_per_event_by_thread": by_thread(threads, rows),
        "rounds": {"count": rounds, "us_per_event": seconds},
        "faust_peer": faust,
        "rows": rows,
        "features": WIDTH,
        "setting": setting("confluent-kafka", "fastavro", "faust-streaming", "numba", "numpy"),
    }


def _time(
    on: Ground, asked: Asked, rows: int, rounds: int
) -> tuple[dict[str, list[float]], list[Mapping[str, float]]]:
    """Costs per way and round, and what each thread of ours used."""
    filled = _COMPARED
    threads: list[Mapping[str, float]] = []
    starts: dict[str, int] = {}

    def ours(service: str) -> float:
        nonlocal filled, starts
        starts = {str(p): end for p, end in on.ends(TOPIC).items()}

        def fill(committing: Callable[[], None]) -> None:
            fill_predictions(on, NAME, WIDTH, filled, rows, committing)

        spent = run_members(on, member(on, service, "timed"), fill)
        filled += rows
        threads.append(spent.threads)
        return spent.cpu / rows * 1e6

    def theirs(name: str, count: int, take: int = 0) -> float:
        # Of the rows that ours had last.
        return cost(peer(name, replace(asked, starts=starts, rows=count, take=take)))

    found = in_turns(
        {
            "driftloop": lambda: ours("sketch"),
            "consume_only": lambda: theirs("consume_only", rows),
            "confluent": lambda: theirs("confluent_statistics", min(rows, 100_000)),
            "faust": lambda: theirs("faust_statistics", min(rows, 30_000)),
            "faust_take": lambda: theirs("faust_statistics", min(rows, 40_000), _TAKE),
        },
        rounds,
    )
    return found, threads


def member(on: Ground, service: str, group: str, batch_rows: int = Settings().batch_rows) -> Member:
    """One of ours over the predictions."""
    directory = str(on.settings.directory)
    return Member(service, TOPIC, on.bootstrap, directory, group, batch_rows=batch_rows)


def _compare(on: Ground, asked: Asked) -> None:
    """The same windows whoever makes them, and ours bit for bit the same in other batches."""

    def fill(committing: Callable[[], None]) -> None:
        fill_predictions(on, NAME, WIDTH, 0, _COMPARED, committing, _EARLIER)

    large = _windows(on, lambda: run_members(on, member(on, "sketch", "large"), fill))
    small = member(on, "sketch", "small", batch_rows=777)
    again = _windows(on, lambda: run_members(on, small, lambda begin: begin()))
    digests = [
        {start: statistics_digest(found) for start, found in windows.items()}
        for windows in (large, again)
    ]
    if digests[0] != digests[1]:
        raise AssertionError("other batches gave other windows")
    for name, take in (
        ("confluent_statistics", 0),
        ("faust_statistics", 0),
        ("faust_statistics", _TAKE),
    ):
        said = peer(name, replace(asked, take=take))["windows"]
        if {int(start) for start in said} != set(large):
            raise AssertionError(f"{name} has the windows {sorted(said)}, ours {sorted(large)}")
        for start, window in said.items():
            _same(large[int(start)], window, name)
        sys.stderr.write(f"{name}, take {take}: {len(said)} equal windows\n")


def _windows(on: Ground, work: Any) -> dict[int, WindowStatistics]:
    """By start: the partials that ``work`` makes are merged as featurestats merges them."""
    topic = on.settings.topics.partials
    before = on.ends(topic)
    work()
    newest: dict[tuple[int, int], Partial] = {}
    for partition, end in on.ends(topic).items():
        for batch in on.log.read(TopicPartition(topic, partition), before[partition], end):
            for value in batch.values:
                partial = codec(Partial).decode(value)
                key = (partial.start, partial.source.partition)
                if key not in newest or newest[key].source.end <= partial.source.end:
                    newest[key] = partial
    starts = sorted({start for start, _ in newest})
    return {
        start: merge_all(p.statistics for (s, _), p in sorted(newest.items()) if s == start)
        for start in starts
    }


def _same(ours: WindowStatistics, theirs: Mapping[str, Any], name: str) -> None:
    if ours.rows != theirs["rows"]:
        raise AssertionError(f"{name}: {theirs['rows']} rows, ours {ours.rows}")
    for k, column in enumerate(ours.numeric):
        counts = (column.count, column.missing, list(column.bins))
        missing = theirs["missing"][k]
        if counts != (theirs["rows"] - missing, missing, theirs["bins"][k]):
            raise AssertionError(f"{name}: other counts in column {column.name}")
        _close(
            f"{name}, {column.name}",
            [theirs["least"][k], theirs["greatest"][k]],
            [column.minimum, column.maximum],
        )
        total, squares = exact_sum(column.sum), exact_sum(column.squares)
        _close(
            f"{name}, {column.name}",
            _moments(column.count, theirs["total"][k], theirs["squares"][k]),
            _moments(column.count, total, squares),
        )


def _moments(count: int, total: float, squares: float) -> list[float]:
    mean = total / count
    return [mean, squares / count - mean * mean]


def _close(name: str, found: Sequence[float], expected: Sequence[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=name)

"""``python -m open_predictions DIRECTORY MILLIONS``: predictions whose labels do not come, through
the join and RocksDB; a few labels of early ones; then all that wait expire at once. One line of
JSON says what it took."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from loadtest.stream import Encoder, Stream, declared

from driftloop.adapters.rocksdb import RocksStore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import Categories, Features, PredictionBlock
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import Outputs
from driftloop.kernel.slices import Slices
from driftloop.kernel.topics import ControlTopics
from driftloop.outcomes.core import OutcomesCore

WIDTH, PARTITIONS, ROWS, EVERY_MS = 20, 2, 8_192, 100
START_MS = 1_700_000_000_000
WRITTEN_MS = START_MS + 365 * 86_400_000
"""By the records' own time, which none of them is ahead of."""
MODEL = declared(features=WIDTH, partitions=PARTITIONS).declaration
EARLY = 200


class Joining:
    """The core, given batches as its runner would give them."""

    def __init__(self, directory: Path) -> None:
        catalog = Catalog(ControlTopics("t.", partitions=1), lambda record: MODEL)
        catalog.declare(MODEL)
        self.core = OutcomesCore(catalog, RocksStore(directory), NullMeter())
        self.joined = 0
        self._offsets: dict[tuple[str, int], int] = {}
        self._now = 0

    def take(self, topic: str, partition: int, values: Slices[bytes]) -> None:
        first, n = self._offsets.get((topic, partition), 0), len(values)
        self._offsets[topic, partition] = first + n
        offsets = range(first, first + n)
        outputs = self.core.process(
            RecordBatch(topic, partition, offsets, [WRITTEN_MS] * n, [None] * n, values)
        )
        self.joined += sum(len(send) for send in outputs.sends)
        self.step()

    def step(self) -> None:
        """What comes of time alone, and a commit."""
        self._now += EVERY_MS
        self.core.on_time(self._now)
        self._commit(self.core.flush())

    @staticmethod
    def _commit(outputs: Outputs) -> None:
        if outputs.committed is not None:
            outputs.committed(0)


def predictions(
    stream: Stream, first: int, rows: np.ndarray, partition: int, time: int = START_MS
) -> Slices[bytes]:
    drawn = stream.rows(first, ROWS)
    n = len(rows)
    return encode_predictions(
        PredictionBlock(
            ids=drawn.ids.take(rows),
            event_time=np.full(n, time, np.int64),
            version=np.ones(n, np.int32),
            scores=np.full((n, 1), 0.5),
            features=Features(drawn.numbers[rows], Categories(np.zeros((n, 0), np.int32), ())),
            shadow_version=np.full(n, -1, np.int32),
            shadow_scores=np.full((n, 1), np.nan),
            source_partition=np.full(n, partition, np.int32),
            source_offset=first + rows,
        )
    )


def partitioned(ids: Slices[bytes]) -> Sequence[np.ndarray]:
    whose = partitions_of(ids, PARTITIONS)
    return [np.flatnonzero(whose == p) for p in range(PARTITIONS)]


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(directory: Path, millions: int) -> None:
    joining, stream = Joining(directory), Stream(WIDTH)
    predicted, labelled = MODEL.topics.predictions, MODEL.topics.labels
    # What is compiled and imported is no part of it.
    warm = Joining(directory.with_name("warm"))
    for partition, rows in enumerate(partitioned(stream.rows(0, ROWS).ids)):
        warm.take(predicted, partition, predictions(stream, 0, rows, partition))
    base = resident_mb()
    peaks: list[float] = []
    first, total = 0, millions * 1_000_000
    while first < total:
        count = min(ROWS, total - first)
        for partition, rows in enumerate(partitioned(stream.rows(first, ROWS).ids)):
            chosen = rows[rows < count]
            joining.take(predicted, partition, predictions(stream, first, chosen, partition))
        if (first + count) // 1_000_000 > len(peaks):
            peaks.append(resident_mb() - base)
        first += count
    early = stream.rows(0, EARLY)
    labels = Encoder(WIDTH).labels(early, np.full(EARLY, START_MS + 1, np.int64))
    for partition, rows in enumerate(partitioned(early.ids)):
        joining.take(labelled, partition, labels.take(rows))
    waiting, _ = joining.core.open_counts()[MODEL.name]
    found: dict[str, Any] = {
        "open": waiting,
        "told": EARLY,
        "joined": joining.joined,
        "peak_mb": peaks,
    }
    # Both topics go on with rows of a time when all those before have expired.
    time = START_MS + 10 * MODEL.labels.horizon
    late = stream.rows(total, ROWS)
    labels = Encoder(WIDTH).labels(late, np.full(ROWS, time, np.int64))
    for partition, rows in enumerate(partitioned(late.ids)):
        joining.take(predicted, partition, predictions(stream, total, rows, partition, time))
        joining.take(labelled, partition, labels.take(rows))
    found["steps"] = 0
    while joining.core.behind():
        joining.step()
        found["steps"] += 1
    waiting, _ = joining.core.open_counts()[MODEL.name]
    found |= {"open_at_last": waiting, "joined_at_last": joining.joined, "late": ROWS}
    found["peak_at_last_mb"] = resident_mb() - base
    sys.stdout.write(orjson.dumps(found).decode() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

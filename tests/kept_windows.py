"""``python -m kept_windows DIRECTORY THOUSANDS``: windows that late rows may still change, through
both stages of featurestats and RocksDB; then a restart, late rows for some of them, and all expire.
One line of JSON says what it took."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
from loadtest.stream import Stream, declared

from driftloop.adapters.rocksdb import RocksStore
from driftloop.featurestats.merge import MergeCore, decode_partials
from driftloop.featurestats.sketch import SketchCore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.blocks import Categories, Features, PredictionBlock
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.records import Window
from driftloop.kernel.stores import Section
from driftloop.kernel.topics import ControlTopics

WIDTH, PARTITIONS, ROWS, SIZE_MS = 20, 2, 100, 10_000
START_MS = 1_700_000_000_000
NAME = "stream"
AT_ONCE = 100
"""Windows between two flushes."""
LATE_EVERY = 97


def catalog() -> Catalog:
    """Windows expire after a year."""
    made = declared(NAME, features=WIDTH, partitions=PARTITIONS, window="10s").declaration
    model = replace(made, windows=replace(made.windows, retention=365 * 86_400_000))
    known = Catalog(ControlTopics("t.", partitions=1), lambda record: model)
    known.declare(model)
    return known


class Statistics:
    """Both cores, given batches as the service would give them."""

    def __init__(self, directory: Path, known: Catalog) -> None:
        self.catalog = known
        self.store = RocksStore(directory, scratch=True)
        self.sketch = SketchCore(known, Section(self.store, b"sketched/"))
        self.merge = MergeCore(known, Section(self.store, b"merged/"), idle_after_ms=1 << 40)
        self.topic = known.models[NAME].topics.predictions
        self.offsets = [0] * PARTITIONS
        self._stream = Stream(WIDTH)

    def take(self, windows: Sequence[int]) -> list[Window]:
        """``ROWS`` rows of each partition for each window."""
        for partition in range(PARTITIONS):
            n = len(windows) * ROWS
            first = self.offsets[partition]
            self.offsets[partition] += n
            times = START_MS + np.repeat(np.array(windows), ROWS) * SIZE_MS
            values = self._predictions(times + np.tile(np.arange(ROWS), len(windows)), partition)
            offsets = range(first, first + n)
            self.sketch.process(
                RecordBatch(self.topic, partition, offsets, [0] * n, [None] * n, values)
            )
        found: list[Window] = []
        for send in self.sketch.flush().sends:
            n = len(send)
            batch = RecordBatch(send.topic, 0, range(n), [0] * n, send.keys, send.values)
            for received in decode_partials(batch)[0]:
                found += self.merge.merge(received.partial, received.encoded, 0)
        found += self.merge.on_time()
        return found

    def _predictions(self, times: np.ndarray, partition: int) -> Sequence[bytes]:
        n = len(times)
        drawn = self._stream.rows(0, n)
        return encode_predictions(
            PredictionBlock(
                ids=drawn.ids,
                event_time=times,
                version=np.zeros(n, np.int32),
                scores=np.full((n, 1), 0.5),
                features=Features(drawn.numbers, Categories(np.zeros((n, 0), np.int32), ())),
                shadow_version=np.full(n, -1, np.int32),
                shadow_scores=np.full((n, 1), np.nan),
                source_partition=np.full(n, partition, np.int32),
                source_offset=np.arange(n),
            )
        )

    def commit(self, changelogs: RocksStore) -> int:
        """Write the entries that changed; how many of them delete."""
        changed = {f"sketch/{key}".encode(): value for key, value in self.sketch.snapshot().items()}
        changed |= {b"merge/" + key: value for key, value in self.merge.entries().items()}
        changelogs.write(changed)
        return sum(value is None for value in changed.values())

    def restore(self, changelogs: RocksStore) -> None:
        """As a service does when it starts: in parts, for all of it may be more than memory."""
        for partition in range(PARTITIONS):
            prefix = f"sketch/{NAME}/predictions/{partition}/".encode()
            part: dict[str, bytes] = {}
            for key, value in changelogs.scan(prefix, prefix + b"\xff"):
                part[key.removeprefix(b"sketch/").decode()] = value
                if len(part) == AT_ONCE:
                    self.sketch.restore(TopicPartition(self.topic, partition), part)
                    part = {}
            self.sketch.restore(TopicPartition(self.topic, partition), part)
        self.merge.restore(
            (key.removeprefix(b"merge/"), value)
            for key, value in changelogs.scan(b"merge/", b"merge/\xff")
        )

    def close(self) -> None:
        self.store.close()


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(directory: Path, thousands: int) -> None:
    known = catalog()
    # What is compiled and imported is no part of it.
    Statistics(directory.with_name("warm"), known).take(range(AT_ONCE))
    changelogs = RocksStore(directory.with_name("changelogs"), scratch=True)
    statistics, base = Statistics(directory, known), resident_mb()
    peaks: list[float] = []
    closed, rows = 0, 0
    total = thousands * 1000
    for first in range(0, total, AT_ONCE):
        found = statistics.take(range(first, first + AT_ONCE))
        statistics.commit(changelogs)
        closed += len(found)
        rows += sum(window.rows for window in found)
        if (first + AT_ONCE) % 1000 == 0:
            peaks.append(resident_mb() - base)
    offsets = statistics.offsets
    statistics.close()
    statistics = Statistics(directory, known)
    began = time.perf_counter()
    statistics.restore(changelogs)
    partials = 2 * PARTITIONS * total
    restored_us = (time.perf_counter() - began) / partials * 1e6
    statistics.offsets = offsets
    restored = resident_mb() - base
    late = range(0, total - 1000, LATE_EVERY)
    revised = statistics.take(late)
    statistics.commit(changelogs)
    report = {
        "closed": closed,
        "rows": rows,
        "late": len(late),
        "revised": sum(window.revision == 1 for window in revised),
        "rows_revised": sum(window.rows for window in revised),
        "peak_mb": peaks,
        "peak_at_restart_mb": restored,
        "restored_us_per_partial_and_stage": restored_us,
    }
    year = 365 * 86_400_000 // SIZE_MS
    statistics.take([total + year + 10])
    report["deleted"] = statistics.commit(changelogs)
    report["kept"] = sum(1 for _ in statistics.store.scan(b"", b"\xff"))
    report["peak_at_last_mb"] = resident_mb() - base
    sys.stdout.write(orjson.dumps(report).decode() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

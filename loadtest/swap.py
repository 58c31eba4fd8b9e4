"""Hot swaps under load: whether anything is lost or misnamed, and what waiting they cause."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.failures import PASSING
from driftloop.adapters.kafka.native.fetching import Fetcher
from driftloop.cli.supervision import Fleet
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.settings import Settings
from driftloop.models.registry import freeze
from loadtest.generator import Load, command
from loadtest.loop import JAVA_OPTIONS, say
from loadtest.measure import setting
from loadtest.served import Shelf, trained
from loadtest.stream import declared

_MODEL = "stream"
_FEATURES = 20
_RATE = 20_000.0
_PHASE_S = 6.0
_SETTLE_S = 1.0
"""At the start of a phase, not measured: the generator's own start."""
_ROUNDS = 5
_SWAP_EVERY_S = 0.5
_PATIENCE_S = 120.0
_TOLERANCE = 1e-12


@dataclass(slots=True)
class Seen:
    """Predictions as a reader of committed records met them."""

    waits: list[Any] = field(default_factory=list)
    answered: int = 0
    misversioned: int = 0
    versions: set[int] = field(default_factory=set)


def run() -> dict[str, Any]:
    """Phases without and with swaps in turns, at the same rate of events."""
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        LocalBroker(Path(directory) / "kafka", heap_mb=1024, java_options=JAVA_OPTIONS) as broker,
    ):
        log = KafkaLog(broker.bootstrap)
        settings = Settings(bootstrap=broker.bootstrap, directory=Path(directory) / "loop")
        log.ensure_topics(settings.topics.specs())
        shelf = Shelf(log, settings)
        shelf.declare([declared(_MODEL, features=_FEATURES)])
        made = [trained(_FEATURES, "lightgbm", seed=1), trained(_FEATURES, seed=2)]
        frozen = {}
        for number in range(1, 5):
            shelf.put(_MODEL, number, made[number % 2])
            frozen[number] = freeze(made[number % 2].model)
        shelf.deploy(_MODEL, 1, 1)
        shelf.flush()
        sequence, first = 1, 0
        before: list[Seen] = []
        during: list[Seen] = []
        with Fleet(settings, ["inference"], progress=say) as fleet:
            fleet.wait_ready()
            for turn in range(_ROUNDS + 1):
                for kept, swapping in ((before, False), (during, True)):
                    seen, sequence = _phase(
                        log, settings, shelf, frozen, first, sequence, swapping=swapping
                    )
                    first += int(_RATE * _PHASE_S)
                    if turn:  # the first round compiles and warms
                        kept.append(seen)
                    say(
                        f"round {turn}, {'swapping' if swapping else 'steady'}: p99 "
                        f"{_p99(seen):.1f} ms, versions {sorted(seen.versions)}"
                    )
        shelf.close()
        log.close()
    ratios = [_p99(d) / _p99(b) for b, d in zip(before, during, strict=True)]
    events = int(_RATE * _PHASE_S)
    return {
        "name": "swap",
        "failed": sum(events - seen.answered for seen in (*before, *during)),
        "misversioned": sum(seen.misversioned for seen in (*before, *during)),
        "p99_ratio": statistics.median(ratios),
        "spread": {"p99_ratio": [min(ratios), max(ratios)]},
        "p99_ms": {
            "before": statistics.median(map(_p99, before)),
            "during": statistics.median(map(_p99, during)),
        },
        "swaps": sequence - 1,
        "events": 2 * _ROUNDS * events,
        "rate": _RATE,
        "rounds": _ROUNDS,
        "setting": setting("confluent-kafka", "numba", "lightgbm"),
    }


def _phase(
    log: KafkaLog,
    settings: Settings,
    shelf: Shelf,
    frozen: dict[int, Any],
    first: int,
    sequence: int,
    *,
    swapping: bool,
) -> tuple[Seen, int]:
    topic = f"{_MODEL}.predictions"
    reader = Fetcher(Configuration(settings.bootstrap).reader(), PASSING)
    ends = log.end_offsets([topic])
    positions: dict[TopicPartition, int] = dict(ends)
    reader.assign(ends)
    events = int(_RATE * _PHASE_S)
    load = Load(
        settings.bootstrap, _MODEL, _FEATURES, events, first=first, rate=_RATE, labels=False
    )
    seen = Seen()
    started = swapped = time.monotonic()
    with subprocess.Popen(command(load), stdout=subprocess.DEVNULL) as generator:
        while seen.answered < events and time.monotonic() - started < _PATIENCE_S:
            if swapping and time.monotonic() - swapped > _SWAP_EVERY_S:
                swapped = time.monotonic()
                sequence += 1
                shelf.deploy(_MODEL, sequence, sequence % len(frozen) + 1)
            for batch in reader.poll(16_384, 0.02, positions):
                _look(seen, batch.values, time.time_ns() / 1e6, frozen)
        generator.wait()
    reader.close()
    shelf.flush()
    return seen, sequence


def _look(seen: Seen, values: Any, now: float, frozen: dict[int, Any]) -> None:
    block, _, rejected = decode_predictions(values, scores=1, numeric=_FEATURES, categorical=0)
    seen.misversioned += len(rejected)
    seen.answered += len(block.event_time)
    seen.waits.append(now - block.event_time)
    for version in np.unique(block.version).tolist():
        seen.versions.add(version)
        rows = np.flatnonzero(block.version == version)
        if version not in frozen:
            seen.misversioned += len(rows)
            continue
        # A sample is enough to tell one version's scores from another's, and cheap enough not to
        # disturb what is measured.
        chosen = rows[:: max(1, len(rows) // 64)]
        features = type(block.features)(
            np.ascontiguousarray(block.features.numeric[chosen]),
            type(block.features.categories)(
                block.features.categories.codes[chosen], block.features.categories.levels
            ),
        )
        expected = frozen[version].score(features)
        wrong = np.abs(expected - block.scores[chosen]).max(axis=1) > _TOLERANCE
        seen.misversioned += int(np.count_nonzero(wrong))


def _p99(seen: Seen) -> float:
    """Of all but the start."""
    waits = np.concatenate(seen.waits)[int(_RATE * _SETTLE_S) :]
    return float(np.percentile(waits, 99))

"""What the benchmarks of single services stand on: a broker, a model in service, filled topics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.adapters.broker import LocalBroker
from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.native.producing import TransactionalProducer
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.kernel.codec.blocks import F64, I64, Categories, Features, PredictionBlock
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import encode_predictions
from driftloop.kernel.ports import Send
from driftloop.kernel.records import Deployment, Profile, Recipe, Stage, Version
from driftloop.kernel.settings import Settings
from driftloop.models.ports import TrainedModel
from driftloop.models.profile import make_profile
from loadtest.stream import Encoder, Rows, Stream


@dataclass(frozen=True, slots=True)
class Times:
    """The event times of rows by their number."""

    start: int = 1_700_000_000_000
    """Of row 0, ms."""
    rate: int = 50_000
    """Rows per second of event time."""

    def of(self, number: I64) -> I64:
        at: I64 = self.start + number * 1000 // self.rate
        return at


_CHUNK = 4096
_FLUSH_S = 60.0
_REFERENCE_ROWS = 16_384
# The project's broker starts fast and compiles little; one that serves for long compiles all.
_BROKER_OPTIONS = ("-XX:TieredStopAtLevel=4",)


@dataclass(frozen=True, slots=True)
class Ground:
    """A broker that runs, and where our processes keep what they keep."""

    settings: Settings
    log: KafkaLog

    @property
    def bootstrap(self) -> str:
        return self.settings.bootstrap

    def ends(self, topic: str) -> dict[int, int]:
        """The offset after the last record of each partition, once all of them are decided: a
        commit is answered before its markers are everywhere."""
        deadline = time.monotonic() + _FLUSH_S
        while True:
            decided = self.log.end_offsets([topic])
            if decided == self.log.high_watermarks([topic]):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} has had a transaction open for {_FLUSH_S:g} s")
            time.sleep(0.01)
        return {s.partition: offset for s, offset in decided.items()}


@contextmanager
def ground(directory: Path) -> Iterator[Ground]:
    """With a broker of its own, stopped at the end."""
    options = list(_BROKER_OPTIONS)
    with LocalBroker(directory / "kafka", heap_mb=1024, java_options=options) as broker:
        settings = Settings(bootstrap=broker.bootstrap, directory=directory / "loop")
        log = KafkaLog(broker.bootstrap)
        yield Ground(settings, log)
        log.close()


def put_in_service(
    on: Ground, model: DeclaredModel, trained: TrainedModel | None = None
) -> Version:
    """Declare a model of :mod:`loadtest.stream` and deploy its version 1, which has a profile of
    the stream: bins for every feature and the score. Without ``trained`` nothing can score."""
    declaration = model.declaration
    name, width = declaration.name, len(declaration.numeric)
    apply_declaration(on.log, on.settings.topics, model, who="load", now=SystemClock().now())
    path, digest = "", ""
    if trained is not None:
        store = DirectoryStore(on.settings.artifacts)
        path, digest = store.put(name, "1", trained.family, trained.arrays, trained.attributes)
    version = Version(
        name, 1, Recipe("load", {}, 0), path, digest, _profile(model, width), {}, (), 0, 0, "", 0
    )
    deployment = Deployment(name, 1, Stage.STEADY, 1, -1, 0, "promoted", 1, 0.0, 0.0, 0, ())
    topics = on.settings.topics
    producer = on.log.producer("load")
    for topic, key, value in (
        (topics.versions, f"{name}/1", codec(Version).encode(version)),
        (topics.deployments, name, codec(Deployment).encode(deployment)),
    ):
        producer.send(Send(topic, [key.encode()], [value], topics.partition(name)))
    producer.flush(_FLUSH_S)
    producer.close()
    return version


def _profile(model: DeclaredModel, width: int) -> Profile:
    rows = Stream(width).rows(0, _REFERENCE_ROWS)
    names = [feature.name for feature in model.declaration.numeric]
    return make_profile(names, [], _features(rows.numbers), _scores(rows.numbers), rows.labels)


def fill_events(
    on: Ground,
    model: str,
    width: int,
    payload: int,
    first: int,
    count: int,
    committing: Callable[[], None],
) -> None:
    """Rows ``first``... of the stream as events; ``committing`` is called before they are seen."""
    stream, encoder, clock = Stream(width), Encoder(width, payload), Times()

    def chunks() -> Iterator[Send]:
        for rows, number in _numbered(stream, first, count):
            values = encoder.events(rows, clock.of(number))
            yield Send(f"{model}.events", rows.ids, values)

    _fill(on, chunks(), committing)


def fill_predictions(
    on: Ground,
    model: str,
    width: int,
    first: int,
    count: int,
    committing: Callable[[], None],
    times: Times | None = None,
) -> None:
    """Rows ``first``... of the stream as predictions of version 1."""
    stream, clock = Stream(width), times or Times()

    def chunks() -> Iterator[Send]:
        for rows, number in _numbered(stream, first, count):
            n = len(number)
            block = PredictionBlock(
                ids=rows.ids,
                event_time=clock.of(number),
                version=np.ones(n, np.int32),
                scores=_scores(rows.numbers),
                features=_features(rows.numbers),
                shadow_version=np.full(n, -1, np.int32),
                shadow_scores=np.full((n, 1), np.nan),
                source_partition=np.zeros(n, np.int32),
                source_offset=number,
            )
            yield Send(f"{model}.predictions", rows.ids, encode_predictions(block))

    _fill(on, chunks(), committing)


def _numbered(stream: Stream, first: int, count: int) -> Iterator[tuple[Rows, I64]]:
    for low in range(first, first + count, _CHUNK):
        n = min(_CHUNK, first + count - low)
        yield stream.rows(low, n), np.arange(low, low + n, dtype=np.int64)


def _fill(on: Ground, sends: Iterator[Send], committing: Callable[[], None]) -> None:
    """In one transaction: whoever waits for them sees them all at once, as a backlog."""
    options = Configuration(on.bootstrap).transactional("load.fill")
    # Full batches: what the broker stores is what a busy cluster stores.
    producer = TransactionalProducer({**options, "linger.ms": 50})
    producer.init(_FLUSH_S)
    producer.begin()
    for send in sends:
        producer.send(send)
    producer.flush(_FLUSH_S)
    committing()
    producer.commit(_FLUSH_S)
    producer.close()


def _features(numbers: F64) -> Features:
    return Features(numbers, Categories(np.zeros((len(numbers), 0), np.int32), ()))


def _scores(numbers: F64) -> F64:
    scores: F64 = 1.0 / (1.0 + np.exp(0.5 - 1.5 * numbers[:, :1]))
    return scores

"""What each benchmark is to reach, what its keys say, and what holds those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """One key of a result."""

    key: str
    says: str
    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    @property
    def bound(self) -> str:
        if self.least is not None:
            return f">= {self.least:,g}"
        return f"<= {self.most:,g}" if self.most else "0"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One NAME of ``make bench NAME=...``."""

    title: str
    wanted: tuple[Wanted, ...]


BENCHMARKS: Mapping[str, Benchmark] = {
    "statistics": Benchmark(
        "Window statistics",
        (
            Wanted("vs_faust", "the same statistics in a Faust agent, CPU", least=75),
            Wanted("vs_confluent", "confluent-kafka, fastavro, event by event, CPU", least=7),
            Wanted("of_consume_only", "of the speed of only taking the bytes", least=0.70),
        ),
    ),
    "inference": Benchmark(
        "Inference over Kafka",
        (
            Wanted("vs_faust_river", "the same tree in River, in a Faust agent, CPU", least=200),
            Wanted("vs_confluent_river", "the same with confluent-kafka, CPU", least=12),
        ),
    ),
    "models": Benchmark(
        "Frozen models",
        (
            Wanted("tree", "Hoeffding tree against River, batch 1024", least=300),
            Wanted("forest", "adaptive random forest against River", least=100),
            Wanted("linear", "logistic regression against River", least=400),
            Wanted("gbdt", "against LightGBM on one thread, batch 1024", least=1.5),
            Wanted("gbdt_single_row", "against LightGBM, one row", least=20),
        ),
    ),
    "http": Benchmark(
        "Predictions over HTTP",
        (
            Wanted("vs_fastapi", "single row, same model, CPU", least=2),
            Wanted("vs_mlserver", "single row, same model, CPU", least=5),
            Wanted("rows64_vs_aiohttp_river", "64 rows a request, CPU", least=10),
        ),
    ),
    "swap": Benchmark(
        "Hot swap under load",
        (
            Wanted("failed", "events without a prediction", most=0),
            Wanted("misversioned", "predictions of another version than they name", most=0),
            Wanted("p99_ratio", "99th percentile during swaps against before", most=1.2),
        ),
    ),
    "train": Benchmark(
        "Training",
        (
            Wanted("linear", "against River's learn_one", least=80),
            Wanted("max_weight_difference", "of the weights", most=1e-12),
        ),
    ),
    "many": Benchmark(
        "A thousand models",
        (Wanted("cost_ratio", "CPU per event with 1,000 models against one", most=1.5),),
    ),
    "loop": Benchmark(
        "The whole loop",
        (
            Wanted("events_per_s", "each with its label, through all six services", least=40_000),
            Wanted("p99_ms", "event to prediction at half that rate", most=250),
        ),
    ),
    "scale": Benchmark(
        "Scale",
        (Wanted("linear_or_better", "cost per feature, byte and process (1: yes)", least=1),),
    ),
    "codec": Benchmark(
        "Codec", (Wanted("vs_fastavro", "decoding flights, record by record", least=1),)
    ),
    "chaos": Benchmark(
        "Chaos",
        (
            Wanted("kills", "SIGKILLs over all services", least=100),
            Wanted("broker_restarts", "one of them by SIGKILL", least=3),
            Wanted("lost", "events without a prediction, labels neither joined nor told", most=0),
            Wanted("duplicated", "", most=0),
            Wanted("misversioned", "", most=0),
            Wanted("mismatched", "windows unlike their recomputation", most=0),
        ),
    ),
}

HELD_BY: Mapping[tuple[str, str], str] = {
    ("statistics", "of_consume_only"): (
        "librdkafka's own threads cost as much as the peer's. Beside them, of the stage's thread: "
        "taking the records over in columns a seventh, decoding a third, the statistics a third, "
        "partials and commits the rest. A prediction's array of doubles is read into one column "
        "and gathered into a matrix from there, which makes it 2 to 3 times as dear to decode as "
        "an event with the same doubles in named fields."
    ),
    ("inference", "vs_faust_river"): (
        "Scoring is a twentieth of ours. The broker threads of librdkafka, which read, compress "
        "and checksum, take two fifths (a quarter to a third of that is LZ4, on doubles that do "
        "not compress); encoding, decoding and taking the records over take most of the rest."
    ),
}
"""For a key that falls short: what a profile says holds it."""

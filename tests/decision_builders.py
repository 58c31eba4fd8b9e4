"""Builders of what the deciding cores read: declaration, catalog, windows, versions, batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import (
    AlertPolicy,
    CandidatePolicy,
    CategoricalFeature,
    Declaration,
    EventFields,
    Format,
    LabelFields,
    NumericFeature,
    PromotionPolicy,
    Task,
    TrainingPolicy,
    WindowPolicy,
)
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import Core, Outputs
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    CategoricalProfile,
    CategoricalStatistics,
    Command,
    CommandAction,
    Deployment,
    Estimate,
    Evidence,
    LossBaseline,
    LossStatistics,
    ModelRecord,
    NumericProfile,
    NumericStatistics,
    OffsetRange,
    PairedStatistics,
    Profile,
    Recipe,
    Run,
    Severity,
    Stream,
    Version,
    Window,
    WindowStatistics,
)
from driftloop.kernel.schemas import parse_schema
from driftloop.kernel.statistics.exact import encode_sum
from driftloop.kernel.statistics.losses import LOSS_BOUND, paired_payoffs
from driftloop.kernel.topics import ControlTopics, ModelTopics

MODEL = "flights"
HOUR = 3_600_000
TOPICS = ControlTopics()
PARTITION = TOPICS.partition(MODEL)
LEAD = TopicPartition(TOPICS.windows, PARTITION)
BINS = 10
LOSS_EDGES = (0.25, 0.4, 0.55, 0.7, 1.0, 2.0)
LOSS_MEANS = (0.2, 0.3, 0.5, 0.6, 0.9, 1.5, 3.0)
RECORDS = {
    TOPICS.alerts: Alert,
    TOPICS.deployments: Deployment,
    TOPICS.estimates: Estimate,
    TOPICS.runs: Run,
    TOPICS.versions: Version,
}


def declaration(**policies: Mapping[str, Any]) -> Declaration:
    """Two features, hourly windows; ``alerts=``, ``training=``, ``promotion=`` change policies."""
    schema = parse_schema('{"type": "record", "name": "E", "fields": []}')
    alerts = AlertPolicy(1.0, 0.1, 0.05, 0.02, 60_000)
    training = TrainingPolicy(
        candidates=(CandidatePolicy("logistic", {}),),
        minimum_labels=1000,
        schedule=0,
        cooldown=0,
        history=0,
        on_alerts=("concept_drift", "data_drift"),
        evaluation_share=0.2,
        time_limit=60.0,
        memory_limit=1 << 30,
        seed=1,
    )
    promotion = PromotionPolicy(error_rate=0.05, maximum_rows=5000, guard_rows=1000)
    return Declaration(
        name=MODEL,
        task=Task.BINARY,
        prior=0.5,
        topics=ModelTopics.of(MODEL),
        partitions=1,
        events=EventFields(Format.AVRO, schema, "id", "at", 0, 1 << 50, 1 << 62),
        labels=LabelFields(Format.AVRO, "id", "label", "at", 100 * HOUR),
        numeric=(NumericFeature("x", -1e9, 1e9),),
        categorical=(CategoricalFeature("c"),),
        windows=WindowPolicy(HOUR, 0, 24 * HOUR),
        alerts=replace(alerts, **policies.get("alerts", {})),
        training=replace(training, **policies.get("training", {})),
        promotion=replace(promotion, **policies.get("promotion", {})),
    )


def catalog(declared: Declaration, *versions: Version) -> Catalog:
    """A catalog that knows one model and these versions."""
    made = Catalog(TOPICS, lambda record: declared)
    record = ModelRecord(MODEL, "", "", "someone", 0)
    made.apply(batch(TOPICS.models, record))
    for each in versions:
        made.apply(batch(TOPICS.versions, each))
    return made


def batch(topic: str, *records: Any, first: int = 0, timestamp: int = 0) -> RecordBatch:
    """Records (or bytes, as they are) of the model's control partition."""
    values = [r if isinstance(r, bytes) else _encoded(r) for r in records]
    n = len(values)
    return RecordBatch(
        topic,
        PARTITION,
        offsets=range(first, first + n),
        timestamps=[timestamp] * n,
        keys=[MODEL.encode()] * n,
        values=values,
    )


def _encoded(record: Any) -> bytes:
    kind: Any = type(record)
    return codec(kind).encode(record)


def sent(outputs: Outputs) -> list[Any]:
    """What a core wants written, decoded, in order."""
    return [
        codec(RECORDS[send.topic]).decode(value) for send in outputs.sends for value in send.values
    ]


def alerts_of(outputs: Outputs) -> list[Alert]:
    """The alerts among what a core wants written."""
    return [record for record in sent(outputs) if isinstance(record, Alert)]


def commit(core: Core, store: dict[str, bytes]) -> None:
    """Bring ``store``, the changelog, up to date as a commit does."""
    for name, value in core.snapshot().items():
        if value is None:
            store.pop(name, None)
        else:
            store[name] = value


def restarted(core: Core, store: dict[str, bytes], make: Callable[[], Core]) -> Core:
    """A new core with the state that ``core`` would have committed; ``store`` is the changelog."""
    commit(core, store)
    fresh = make()
    fresh.restore(LEAD, dict(store))
    return fresh


def profile(rows: int = 20_000, mean_loss: float = 0.4, upper: float = 0.42) -> Profile:
    """Evenly filled bins for ``x`` and the score; 9 in 10 "a" and 1 in 10 "b" for ``c``."""
    even = (rows // BINS,) * BINS
    edges = tuple((i + 1) / BINS for i in range(BINS - 1))
    return Profile(
        rows=rows,
        numeric=tuple(NumericProfile(name, edges, even, 0, 0.0, 1.0) for name in ("x", "score")),
        categorical=(CategoricalProfile("c", ("a", "b"), (rows * 9 // 10, rows // 10), 0),),
        loss=LossBaseline(
            rows,
            mean_loss,
            upper,
            LOSS_BOUND,
            edges=LOSS_EDGES,
            counts=(rows // 2, 0, 0, rows // 2, 0, 0, 0),
            means=LOSS_MEANS,
            errors=rows // 10,
            score_errors=(rows // 100,) * BINS,
            score_losses=(mean_loss * rows / BINS,) * BINS,
        ),
    )


def version(number: int, reference: Profile | None = None, at: int = 0) -> Version:
    return Version(
        model=MODEL,
        version=number,
        recipe=Recipe("logistic", {}, 1),
        artifact=f"{MODEL}/{number}",
        digest="00",
        profile=reference or profile(),
        metrics={},
        sources=(),
        period_start=0,
        period_end=at,
        run_id=f"{MODEL}-{number}",
        created_at=at,
    )


def predictions(
    hour: int,
    x: Sequence[int] = (100,) * BINS,
    *,
    score: Sequence[int] = (100,) * BINS,
    levels: tuple[int, int] = (900, 100),
    unseen: int = 0,
    missing: int = 0,
    outside: int = 0,
    constant: bool = False,
    version: int = 1,
    revision: int = 0,
) -> Window:
    """A window of predictions with these bin counts. ``missing`` values of x come on top,
    ``outside`` of them lie out of range, ``constant`` is whether all are one value."""
    columns = (("x", x, missing, outside), ("score", score, 0, 0))
    numeric = tuple(
        NumericStatistics(
            name,
            sum(bins),
            lost,
            b"",
            b"",
            0.0,
            0.0 if constant and name == "x" else 1.0,
            tuple(bins),
            (),
            (),
            beyond,
        )
        for name, bins, lost, beyond in columns
    )
    categorical = (CategoricalStatistics("c", sum(levels) + unseen, 0, levels, unseen),)
    rows = sum(x) + missing
    statistics = WindowStatistics(rows, numeric, categorical, None)
    return _window(Stream.PREDICTIONS, hour, version, -1, revision, statistics)


def outcomes(
    hour: int,
    loss: Sequence[float] = (),
    *,
    rows: int | None = None,
    difference: Sequence[float] | None = None,
    version: int = 1,
    shadow: int = -1,
    revision: int = 0,
    errors: int = 0,
    parts: int = 1,
) -> Window:
    """A window of outcomes with these losses per row, and the champion's loss less the shadow's
    as a share of the bound. ``rows`` for windows of which only the number matters."""
    paired = None
    if difference is not None:
        d = np.asarray(difference, dtype=np.float64)
        better, worse = paired_payoffs(d)
        paired = PairedStatistics(
            rows=len(d),
            wins=int((d > 0).sum()),
            losses=int((d < 0).sum()),
            ties=int((d == 0).sum()),
            shadow_loss=encode_sum(np.zeros(1)),
            better=tuple(encode_sum(b) for b in better),
            worse=tuple(encode_sum(w) for w in worse),
        )
    losses = np.asarray(loss, dtype=np.float64)
    count = rows if rows is not None else max(len(losses), len(difference or ()))
    bins = np.bincount(np.searchsorted(LOSS_EDGES, losses), minlength=len(LOSS_MEANS))
    statistics = LossStatistics(
        rows=len(losses),
        labels=(len(losses), 0),
        loss=encode_sum(losses),
        loss_squares=encode_sum(losses * losses),
        errors=errors,
        histogram=(),
        bets=(),
        paired=paired,
        bins=tuple(bins.tolist()) if version > 0 else (),
    )
    even = (len(losses) // BINS,) * BINS
    columns = tuple(
        NumericStatistics(name, sum(even), 0, b"", b"", 0.0, 1.0, even, (), ())
        for name in ("x", "score")
    )
    levels = (CategoricalStatistics("c", sum(even), 0, (sum(even), 0), 0),)
    features = (columns, levels) if version > 0 else ((), ())
    whole = WindowStatistics(count, *features, statistics)
    window = _window(Stream.OUTCOMES, hour, version, shadow, revision, whole)
    return replace(window, parts=parts)


def _window(
    stream: Stream,
    hour: int,
    version: int,
    shadow: int,
    revision: int,
    statistics: WindowStatistics,
) -> Window:
    topic = f"{MODEL}.{stream}"
    return Window(
        model=MODEL,
        stream=stream,
        start=hour * HOUR,
        end=(hour + 1) * HOUR,
        version=version,
        shadow=shadow,
        revision=revision,
        rows=statistics.rows,
        late=0,
        sources=(OffsetRange(topic, 0, hour * 1000, hour * 1000 + 1000),),
        watermark=(hour + 1) * HOUR,
        statistics=statistics,
        digest="",
    )


def alert(
    id: str,
    hour: int,
    status: AlertStatus = AlertStatus.OPENED,
    kind: AlertKind = AlertKind.DATA_DRIFT,
) -> Alert:
    """An alert of the window that ends with ``hour``."""
    at = hour * HOUR
    evidence = Evidence("shiryaev_roberts", 1.0, 1.0, 1.0, "psi", 0.1, 1, ())
    return Alert(
        id, MODEL, kind, status, Severity.INFO, "x", 1, 0, at, at, at, (), evidence, "", ""
    )  # fmt: skip


def command(id: str, action: CommandAction, version: int = -1) -> Command:
    return Command(id, MODEL, action, version, "someone", 0, "because")

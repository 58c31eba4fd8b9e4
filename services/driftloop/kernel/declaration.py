"""A model's declaration, checked. ``kernel.declaration_toml`` makes one from TOML text."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from driftloop.kernel.schemas import Schema
from driftloop.kernel.topics import ModelTopics

BUDGET_SHARES: Mapping[str, float] = MappingProxyType(
    {
        "concept_drift": 0.5,
        "data_drift": 0.3,
        "prediction_drift": 0.1,
        "data_quality": 0.1,
    }
)
"""What the false-alarm budget is spent on, unless declared otherwise. ``data_quality`` is missing
values, new categories, values out of range and constant features."""

REFERENCES = ("training", "first_weeks")
"""What windows are compared with: the rows a version was trained on and evaluated with, or those
that it predicted first."""


class Task(enum.StrEnum):
    """What a model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Format(enum.StrEnum):
    """How the user's records are encoded."""

    AVRO = "avro"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """A number; values outside [lowest, highest] are rejected, missing ones are not."""

    name: str
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class VectorFeature:
    """A field that holds an array of numbers, each of which is a numeric feature of its own."""

    field: str
    length: int
    """An event whose array has another length is rejected; a missing array is missing numbers."""
    first: int
    """Place of its first number among the numeric features; the others follow."""

    @staticmethod
    def element(field: str, index: int) -> str:
        """The name of the feature that one of the numbers is."""
        return f"{field}[{index}]"


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """A string (or an integer or boolean taken as one)."""

    name: str


@dataclass(frozen=True, slots=True)
class EventFields:
    """Where the events' id and time are, and what is accepted."""

    format: Format
    schema: Schema
    id: str
    time: str
    """Field with the event time, ms since the epoch."""
    earliest: int
    """Events with an event time outside [earliest, latest) are rejected, ms."""
    latest: int
    ahead: int
    """Events, and labels, with a time that lies further ahead of their record's own are rejected,
    ms: one of them would carry the watermarks along, and make all that follow late."""


@dataclass(frozen=True, slots=True)
class LabelFields:
    """Labels are ``Label`` records (Avro), or JSON objects with these fields."""

    format: Format
    id: str
    label: str
    time: str
    horizon: int
    """A label joins when its time is at most this long after its event's, ms."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    size: int
    """ms"""
    lateness: int
    """Allowed lateness, ms: a window closes when the watermark passes its end by this much."""
    retention: int
    """How long after its closing, in event time, a window still takes late rows, ms."""


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """The false-alarm budget and the effects worth an alert."""

    false_alarms_per_100k: float
    """Over everything that is watched."""
    psi_floor: float
    loss_floor: float
    """Least increase of the mean bounded loss over its baseline: nats; of a regression, the label's
    unit."""
    missing_floor: float
    """Least increase of a feature's missing share."""
    stale_after: int
    """How much later than it is due, ms of processing time, the next window of predictions may be
    written; then the stream is stale. It is due one window's size and lateness after the last."""
    shift_floor: float = 0.2
    """Least shift of a numeric feature, in standard deviations; either this or ``psi_floor``."""
    error_floor: float = 0.02
    """Least increase of the share of errors; either this or ``loss_floor``."""
    unseen_floor: float = 0.005
    """Least increase of a feature's share of new categories."""
    outside_floor: float = 0.005
    """Least increase of a feature's share of values out of the reference's range."""
    shares: Mapping[str, float] = field(default_factory=lambda: BUDGET_SHARES)
    """Keys of :data:`BUDGET_SHARES` to their share of the budget, 1 in sum; 0: not watched."""
    reference: str = "training"
    """One of :data:`REFERENCES`."""
    reference_period: int = 14 * 86_400_000
    """ms of event time that ``first_weeks`` takes."""
    season: tuple[str, ...] = ()
    """Of ``kernel.seasons.SEASONS``: the reference is that of the window's hour or weekday."""
    segment: str = ""
    """A categorical feature, each level of which is watched on its own too; empty: none."""


@dataclass(frozen=True, slots=True)
class CandidatePolicy:
    """One candidate of every run."""

    trainer: str
    parameters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrainingPolicy:
    candidates: tuple[CandidatePolicy, ...]
    minimum_labels: int
    schedule: int
    """A run at least this often, event time in ms; 0: no schedule."""
    cooldown: int
    """Least event time between two runs, ms."""
    history: int
    """Train on outcomes of this much event time before the trigger, ms; 0: all."""
    on_alerts: tuple[str, ...]
    """Kinds of alerts (``AlertKind`` values) that start a run."""
    evaluation_share: float
    """Newest share of the rows, held out for evaluation and the profile's loss baseline."""
    time_limit: float
    """Of a worker, s of wall time."""
    memory_limit: int
    """Of a worker, bytes of address space."""
    seed: int


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    error_rate: float
    """Chance of promoting a candidate that is no better."""
    maximum_rows: int
    """Rows after which an undecided candidate is rejected."""
    guard_rows: int
    """Rows for which a new champion is guarded by the one before it; 0: not guarded."""


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """How the model is served over HTTP."""

    strict: bool = False
    """Answer only when the prediction is on its topic."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """One declared model."""

    name: str
    task: Task
    prior: float | tuple[float, ...]
    """What version 0 answers: the probability of class 1 (binary), that of each class (multiclass),
    or the value (regression)."""
    topics: ModelTopics
    partitions: int
    """Of the model's topics, where driftloop makes them."""
    events: EventFields
    labels: LabelFields
    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    windows: WindowPolicy
    alerts: AlertPolicy
    training: TrainingPolicy
    promotion: PromotionPolicy
    http: HttpPolicy = HttpPolicy()
    vectors: tuple[VectorFeature, ...] = ()
    """Whose elements are among the numeric features."""
    classes: tuple[str, ...] = ()
    """Multiclass: the names; a label is the index of one."""
    error_bound: float = 0.0
    """Regression: where the absolute error of a row is cut, in the label's unit; > 0."""
    digest: str = ""
    """SHA-256, hex, of what was published: the TOML text and the events' schema, UTF-8, with a zero
    byte between them. Empty where it was not made from text."""

    @property
    def label(self) -> str:
        """Of histograms, which have many series: those of a thousand models that share their topics
        would drown Prometheus."""
        return self.topics.events if self.topics.shared else self.name

    @property
    def numeric_fields(self) -> tuple[str, ...]:
        """Per numeric feature the field of the events that it comes from."""
        fields = [part.name for part in self.numeric]
        for vector in self.vectors:
            fields[vector.first : vector.first + vector.length] = [vector.field] * vector.length
        return tuple(fields)

    @property
    def scores(self) -> int:
        """Length of a score vector."""
        return len(self.classes) if self.task is Task.MULTICLASS else 1

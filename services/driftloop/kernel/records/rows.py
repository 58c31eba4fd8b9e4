"""The hot records: one per event. Services handle them as columns; these classes are for people's
code, tests and tools."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true of an event."""

    event_id: str
    label: float
    """The class's index (binary: 0 or 1), or the value of a regression."""
    observed_at: int
    """When it was known, ms."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One event's scores and the features they were made from."""

    event_id: str
    event_time: int
    version: int
    scores: tuple[float, ...]
    """Binary: the probability of class 1. Multiclass: one per class. Regression: the value."""
    numeric: tuple[float, ...]
    """In the order of the declaration's numeric features; NaN is missing."""
    categories: tuple[str | None, ...]
    """In the order of the declaration's categorical features; None is missing."""
    shadow_version: int
    """-1 where no shadow is deployed; then ``shadow_scores`` is empty."""
    shadow_scores: tuple[float, ...]
    source_partition: int
    source_offset: int
    """Where the event lies in the events topic; offset -1 for a request over HTTP."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A prediction and its label."""

    event_id: str
    event_time: int
    outcome_time: int
    """When both were known: the later of event time and the label's time. The event time of
    outcome windows."""
    version: int
    scores: tuple[float, ...]
    numeric: tuple[float, ...]
    categories: tuple[str | None, ...]
    shadow_version: int
    shadow_scores: tuple[float, ...]
    label: float
    label_delay: int
    """Label's time minus event time, ms."""
    prediction_partition: int
    prediction_offset: int
    label_partition: int
    label_offset: int

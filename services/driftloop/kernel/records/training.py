"""Training runs and the versions they publish."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.kernel.records.provenance import OffsetRange


class Trigger(enum.StrEnum):
    """What started a run."""

    INITIAL = "initial"
    ALERT = "alert"
    SCHEDULE = "schedule"
    COMMAND = "command"


class RunStatus(enum.StrEnum):
    STARTED = "started"
    PUBLISHED = "published"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a version's arrays are made again from its offset ranges. Names only, no code."""

    trainer: str
    """A name of the closed registry of trainers."""
    parameters: Mapping[str, float]
    seed: int


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """One candidate of a run, evaluated on the newest labels, which it was not trained on."""

    recipe: Recipe
    metrics: Mapping[str, float]
    """``log_loss``, ``auc``, ``rows``, ``seconds`` (wall, worker), ..."""
    chosen: bool
    reason: str
    """Empty, or why the candidate failed."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run's state; the newest record of an id counts."""

    id: str
    model: str
    status: RunStatus
    trigger: Trigger
    trigger_id: str
    """The alert's or command's id; empty for initial and schedule."""
    at: int
    """Event time of the trigger."""
    period_start: int
    period_end: int
    """The run trains on outcomes with outcome time in [period_start, period_end)."""
    sources: tuple[OffsetRange, ...]
    rows: int
    candidates: tuple[CandidateResult, ...]
    version: int
    """The version published; -1 otherwise."""
    reason: str
    """Why it failed; empty otherwise."""


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """Reference distribution of one numeric column."""

    name: str
    edges: tuple[float, ...]
    """Ascending inner bin edges; bin i holds edges[i-1] < x <= edges[i]."""
    counts: tuple[int, ...]
    """One more than edges."""
    missing: int
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """Reference distribution of one categorical column."""

    name: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int


@dataclass(frozen=True, slots=True)
class LossBaseline:
    """Bounded loss of the version on rows it was not trained on."""

    rows: int
    mean: float
    upper: float
    """Upper 95% confidence bound of the mean; the null hypothesis of concept drift."""
    bound: float
    """Largest loss a row can have."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The reference a version is watched against."""

    rows: int
    numeric: tuple[NumericProfile, ...]
    """The declared numeric features in order, then ``score``."""
    categorical: tuple[CategoricalProfile, ...]
    loss: LossBaseline


@dataclass(frozen=True, slots=True)
class Version:
    """A model version: a recipe, frozen arrays under a digest, and where it came from."""

    model: str
    version: int
    recipe: Recipe
    artifact: str
    """Path of the artifact below the artifact store's root."""
    digest: str
    """SHA-256 (hex) of the artifact's manifest, which holds the digests of its files."""
    profile: Profile
    metrics: Mapping[str, float]
    sources: tuple[OffsetRange, ...]
    period_start: int
    period_end: int
    run_id: str
    created_at: int
    """Event time of the run's trigger."""

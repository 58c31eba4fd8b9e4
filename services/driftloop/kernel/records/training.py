"""Training runs and the versions they publish."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.kernel.records.provenance import OffsetRange
from driftloop.kernel.records.windows import Stream


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
    """Those of the task (``log_loss``, ``auc``, ``accuracy``, ``mae``, ...), ``rows``, ``seconds``
    (wall, worker)."""
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
class Variation:
    """How much the counts of one stream vary over windows, where these are too few to tell its
    dispersion (``models.variation``)."""

    windows: int
    """With rows of the stream."""
    rows: int
    least: float = 0.0
    """The dispersion under which no bet would have won on the windows; 0: nothing is measured, for
    the windows are enough, or so few that they tell nothing."""
    ratios: tuple[float, ...] = ()
    """Sums of the windows' squared deviations by what independent rows would give, in the
    directions that bets go in."""
    freedoms: tuple[float, ...] = ()
    """Of the chi-square that each ratio has the error of."""
    stakes: tuple[float, ...] = ()
    """What part of all bets goes in each one's direction."""


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
    dispersion: float = 1.0
    """How many rows of the stream tell as much as one independent row, at least 1: the variance of
    the bin counts of the reference's windows over that of independent rows."""
    missing_dispersion: float = 1.0
    """The same of the count of missing values."""


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """Reference distribution of one categorical column."""

    name: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int
    dispersion: float = 1.0
    """As of a numeric profile."""
    missing_dispersion: float = 1.0


@dataclass(frozen=True, slots=True)
class LossBaseline:
    """Bounded loss of the version on rows it was not trained on."""

    rows: int
    mean: float
    upper: float
    """Upper 95% confidence bound of the mean; the null hypothesis of concept drift."""
    bound: float
    """Largest loss a row can have."""
    edges: tuple[float, ...] = ()
    """Ascending inner edges of the bins of the loss; bin i holds edges[i-1] < loss <= edges[i]."""
    counts: tuple[int, ...] = ()
    """Rows per bin, one more than edges; empty in versions made before losses were binned: then
    concept drift is not watched."""
    means: tuple[float, ...] = ()
    """Mean loss of each bin's rows."""
    errors: int = 0
    """Rows whose most probable class is not the label; 0 of a regression."""
    dispersion: float = 1.0
    """How many rows tell as much as one independent row, at least 1; of the loss."""
    error_dispersion: float = 1.0
    """The same of the errors."""
    score_errors: tuple[int, ...] = ()
    """Errors per bin of the score's profile (whose counts are these same rows)."""
    score_losses: tuple[float, ...] = ()
    """Sum of losses per bin of the score's profile."""
    window_rows: float = 0.0
    """See ``Profile.window_rows``, of windows of outcomes."""
    variations: tuple[Variation, ...] = ()
    """See ``Profile.variations``; of the losses and of the errors."""


@dataclass(frozen=True, slots=True)
class ReferenceCounts:
    """A part of the reference rows: of a season's slot, of a segment, or of both."""

    stream: Stream
    slot: int
    """Slot of the declared season, ``kernel.seasons``; -1: all."""
    segment: str
    """Level of the segment feature; empty: all."""
    rows: int
    counts: tuple[int, ...]
    """In the layout of the profile for the stream, ``kernel.statistics.layout``."""
    dispersions: tuple[float, ...] = ()
    """Of a segment over all slots: for each place of the layout in order, that of its values (or
    losses) and that of its missing values (or errors). Empty: not known."""
    window_rows: float = 0.0
    """See ``Profile.window_rows``."""
    variations: tuple[Variation, ...] = ()
    """Where there are dispersions, as those."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The reference a version is watched against."""

    rows: int
    numeric: tuple[NumericProfile, ...]
    """The declared numeric features in order, then ``score``."""
    categorical: tuple[CategoricalProfile, ...]
    """The declared categorical features in order; of a multiclass model then ``predicted``, whose
    levels are all classes in their order."""
    loss: LossBaseline
    references: tuple[ReferenceCounts, ...] = ()
    """Where a season or segments are declared."""
    window_rows: float = 0.0
    """The mean over rows of the number of rows in their window of predictions, which the
    dispersions are those of; 0 where that is not known."""
    variations: tuple[Variation, ...] = ()
    """For each column in order that of its values and that of its missing values. Empty in versions
    made before they were kept, and where windows are not known: then the dispersions are taken for
    what they say."""


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

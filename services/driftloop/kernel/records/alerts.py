"""Alerts and their evidence."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from driftloop.kernel.records.provenance import OffsetRange


class AlertKind(enum.StrEnum):
    """One cause each."""

    DATA_DRIFT = "data_drift"
    PREDICTION_DRIFT = "prediction_drift"
    CONCEPT_DRIFT = "concept_drift"
    MISSING_VALUES = "missing_values"
    NEW_CATEGORIES = "new_categories"
    """Values that the reference does not know."""
    OUT_OF_RANGE = "out_of_range"
    """Numbers outside the reference's extremes."""
    CONSTANT = "constant"
    """A feature that has stopped changing."""
    STALE = "stale"
    NOT_LOADED = "not_loaded"
    """A version that is deployed cannot be loaded; the subject is ``artifact``."""


class AlertStatus(enum.StrEnum):
    OPENED = "opened"
    UPDATED = "updated"
    RESOLVED = "resolved"


class Severity(enum.StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


MOST_FINDINGS = 500
"""Of an alert. There may be thousands, of every feature in every segment, with names that an event
chose: all of them may be more than a record holds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One stream of an alert."""

    subject: str
    e_value: float
    """Natural logarithm."""
    effect: float
    effect_name: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why: what the test saw, against what it asks for."""

    statistic: str
    """The test's name, such as ``shiryaev_roberts``."""
    e_value: float
    """The detector's value, natural logarithm."""
    threshold: float
    """What it had to pass, natural logarithm."""
    effect: float
    effect_name: str
    """The effect's unit: ``psi``, ``standardised_shift``, ``loss_increase``, ``error_increase``,
    ``missing_share``, ``unseen_share``, ``outside_share`` (all three more than the reference's),
    ``constant_rows``, ``age_ms`` or ``processes``."""
    effect_floor: float
    rows: int
    """Rows since the suspected onset."""
    windows: tuple[str, ...]
    """Ids of the windows since the suspected onset, oldest first, at most 64 newest. Of old windows
    that are remembered together (``drift.state``) the first is named."""
    share: float = 0.0
    """Share of the model's false-alarm budget that the test has."""
    dispersion: float = 1.0
    """How many rows the test takes for one independent row."""
    reference: str = "training"
    """What was compared with: ``training``, ``first_weeks``, or either and a season's slot."""
    findings: tuple[Finding, ...] = ()
    """The streams that belong to the alert, the strongest first; at most the strongest
    ``MOST_FINDINGS``."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert's opening, update or resolution, under one id."""

    id: str
    model: str
    kind: AlertKind
    status: AlertStatus
    severity: Severity
    subject: str
    """The feature, ``score``, ``loss`` or ``stream``."""
    version: int
    sequence: int
    """0 at the opening, then one more with each record of this alert."""
    opened_at: int
    at: int
    """Event time: the end of the window that led to this record."""
    onset: int
    """Suspected onset: start of the first window that counts towards it."""
    onset_sources: tuple[OffsetRange, ...]
    evidence: Evidence
    summary: str
    action: str
    """What to do."""
    segment: str = ""
    """Level of the declared segment feature; empty: all rows."""
    acknowledged_by: str = ""
    """Who said that they know of it; empty: nobody."""
    snoozed_until: int = 0
    """Processing time, ms, until which nobody wants to hear of it; 0: not snoozed."""
    declaration: str = ""
    """``Declaration.digest`` of the one that its evidence was tested under. A resolution for
    another reason than evidence (another version serves, another declaration watches something
    else) has the evidence of the record before, and names what that was tested under. Empty: no
    test made the alert (``stale``, ``not_loaded``), or an older release did."""

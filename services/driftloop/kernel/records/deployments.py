"""What should be served."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Stage(enum.StrEnum):
    """What a model's deployment is doing."""

    STEADY = "steady"
    """The champion serves alone."""
    SHADOW = "shadow"
    """A candidate scores the same rows; the paired test decides."""
    GUARD = "guard"
    """The champion is new; the one before it scores along and comes back if it proves better."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model's desired state; the newest record counts."""

    model: str
    sequence: int
    """One more with each record of the model."""
    stage: Stage
    champion: int
    shadow: int
    """-1 without one."""
    at: int
    """Event time of what led to it."""
    reason: str
    """``candidate``, ``promoted``, ``rejected``, ``superseded``, ``rolled_back``, ..."""
    subject: int
    """The version the reason is about."""
    e_value: float
    """Of the paired test, natural logarithm; 0 where no test decided."""
    threshold: float
    rows: int
    """Rows compared."""
    windows: tuple[str, ...]
    """Ids of the windows compared, oldest first, at most 64 newest."""

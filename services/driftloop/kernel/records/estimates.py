"""What scores say of losses before labels come."""

from __future__ import annotations

from dataclasses import dataclass

from driftloop.kernel.records.windows import Stream


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one window's rows. The methods and what they cannot see: ``drift.labelfree``."""

    model: str
    version: int
    stream: Stream
    """``predictions``: no label is known. ``outcomes``: the same estimate of rows whose labels are
    known, to compare."""
    window: str
    """Id of the window it was made from; where the shadow changed in it, the ids of its parts with
    ", " between."""
    start: int
    end: int
    rows: int
    metric: str
    """``accuracy``, or ``loss`` (the mean bounded loss)."""
    method: str
    """``cbpe``: confidence-based performance estimation; ``dle``: direct loss estimation."""
    estimate: float
    lower: float
    upper: float
    """``lower`` to ``upper`` is an interval for what the labels of the window's rows will say."""
    confidence: float
    """Of the interval."""
    realised: float
    """By the labels; NaN before they come."""
    caveat: str
    """What the estimate cannot see."""

"""Whether anybody looks after an open alert."""

from __future__ import annotations

import enum

from driftloop.kernel.records import Alert


class Attention(enum.StrEnum):
    OPEN = "open"
    """Nobody has taken it up, or the time it was put off for is over."""
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"


def attention(alert: Alert, now: int) -> Attention:
    """At processing time ``now``, ms. What was said last counts: a snooze that ran out leaves the
    alert open, whoever had acknowledged it before."""
    if alert.snoozed_until > now:
        return Attention.SNOOZED
    if alert.snoozed_until == 0 and alert.acknowledged_by:
        return Attention.ACKNOWLEDGED
    return Attention.OPEN

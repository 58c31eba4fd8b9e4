"""Which part of the log something was made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The records of one topic partition with offsets in [start, end)."""

    topic: str
    partition: int
    start: int
    end: int

"""Slots of a season: which reference a window is compared with, where one is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

_HOUR = 3_600_000
_DAY = 24 * _HOUR

SEASONS: Mapping[str, int] = MappingProxyType({"hour_of_day": _HOUR, "day_of_week": _DAY})
"""Name to the length of one slot, ms. Hours and days are UTC's."""

_COUNTS = {"hour_of_day": 24, "day_of_week": 7}
_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""


def slots(season: Sequence[str]) -> int:
    """How many slots there are; 1 without a season."""
    count = 1
    for name in season:
        count *= _COUNTS[name]
    return count


def slot(season: Sequence[str], at: int) -> int:
    """The slot of a moment (event time, ms), from 0; -1 without a season."""
    if not season:
        return -1
    found = 0
    if "day_of_week" in season:
        found = (at // _DAY + _EPOCH_WEEKDAY) % 7
    if "hour_of_day" in season:
        found = found * 24 + at // _HOUR % 24
    return found

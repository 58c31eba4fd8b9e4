"""Slots of a season: which reference a window is compared with, where one is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

_HOUR = 3_600_000
_DAY = 24 * _HOUR

SEASONS: Mapping[str, int] = MappingProxyType({"hour_of_day": _HOUR, "day_of_week": _DAY})
"""Name to the length of one slot, ms. Hours and days are UTC's."""

_DAYS_OF_WEEK, _HOURS_OF_WEEK = 100, 1000
"""First slots of these seasons; the hours of a day are from 0 on."""
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
    """The slot of a moment (event time, ms); -1 without a season. No slot is one of two seasons."""
    day, hour = (at // _DAY + _EPOCH_WEEKDAY) % 7, at // _HOUR % 24
    match "day_of_week" in season, "hour_of_day" in season:
        case True, True:
            return _HOURS_OF_WEEK + day * 24 + hour
        case True, False:
            return _DAYS_OF_WEEK + day
        case False, True:
            return hour
        case _:
            return -1


def season_of(slots: Iterable[int]) -> tuple[str, ...]:
    """The season that slots are of; of none, or -1 alone, no season."""
    largest = max(slots, default=-1)
    if largest >= _HOURS_OF_WEEK:
        return ("hour_of_day", "day_of_week")
    if largest >= _DAYS_OF_WEEK:
        return ("day_of_week",)
    return ("hour_of_day",) if largest >= 0 else ()

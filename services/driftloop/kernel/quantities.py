"""Quantities as people write them: durations, sizes, dates."""

from __future__ import annotations

import datetime
import re

_DURATIONS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_SIZES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]+)")


def parse_duration(text: str) -> int:
    """ms of ``1d``, ``6h``, ``90s``, ``1.5h``. Raises ValueError saying what would be right."""
    return _quantity(text, _DURATIONS, 'a duration such as "1d", "6h", "30m", "90s" or "250ms"')


def parse_size(text: str) -> int:
    """Bytes of ``2GiB``, ``512MiB``, ``1.5GB``. Raises ValueError saying what would be right."""
    return _quantity(text, _SIZES, 'a size such as "2GiB" or "512MiB"')


def parse_moment(value: str | datetime.date) -> int:
    """ms since the epoch of an ISO date or time; UTC where it names no offset. Raises ValueError
    saying what would be right."""
    try:
        moment: datetime.date
        if isinstance(value, datetime.date):  # a datetime is one too
            moment = value
        else:
            moment = datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(
            f'"{value}" is no date; write one such as 2013-01-31 or 2013-01-31T06:00:00Z'
        ) from error
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(milliseconds=1)


def _quantity(text: str, units: dict[str, int], wanted: str) -> int:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in units:
        raise ValueError(f'"{text}" is not {wanted}')
    number = (
        float(found[1]) * units[found[2]] if "." in found[1] else int(found[1]) * units[found[2]]
    )
    if number != int(number):
        raise ValueError(f'"{text}" is no whole number of {next(iter(units))}')
    return int(number)

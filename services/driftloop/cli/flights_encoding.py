"""Avro records of flights, encoded column by column.

Rows that lack the same values and whose carrier's code is as long have equal length, so each such
group is one packed numpy array, laid out as Avro lays out the record.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.kernel.codec import framing
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.schemas import parse_schema, record_schema

Bytes = npt.NDArray[np.bytes_]

_TIME_BYTES = 6
"""Of a zigzag varint of a time in ms between 2004 and 2039."""


@dataclass(frozen=True, slots=True)
class FlightColumns:
    """Flights as columns of equal length n."""

    id: Bytes
    event_time: I64
    carrier: Bytes
    origin: Bytes
    dest: Bytes
    plain: F64
    """Shape (n, 5): hour, minute, weekday, duration, distance."""
    weather: F64
    """Shape (n, 8); NaN is missing."""
    label: F64
    """NaN is none."""
    observed_at: I64

    def take(self, rows: npt.NDArray[np.intp]) -> FlightColumns:
        """These rows, in this order."""
        return FlightColumns(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def flight_ids(carrier: Bytes, number: I64, origin: Bytes, local: I64) -> Bytes:
    """Such as ``UA1545-EWR-20130101T0515``: all of one length. ``local`` is the scheduled
    departure as ms of a clock in New York."""
    days = (local // 86_400_000).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    month = months.astype(np.int64) % 12 + 1
    year = months.astype("datetime64[Y]").astype(np.int64) + 1970
    minutes = local // 60_000 % 1440
    n = len(number)
    dash = np.full((n, 1), ord("-"), np.uint8)
    parts = [
        _cells(carrier),
        _digits(number, 4),
        dash,
        _cells(origin),
        dash,
        _digits(year, 4),
        _digits(month, 2),
        _digits(day, 2),
        np.full((n, 1), ord("T"), np.uint8),
        _digits(minutes // 60, 2),
        _digits(minutes % 60, 2),
    ]
    joined = np.ascontiguousarray(np.concatenate(parts, axis=1))
    return joined.view(f"S{joined.shape[1]}").ravel()


def encode_events(columns: FlightColumns, schema_text: str) -> list[bytes]:
    """Framed records of ``schemas/models/flights-event.avsc``."""
    start = framing.header(parse_schema(schema_text, source="flights-event.avsc").fingerprint)
    missing = np.isnan(columns.weather)
    pattern = missing @ (1 << np.arange(missing.shape[1]))
    alike = pattern + (np.strings.str_len(columns.carrier) << missing.shape[1])
    encoded: list[bytes] = [b""] * len(columns.event_time)
    for one in np.unique(alike):
        rows = np.flatnonzero(alike == one)
        for row, record in zip(
            rows.tolist(), _encode_alike(columns.take(rows), start), strict=True
        ):
            encoded[row] = record
    return encoded


def encode_labels(columns: FlightColumns) -> list[bytes]:
    """Framed ``Label`` records."""
    start = framing.header(record_schema("label").fingerprint)
    width = columns.id.dtype.itemsize
    layout = [
        ("start", f"S{len(start)}"),
        ("id_length", "u1"),
        ("id", f"S{width}"),
        ("label", "<f8"),
        ("observed_at", "u1", (_TIME_BYTES,)),
    ]
    out = np.zeros(len(columns.id), dtype=np.dtype(layout))
    out["start"] = start
    out["id_length"] = width << 1
    out["id"] = columns.id
    out["label"] = columns.label
    out["observed_at"] = _varints(columns.observed_at)
    return _records(out)


def _encode_alike(columns: FlightColumns, start: bytes) -> list[bytes]:
    """Rows of one length."""
    strings = {
        "id": columns.id,
        "carrier": columns.carrier.astype(f"S{len(columns.carrier[0])}"),
        "origin": columns.origin,
        "dest": columns.dest,
    }
    layout: list[Any] = [("start", f"S{len(start)}")]
    for name, column in strings.items():
        layout += [(f"{name}_length", "u1"), (name, f"S{column.dtype.itemsize}")]
        if name == "id":
            layout.append(("time", "u1", (_TIME_BYTES,)))
    layout.append(("plain", "<f8", (columns.plain.shape[1],)))
    present = ~np.isnan(columns.weather[0])
    for index, here in enumerate(present.tolist()):
        layout.append((f"branch{index}", "u1"))
        if here:
            layout.append((f"weather{index}", "<f8"))
    out = np.zeros(len(columns.id), dtype=np.dtype(layout))
    out["start"] = start
    out["time"] = _varints(columns.event_time)
    for name, column in strings.items():
        out[f"{name}_length"] = column.dtype.itemsize << 1
        out[name] = column
    out["plain"] = columns.plain
    for index in np.flatnonzero(present).tolist():
        out[f"branch{index}"] = 1 << 1
        out[f"weather{index}"] = columns.weather[:, index]
    return _records(out)


def _records(packed: npt.NDArray[np.void]) -> list[bytes]:
    data, size = packed.tobytes(), packed.dtype.itemsize
    return [data[at : at + size] for at in range(0, len(data), size)]


def _varints(times: I64) -> npt.NDArray[np.uint8]:
    """Avro longs of ``_TIME_BYTES`` bytes each."""
    zigzag = times << 1
    if len(times) and (
        zigzag.min() < 1 << 7 * (_TIME_BYTES - 1) or zigzag.max() >= 1 << 7 * _TIME_BYTES
    ):
        raise ValueError("times between 2004 and 2039 were expected")
    groups = zigzag[:, None] >> (7 * np.arange(_TIME_BYTES)) & 0x7F
    groups[:, :-1] |= 0x80
    return groups.astype(np.uint8)


def _digits(values: I64, width: int) -> npt.NDArray[np.uint8]:
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (values[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def _cells(text: Bytes) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(text).view(np.uint8).reshape(len(text), -1)

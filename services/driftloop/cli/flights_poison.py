"""Records that no service can use, to send among the flights: each must become a dead letter."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from driftloop.cli.flights import Flights, event_schema_text
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.records import read_avro
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema, parse_schema

_YEAR_9999 = 253_370_764_800_000

ABSURDITIES: tuple[Mapping[str, Any], ...] = (
    {"distance": 1e12},
    {"carrier": "x" * 900_000},
    {"temperature": 9999.0},
    {"wind_speed": float("inf")},
    {"scheduled_departure": _YEAR_9999},
)
"""Values outside the limits of ``infra/models/flights.toml``, and a category beyond any."""


@dataclass(frozen=True, slots=True)
class Poison:
    """One bad record."""

    key: bytes
    at: int
    """ms: to be sent before the event with this event time."""
    value: bytes
    reason: Reason
    """What the dead letter should say."""


def poisoned(flights: Flights, n: int = 25, seed: int = 13) -> tuple[Poison, ...]:
    """``n`` bad records, spread evenly over the flights, in order: as many truncated, of a wrong
    schema, garbage, not UTF-8 and absurd. The same seed gives the same bytes."""
    if not len(flights):
        return ()
    rng = random.Random(seed)
    schema = parse_schema(event_schema_text(), source="flights-event.avsc")
    spoilers: tuple[tuple[Reason, Callable[[bytes, int], bytes]], ...] = (
        (Reason.TRUNCATED, lambda event, i: event[: rng.randrange(20, len(event))]),
        (Reason.WRONG_SCHEMA, lambda event, i: _of_another_schema(event, rng)),
        (Reason.NOT_AVRO, lambda event, i: b"{" + rng.randbytes(rng.randrange(40, 200))),
        (Reason.NOT_UTF8, lambda event, i: _not_utf8(event, schema)),
        (Reason.OUT_OF_LIMITS, lambda event, i: _absurd(event, schema, i)),
    )
    found = []
    for index in range(n):
        position = (index + 1) * len(flights) // (n + 1)
        reason, spoil = spoilers[index % len(spoilers)]
        value = spoil(flights.events[position], index)
        at = int(flights.event_times[position])
        found.append(Poison(_key(index), at, value, reason))
    return tuple(found)


def _key(index: int) -> bytes:
    return f"poison-{index:02d}".encode()


def _of_another_schema(event: bytes, rng: random.Random) -> bytes:
    return framing.header(rng.randbytes(8)) + event[framing.HEADER_LENGTH :]


def _not_utf8(event: bytes, schema: Schema) -> bytes:
    carrier = read_avro(schema, event[framing.HEADER_LENGTH :])["carrier"].encode()
    field = bytes([len(carrier) << 1]) + carrier
    return event.replace(field, field[:1] + b"\xff" * len(carrier), 1)


def _absurd(event: bytes, schema: Schema, index: int) -> bytes:
    record = read_avro(schema, event[framing.HEADER_LENGTH :])
    record.update(ABSURDITIES[index // 5 % len(ABSURDITIES)])
    record["flight_id"] = _key(index).decode()
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema.parsed, record)
    return framing.header(schema.fingerprint) + out.getvalue()

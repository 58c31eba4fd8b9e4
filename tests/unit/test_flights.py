"""The demo's flights: complete, in order, in the right time zone, encoded as fastavro would."""

from __future__ import annotations

import io
from pathlib import Path

import fastavro
import numpy as np
import pytest

from driftloop.cli.flights import Asked, Flights, event_schema_text, load_flights
from driftloop.cli.flights_poison import ABSURDITIES, poisoned
from driftloop.cli.flights_recoding import ICAO
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.records import codec, read_avro
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.errors import ConfigurationError, DecodeError
from driftloop.kernel.quantities import parse_moment
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Label
from driftloop.kernel.schemas import parse_schema

DECLARATION = Path(__file__).parents[2] / "infra" / "models" / "flights.toml"
SCHEMA = parse_schema(event_schema_text())


@pytest.fixture(scope="module")
def flights() -> Flights:
    return load_flights()


def event(flights: Flights, row: int) -> dict[str, object]:
    plain: dict[str, object] = read_avro(SCHEMA, flights.events[row][framing.HEADER_LENGTH :])
    return plain


def test_every_flight_is_there_once(flights: Flights) -> None:
    assert len(flights) == 336_776
    assert len(set(flights.event_ids)) == 336_776
    assert set(flights.event_ids) == set(flights.label_ids)


def test_events_come_in_event_time_order_and_labels_as_they_become_known(flights: Flights) -> None:
    assert (np.diff(flights.event_times) >= 0).all()
    assert (np.diff(flights.observed_at) >= 0).all()


def test_the_late_share_is_that_of_the_year(flights: Flights) -> None:
    # 77,630 arrived more than 15 minutes late, 9,430 never.
    assert int(flights.labels.sum()) == 77_630 + 9_430


def test_the_first_flight_is_as_the_csv_file_has_it(flights: Flights) -> None:
    first = event(flights, 0)
    assert first["flight_id"] == "UA1545-EWR-20130101T0515"
    assert first["scheduled_departure"] == parse_moment("2013-01-01T05:15:00-05:00")
    assert (first["carrier"], first["origin"], first["dest"]) == ("UA", "EWR", "IAH")
    assert (first["hour"], first["minute"], first["weekday"]) == (5.0, 15.0, 1.0)
    assert first["distance"] == 1400.0
    # 05:15 in New York to 08:19 in Houston, one hour behind.
    assert first["duration"] == 4 * 60 + 4
    assert first["temperature"] == 39.02


def test_summer_time_is_minded(flights: Flights) -> None:
    row = list(flights.event_ids).index(b"US0928-LGA-20130421T1130")
    assert flights.event_times[row] == parse_moment("2013-04-21T11:30:00-04:00")


def test_the_label_is_known_at_the_arrival(flights: Flights) -> None:
    row = list(flights.label_ids).index(b"UA1545-EWR-20130101T0515")
    # Landed at 08:30 in Houston, 11 minutes late.
    assert flights.observed_at[row] == parse_moment("2013-01-01T08:30:00-06:00")
    assert flights.labels[row] == 0.0


def test_labels_come_after_their_events_and_within_three_days(flights: Flights) -> None:
    departures = dict(zip(flights.event_ids, flights.event_times.tolist(), strict=True))
    delays = np.array(flights.observed_at) - np.array([departures[i] for i in flights.label_ids])
    assert delays.min() > 0
    assert delays.max() < 3 * 86_400_000


def test_records_are_byte_for_byte_those_of_fastavro(flights: Flights) -> None:
    for row in range(0, len(flights), 4999):
        plain = event(flights, row)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, SCHEMA.parsed, plain)
        assert flights.events[row] == framing.header(SCHEMA.fingerprint) + out.getvalue()
        assert plain["flight_id"] == flights.event_ids[row].decode()
        assert plain["scheduled_departure"] == flights.event_times[row]
        label = codec(Label).decode(flights.label_records[row])
        assert label.event_id == flights.label_ids[row].decode()
        assert label.label == flights.labels[row]
        assert codec(Label).encode(label) == flights.label_records[row]


def test_every_flight_is_within_the_limits_of_the_declaration(flights: Flights) -> None:
    model = parse_declaration(
        DECLARATION.read_text(encoding="utf-8"), source="x", event_schema=event_schema_text()
    )
    assert model.events.earliest <= flights.event_times[0]
    assert flights.event_times[-1] < model.events.latest
    lowest = np.array([f.lowest for f in model.numeric])
    highest = np.array([f.highest for f in model.numeric])
    names = [f.name for f in model.numeric]
    rows = range(0, len(flights), 101)
    plain = [event(flights, row) for row in rows]
    values = np.array([[p[name] for name in names] for p in plain], dtype=np.float64)
    assert (np.isnan(values) | ((values >= lowest) & (values <= highest))).all()
    assert np.isnan(values).any()


def test_a_part_of_the_year_is_the_beginning_of_the_whole(flights: Flights) -> None:
    until = parse_moment("2013-01-03")
    part = load_flights(until=until)
    assert 0 < len(part) < 2500
    assert part.events == flights.events[: len(part)]
    assert set(part.label_ids) == set(part.event_ids)


def test_what_is_asked_decides_the_labels() -> None:
    until = parse_moment("2013-01-10")
    late, status, delay = (load_flights(until=until, asked=asked) for asked in Asked)
    assert late.events == status.events == delay.events
    assert late.label_ids == status.label_ids
    never = status.labels == 2
    np.testing.assert_array_equal(late.labels == 1, status.labels >= 1)
    # Only flights that arrive have a delay, in the order of their arrivals.
    arrived = [id for id, gone in zip(status.label_ids, never.tolist(), strict=True) if not gone]
    assert list(delay.label_ids) == arrived
    assert 0 < never.sum() < 100
    np.testing.assert_array_equal(delay.labels > 15, status.labels[~never] == 1)


def test_from_a_day_on_carriers_are_icao_codes_and_nothing_else_is_changed() -> None:
    since, until = parse_moment("2013-01-02"), parse_moment("2013-01-04")
    before, after = load_flights(until=until), load_flights(until=until, recoded_from=since)
    assert after.event_ids == before.event_ids
    assert after.label_records == before.label_records
    first = int(np.searchsorted(before.event_times, since))
    assert 0 < first < len(before)
    assert after.events[:first] == before.events[:first]
    for row in range(first, len(before)):
        plain = event(before, row)
        plain["carrier"] = ICAO[str(plain["carrier"]).encode()].decode()
        assert event(after, row) == plain
    assert len(set(ICAO.values())) == len(ICAO)


def test_slices_by_time_are_half_open(flights: Flights) -> None:
    start, end = int(flights.event_times[10]), int(flights.event_times[50])
    ids = [item[0] for item in flights.events_between(start, end)]
    times = flights.event_times
    assert ids == [i for i, t in zip(flights.event_ids, times, strict=True) if start <= t < end]
    labels = list(flights.labels_between(start, end))
    assert all(start <= observed < end for _, _, observed, _ in labels)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"flights\.csv\.zip"):
        load_flights(directory=tmp_path)


def test_poison_is_the_same_every_time_five_of_a_kind_and_spread_out(flights: Flights) -> None:
    bad = poisoned(flights)
    assert bad == poisoned(flights)
    assert len(bad) == 25
    reasons = [p.reason for p in bad]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == dict.fromkeys(
        (
            Reason.TRUNCATED,
            Reason.WRONG_SCHEMA,
            Reason.NOT_AVRO,
            Reason.NOT_UTF8,
            Reason.OUT_OF_LIMITS,
        ),
        5,
    )
    assert len({p.key for p in bad}) == 25
    gaps = np.diff([p.at for p in bad])
    assert (gaps > 7 * 86_400_000).all()


def decode(value: bytes) -> dict[str, object]:
    if framing.frame_of(value).fingerprint != SCHEMA.fingerprint:
        raise DecodeError(Reason.WRONG_SCHEMA, "another fingerprint")
    plain: dict[str, object] = read_avro(SCHEMA, value[framing.HEADER_LENGTH :])
    return plain


def test_poison_is_rejected_for_the_reason_it_names(flights: Flights) -> None:
    undecodable = [bad for bad in poisoned(flights) if bad.reason is not Reason.OUT_OF_LIMITS]
    for bad in undecodable:
        with pytest.raises(DecodeError) as caught:
            decode(bad.value)
        assert caught.value.reason == bad.reason


def test_absurd_poison_has_an_id_of_its_own_and_one_absurd_value(flights: Flights) -> None:
    absurd = [bad for bad in poisoned(flights) if bad.reason is Reason.OUT_OF_LIMITS]
    for bad, change in zip(absurd, ABSURDITIES, strict=True):
        plain = decode(bad.value)
        assert change.items() <= plain.items()
        assert plain["flight_id"] == bad.key.decode()

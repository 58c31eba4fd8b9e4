"""When the meter hears of predictions."""

from __future__ import annotations

from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.inference.tallies import TELL_EVERY_MS, Tallies

PREDICTIONS = 'driftloop_predictions_total{model="m",service="inference",version="%d"} %.1f'


def test_rows_are_told_when_it_is_time_or_nothing_else_is_to_do() -> None:
    meter = PrometheusMeter("inference")
    tallies = Tallies(meter)

    def told(version: int, rows: float) -> bool:
        return PREDICTIONS % (version, rows) in meter.exposition().decode()

    tallies.scored("m", 1, 5, 7000)
    tallies.tell(10_000)
    assert told(1, 5)
    tallies.scored("m", 1, 2, 8000)
    tallies.scored("m", 2, 4, 6000)
    tallies.tell(10_001)
    assert told(1, 5)  # a moment after the last time, and busy
    tallies.tell(10_002)
    assert told(1, 7)
    assert told(2, 4)
    assert 'driftloop_event_time_seconds{model="m",' in meter.exposition().decode()
    tallies.scored("m", 2, 1, 9000)
    tallies.tell(10_002 + TELL_EVERY_MS)
    assert told(2, 5)


def test_a_clock_that_goes_back_delays_nothing() -> None:
    meter = PrometheusMeter("inference")
    tallies = Tallies(meter)
    for now in (10_000, 5_000):
        tallies.scored("m", 1, 1, 7000)
        tallies.tell(now)
    assert PREDICTIONS % (1, 2) in meter.exposition().decode()

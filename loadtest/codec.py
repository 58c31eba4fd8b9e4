"""Decoding a batch of flights by the compiled plan against fastavro, record by record."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from driftloop.cli.applying import load_declaration
from driftloop.cli.flights import load_flights
from driftloop.kernel.codec import framing
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.records import read_avro
from loadtest.measure import interleaved, plain, ratio, setting

_BATCH = 1024
_BATCHES = 20
_FLIGHTS = Path(__file__).resolve().parents[1] / "infra" / "models" / "flights.toml"
_UNTIL = 1_359_676_800_000  # 1 February 2013


def run() -> dict[str, Any]:
    """Outputs are compared before anything is timed."""
    declaration = load_declaration(_FLIGHTS).declaration
    events = load_flights(until=_UNTIL).events[: _BATCH * _BATCHES]
    batches = [events[start : start + _BATCH] for start in range(0, len(events), _BATCH)]
    decoder = EventDecoder(declaration)
    schema = declaration.events.schema
    names = [feature.name for feature in declaration.numeric]

    def plan() -> list[Any]:
        return [decoder.decode(batch)[0] for batch in batches]

    def fastavro() -> list[list[dict[str, Any]]]:
        return [
            [read_avro(schema, value[framing.HEADER_LENGTH :]) for value in batch]
            for batch in batches
        ]

    for block, records in zip(plan(), fastavro(), strict=True):
        expected = np.array(
            [[np.nan if r[n] is None else r[n] for n in names] for r in records], dtype=np.float64
        )
        np.testing.assert_array_equal(block.features.numeric, expected)
    sys.stderr.write("equal outputs; timing\n")
    seconds = interleaved({"plan": plan, "fastavro": fastavro})
    rows = len(events)
    return {
        "name": "codec",
        "rows": rows,
        "batch": _BATCH,
        "us_per_event": {k: statistics.median(v) / rows * 1e6 for k, v in seconds.items()},
        **plain(vs_fastavro=ratio(seconds["fastavro"], seconds["plan"])),
        "setting": setting("fastavro", "numpy", "numba"),
    }

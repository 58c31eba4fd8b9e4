"""A change upstream, made to show what the loop does about one.

Feeds change without a word: here carriers come as ICAO codes (``UAL``) from a day on, where they
came as IATA codes (``UA``) before. No schema notices, for both are strings, and to a model each
carrier is one it never saw.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftloop.cli.flights_encoding import FlightColumns

ICAO = {
    b"9E": b"FLG",
    b"AA": b"AAL",
    b"AS": b"ASA",
    b"B6": b"JBU",
    b"DL": b"DAL",
    b"EV": b"ASQ",
    b"F9": b"FFT",
    b"FL": b"TRS",
    b"HA": b"HAL",
    b"MQ": b"EGF",
    b"OO": b"SKW",
    b"UA": b"UAL",
    b"US": b"AWE",
    b"VX": b"VRD",
    b"WN": b"SWA",
    b"YV": b"ASH",
}
"""Of 2013, by IATA code."""


def recoded(columns: FlightColumns, since: int) -> FlightColumns:
    """Carriers of events from ``since`` (ms) on as ICAO codes; ids and all else as they were."""
    carriers, which = np.unique(columns.carrier, return_inverse=True)
    later = np.array([ICAO[carrier] for carrier in carriers.tolist()])[which]
    return replace(columns, carrier=np.where(columns.event_time >= since, later, columns.carrier))

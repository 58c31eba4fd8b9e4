"""Data drift of categories: false alarms where there are many or where they come in clumps, and how
soon it is found that their mixture is another. All at a budget of 1."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Any

from loadtest.clumps import ALIKE, BURST_WINDOWS, alike, bursts
from loadtest.drifting import interval, rate_interval
from loadtest.levels import LONG_TAILS, MIXED_LEVELS, MIXTURES, TAIL_ROWS, long_tail, mixture

SEED = 1
_STREAMS = 20
"""Of each kind."""
_TAILS = 30
"""Of long ones."""


def run(seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """``scale``: of the number of streams."""
    streams, tails = max(4, round(_STREAMS * scale)), max(4, round(_TAILS * scale))
    found: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    with ProcessPoolExecutor(2) as pool:
        delays: dict[str, dict[str, float]] = {}
        for levels, how in product(MIXED_LEVELS, MIXTURES):
            all_of = list(pool.map(partial(mixture, levels, how, seed), range(streams)))
            rows = [delay for delay in all_of if delay is not None]
            key = f"{levels}_levels_{how.replace(' ', '_')}"
            found[f"missed_{key}"] = len(all_of) - len(rows)
            if rows:
                found[f"delay_{key}"], *spread[f"delay_{key}"] = interval(rows)
                delays.setdefault(f"{levels} levels", {})[how] = found[f"delay_{key}"]
            sys.stderr.write(f"{key}: {found.get(f'delay_{key}')} rows, {len(rows)} found\n")
        for name, alarm, ways in (
            ("alike_levels", alike, ALIKE),
            ("burst", bursts, BURST_WINDOWS),
        ):
            sums = {
                f"{way}{'_floors' if floors else ''}": sum(
                    pool.map(partial(alarm, way, floors, seed), range(streams))
                )
                for way in ways
                for floors in (False, True)
            }
            key = f"fa_per_100k_{name}"
            found[key], *spread[key] = rate_interval(max(sums.values()), streams)
            found[f"{key}_by_way"] = {way: alarms / streams for way, alarms in sums.items()}
            sys.stderr.write(f"{name}: {found[f'{key}_by_way']} in 100,000 rows\n")
        of_tails = [
            sum(pool.map(partial(long_tail, tail, True, TAIL_ROWS, seed), range(tails)))
            for tail in LONG_TAILS
        ]
        key = "fa_per_100k_long_tail"
        of_all = tails * TAIL_ROWS / 100_000 * len(of_tails)
        found[key], *spread[key] = rate_interval(sum(of_tails), of_all)
    return {
        **found,
        "delay_by_levels": delays,
        "spread": spread,
        "streams": {"of_each": streams, "long_tails_of_each": tails},
        "seed": seed,
    }

"""A reference that rows are compared with, and rows that are better than it for a while, or many
more than it has: false alarms, and changes that are there from the first window on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.records import Alert, LossBaseline, Profile, Stream
from driftloop.models.dispersion import share_dispersion
from loadtest.drifting import (
    FLOORS,
    SCORE,
    Watching,
    outcome_windows,
    policy,
    prediction_windows,
    profile_of,
)

RATE = 0.2
"""Of errors, of the held-out rows."""
AFTER_ROWS = 50_000
"""Labels after the return to it."""
BETTER: Mapping[str, tuple[int, float, int]] = {
    "10000_rows_15": (10_000, 0.15, 200),
    "10000_rows_10": (10_000, 0.10, 100),
    "2000_rows_15": (2_000, 0.15, 200),
    "200_rows_15": (200, 0.15, 100),
}
"""Held-out rows, the lower rate of errors, and for how many windows it lasts."""
FIRST: Mapping[str, tuple[int, int, float]] = {
    "errors_200_rows": (200, 1_000, 0.5),
    "errors_2000_rows": (2_000, 20_000, 0.3),
    "feature_1000_rows": (1_000, 20_000, 0.5),
    "feature_10000_rows": (10_000, 100_000, 0.5),
}
"""Rows of the reference and of each window, and the rate of errors or by how many standard
deviations a feature moves."""
SMALL: Mapping[str, tuple[int, int]] = {
    "errors_1000_rows": (200, 1_000),
    "errors_5000_rows": (200, 5_000),
    "features_5000_rows": (1_000, 5_000),
}
"""Rows of the reference and of each window, where nothing changes."""
_SMALL_ROWS = 100_000
_SMALL_FEATURES = 10
_BETTER_WINDOW = 100
_BUDGET = 1.0
_RETURN = (50, 20)
"""Windows of a hundred before a rise of errors, and of it."""


def error_profile(errors: I64, window: int) -> Profile:
    """Of a model whose loss is 0 or 1, with these held-out labels, so many a window."""
    wrong = int(errors.sum())
    rows = len(errors)
    spread = share_dispersion(errors, np.arange(rows, dtype=np.int64) // window)
    loss = LossBaseline(
        rows,
        wrong / rows,
        1.0,
        1.0,
        edges=(0.0,),
        counts=(rows - wrong, wrong),
        means=(0.0, 1.0),
        errors=wrong,
        dispersion=spread,
        error_dispersion=spread,
        score_errors=(wrong,),
        score_losses=(float(wrong),),
    )
    return Profile(rows, (SCORE,), (), loss)


def after_better(way: str, seed: int, index: int, after: int = AFTER_ROWS) -> int:
    """Alerts in the labels after a model that was better than on its held-out rows is as on these
    again. ``way``: of ``BETTER``."""
    known, lower, windows = BETTER[way]
    rng = np.random.default_rng([seed, index, known, round(100 * lower), 9])
    watching = _watching(rng, known)
    errors = np.concatenate(
        [
            rng.binomial(_BETTER_WINDOW, lower, windows),
            rng.binomial(_BETTER_WINDOW, RATE, after // _BETTER_WINDOW),
        ]
    )
    return int(_opened(watching, errors, _BETTER_WINDOW)[windows:].sum())


def missed_first(way: str, seed: int, index: int) -> bool:
    """Whether a change that the first window has, of more rows than the reference, is not found in
    it. ``way``: of ``FIRST``."""
    known, rows, change = FIRST[way]
    rng = np.random.default_rng([seed, index, known, rows, 10])
    if way.startswith("errors"):
        errors = np.array([rng.binomial(rows, change)])
        return not _opened(_watching(rng, known), errors, rows).any()
    profile = profile_of(rng.standard_normal((known, 1)))
    watching = Watching(profile, Stream.PREDICTIONS, policy(_BUDGET))
    (window,) = prediction_windows(profile, change + rng.standard_normal((rows, 1)), rows)
    return not any(alarm.alert.subject == "x0" for alarm in watching.take(window))


def small_reference(way: str, seed: int, index: int) -> int:
    """Alerts in 100,000 rows in windows with more rows than the reference, without a change and
    without floors. ``way``: of ``SMALL``."""
    known, rows = SMALL[way]
    rng = np.random.default_rng([seed, index, known, rows, 11])
    none = dict.fromkeys(FLOORS, 0.0)
    if way.startswith("errors"):
        errors = rng.binomial(rows, RATE, _SMALL_ROWS // rows)
        return int(_opened(_watching(rng, known, **none), errors, rows).sum())
    profile = profile_of(rng.standard_normal((known, _SMALL_FEATURES)))
    watching = Watching(profile, Stream.PREDICTIONS, policy(_BUDGET, **none))
    served = rng.standard_normal((_SMALL_ROWS, _SMALL_FEATURES))
    return sum(len(watching.take(w)) for w in prediction_windows(profile, served, rows))


def recovers(known: int, seed: int, index: int, after: int = 10_000) -> tuple[bool, bool]:
    """Whether twice as many errors are found, and whether that alert is over so many labels after
    they are as few as before; ``known`` held-out rows."""
    rng = np.random.default_rng([seed, index, known, 12])
    watching = _watching(rng, known)
    before, risen = _RETURN
    rates = np.repeat([RATE, 2 * RATE, RATE], [before, risen, after // _BETTER_WINDOW])
    errors = rng.binomial(_BETTER_WINDOW, rates)
    found: list[Alert] = []
    for window in outcome_windows(_two(errors, _BETTER_WINDOW), errors, _BETTER_WINDOW):
        found += [alarm.alert for alarm in watching.take(window)]
        if found and not watching.open:
            return True, True
    return bool(found), False


def rise_found(known: int, seed: int, index: int, after: int = 10_000) -> bool:
    """Whether half as many errors more are found within so many labels, after as many that were
    like the ``known`` held-out rows."""
    rng = np.random.default_rng([seed, index, known, 13])
    windows = after // _BETTER_WINDOW
    errors = rng.binomial(_BETTER_WINDOW, np.repeat([RATE, 1.5 * RATE], windows))
    return bool(_opened(_watching(rng, known), errors, _BETTER_WINDOW)[windows:].any())


def _watching(rng: np.random.Generator, known: int, **floors: float) -> Watching:
    held_out = (rng.random(known) < RATE).astype(np.int64)
    profile = error_profile(held_out, min(known, _BETTER_WINDOW))
    return Watching(profile, Stream.OUTCOMES, policy(_BUDGET, **floors))


def _opened(watching: Watching, errors: I64, rows: int) -> I64:
    """Alerts that each of these windows of ``rows`` opens."""
    windows = outcome_windows(_two(errors, rows), errors, rows)
    return np.array([len(watching.take(window)) for window in windows], dtype=np.int64)


def _two(errors: I64, rows: int) -> I64:
    return np.stack([rows - errors, errors], axis=1)

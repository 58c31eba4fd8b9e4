"""Streams that do not drift, though their rows come in clumps: false alarms in 100,000 rows at a
budget of 1. All rows of a window have a part of their location in common, or their spread, or one
category now and then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.records import CategoricalProfile, Profile, Stream
from driftloop.models.dispersion import dispersion
from driftloop.models.payoffs import Betting
from driftloop.models.variation import variation
from loadtest.drifting import (
    FLOORS,
    SECOND,
    Watching,
    level_windows,
    policy,
    prediction_windows,
    profile_of,
)

_REFERENCE = 10_000
_LONG = 100_000
_WINDOW = 25
_FEATURES = 20
_CLUMPED, _LASTING = 0.1, 0.8
FIRST_WEEKS = (14, 120, 400)
"""Windows of a reference of first weeks."""
SPREADS: Mapping[str, tuple[float, float]] = {
    "lasting": (0.3, 0.8),
    "brief": (0.2, 0.0),
    "first_14": (0.2, 0.8),
    "first_400": (0.2, 0.8),
}
"""Standard deviation of the logarithm of a window's scale, and its autocorrelation from window to
window; which windows show it."""
BURST_WINDOWS: Mapping[str, int] = {"50_rows": 50, "200_rows": 200}
_BURST_LEVELS, _BURST, _BURSTS = 20, 0.3, 0.05
"""One level of so many has so many more of a window's rows, in so many of the windows."""
_SPREAD_WINDOW = 50


@dataclass(frozen=True, slots=True)
class Alike:
    """Of levels whose shares vary from window to window."""

    levels: int
    rows: int
    """Of a window."""
    deviation: float
    """Standard deviation of the logarithm of a window's share of a level."""
    lasting: float
    """Its autocorrelation from window to window."""
    windows: int
    """That training saw."""
    zipf: float = 0.0
    """Exponent of the usual shares."""


ALIKE: Mapping[str, Alike] = {
    "50": Alike(50, 50, 0.4, 0.0, 600),
    "50_lasting": Alike(50, 50, 0.2, 0.8, 600),
    "500": Alike(500, 200, 0.4, 0.0, 600),
    "500_lasting": Alike(500, 200, 0.2, 0.8, 600, 1.0),
    "50_of_20_windows": Alike(50, 50, 0.4, 0.0, 20),
    "500_of_40_windows": Alike(500, 200, 0.3, 0.8, 40, 1.0),
}
SAMPLED_WINDOWS: Mapping[str, int] = {"100_rows": 100, "500_rows": 500}
"""Rows of a window, of which training sees one in ten: those that got a label."""
_SAMPLED, _ALIKE = 10, 0.05
"""The correlation of any two rows of a window."""


def clumped(seed: int, index: int) -> int:
    """Alerts in 100,000 rows at a budget of 1, where what is usual comes in clumps: each window's
    rows have a part of every feature in common, and windows after one another have it too."""
    rng = np.random.default_rng([seed, index, 7])
    reference = _clumps(rng, _REFERENCE)
    profile = _dispersed(reference, _WINDOW)
    watching = Watching(profile, Stream.PREDICTIONS, _policy(False))
    rows = _clumps(rng, _LONG)
    return sum(len(watching.take(w)) for w in prediction_windows(profile, rows, _WINDOW))


def first_weeks(windows: int, seed: int, index: int) -> int:
    """The same where so many windows are the reference, and training showed no clumps."""
    rng = np.random.default_rng([seed, index, 7])
    profile = profile_of(rng.standard_normal((_REFERENCE, _FEATURES)))
    wanted = replace(
        _policy(False),
        reference="first_weeks",
        reference_period=windows * _WINDOW * SECOND,
    )
    watching = Watching(profile, Stream.PREDICTIONS, wanted)
    rows = _clumps(rng, windows * _WINDOW + _LONG)
    return sum(len(watching.take(w)) for w in prediction_windows(profile, rows, _WINDOW))


def _clumps(rng: np.random.Generator, rows: int) -> F64:
    """A tenth of the variance is the window's, an autoregression of .8 from window to window."""
    common = autoregression(rng, (rows // _WINDOW, _FEATURES), _LASTING)
    own = rng.standard_normal((rows, _FEATURES))
    whole = np.repeat(common, _WINDOW, axis=0)
    return np.asarray(np.sqrt(_CLUMPED) * whole + np.sqrt(1.0 - _CLUMPED) * own, dtype=np.float64)


def scaled(way: str, floors: bool, seed: int, index: int) -> int:
    """Alerts in 100,000 rows at a budget of 1, where it is the spread of every feature that each
    window has in common; the training rows show it, or the first windows if ``way`` names some."""
    rng = np.random.default_rng([seed, index, 8])
    deviation, lasting = SPREADS[way]
    weeks = int(way.removeprefix("first_")) if way.startswith("first") else 0
    wanted = _policy(floors)

    def rows(windows: int) -> F64:
        common = autoregression(rng, (windows, _FEATURES), lasting)
        own = rng.standard_normal((windows * _SPREAD_WINDOW, _FEATURES))
        return np.exp(deviation * np.repeat(common, _SPREAD_WINDOW, axis=0)) * own

    if weeks:
        profile = profile_of(rng.standard_normal((_REFERENCE, _FEATURES)))
        period = weeks * _SPREAD_WINDOW * SECOND
        wanted = replace(wanted, reference="first_weeks", reference_period=period)
    else:
        reference = rows(2 * _REFERENCE // _SPREAD_WINDOW)
        profile = _dispersed(reference, _SPREAD_WINDOW)
    watching = Watching(profile, Stream.PREDICTIONS, wanted)
    after = rows(weeks + _LONG // _SPREAD_WINDOW)
    windows = prediction_windows(profile, after, _SPREAD_WINDOW)
    return sum(len(watching.take(w)) for w in windows)


def bursts(way: str, floors: bool, seed: int, index: int) -> int:
    """The same of one categorical feature of which now and then one level has many more rows."""
    rng = np.random.default_rng([seed, index, 9])
    size = BURST_WINDOWS[way]

    def counts(windows: int) -> I64:
        shares = np.full((windows, _BURST_LEVELS), 1 / _BURST_LEVELS)
        at = np.flatnonzero(rng.random(windows) < _BURSTS)
        shares[at] *= 1.0 - _BURST
        shares[at, rng.integers(_BURST_LEVELS, size=len(at))] += _BURST
        return rng.multinomial(size, shares)

    reference = counts(600)
    levels = np.repeat(np.tile(np.arange(_BURST_LEVELS), 600), reference.ravel())
    windows = np.repeat(np.arange(600), size)
    known = dispersion(levels, _BURST_LEVELS, windows, Betting.UNORDERED)
    names = tuple(f"l{i:03d}" for i in range(_BURST_LEVELS))
    column = CategoricalProfile("c", names, tuple(reference.sum(axis=0).tolist()), 0, known)
    profile = profile_of(np.zeros((600 * size, 0)), [column])
    watching = Watching(profile, Stream.PREDICTIONS, _policy(floors))
    after = counts(_LONG // size)
    served = level_windows(profile, after, np.zeros(len(after), dtype=np.int64), size)
    return sum(len(watching.take(w)) for w in served)


def alike(way: str, floors: bool, seed: int, index: int) -> int:
    """The same of one categorical feature of which the windows' shares differ in all levels."""
    rng = np.random.default_rng([seed, index, 11])
    kind = ALIKE[way]
    usual = 1.0 / np.arange(1, kind.levels + 1) ** kind.zipf

    def counts(windows: int) -> I64:
        common = autoregression(rng, (windows, kind.levels), kind.lasting)
        shares = usual * np.exp(kind.deviation * common)
        return rng.multinomial(kind.rows, shares / shares.sum(axis=1, keepdims=True))

    reference = counts(kind.windows)
    each = np.tile(np.arange(kind.levels), kind.windows)
    levels = np.repeat(each, reference.ravel())
    windows = np.repeat(np.arange(kind.windows), kind.rows)
    known = dispersion(levels, kind.levels, windows, Betting.UNORDERED)
    shown = variation(levels, kind.levels, windows, Betting.UNORDERED)
    none = variation(np.zeros(len(levels), dtype=np.int64), 2, windows, Betting.UPPER)
    names = tuple(f"l{i:03d}" for i in range(kind.levels))
    column = CategoricalProfile("c", names, tuple(reference.sum(axis=0).tolist()), 0, known)
    profile = profile_of(np.zeros((len(levels), 0)), [column])
    profile = replace(profile, window_rows=float(kind.rows), variations=(none, none, shown, none))
    watching = Watching(profile, Stream.PREDICTIONS, _policy(floors))
    after = counts(_LONG // kind.rows)
    served = level_windows(profile, after, np.zeros(len(after), dtype=np.int64), kind.rows)
    return sum(len(watching.take(w)) for w in served)


def sampled(way: str, floors: bool, seed: int, index: int) -> int:
    """The same where the rows of training are a tenth of each window's."""
    rng = np.random.default_rng([seed, index, 10])
    size = SAMPLED_WINDOWS[way]

    def rows(windows: int, each: int) -> F64:
        common = np.repeat(rng.standard_normal((windows, _FEATURES)), each, axis=0)
        own = rng.standard_normal((windows * each, _FEATURES))
        return np.asarray(np.sqrt(_ALIKE) * common + np.sqrt(1.0 - _ALIKE) * own, dtype=np.float64)

    seen = size // _SAMPLED
    profile = _dispersed(rows(2 * _REFERENCE // seen, seen), seen)
    watching = Watching(profile, Stream.PREDICTIONS, _policy(floors))
    windows = prediction_windows(profile, rows(_LONG // size, size), size)
    return sum(len(watching.take(w)) for w in windows)


def autoregression(rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> F64:
    """A standard normal autoregression from window to window, (windows, features)."""
    noise = rng.standard_normal(shape)
    noise[0] /= (1.0 - correlation**2) ** 0.5
    found = lfilter([(1.0 - correlation**2) ** 0.5], [1.0, -correlation], noise, axis=0)
    return np.asarray(found, dtype=np.float64)


def _dispersed(reference: F64, window: int) -> Profile:
    """The profile of these rows, as training has it."""
    profile = profile_of(reference)
    blocks = np.arange(len(reference)) // window
    known = [
        dispersion(
            np.searchsorted(np.array(column.edges), reference[:, i], side="left"),
            len(column.counts),
            blocks,
        )
        for i, column in enumerate(profile.numeric[:-1])
    ]
    return replace(profile_of(reference, dispersions=known), window_rows=float(window))


def _policy(floors: bool) -> AlertPolicy:
    """Without floors the tests alone must keep the budget; with them an alert may be over sooner,
    and come again."""
    return policy(1.0) if floors else policy(1.0, **dict.fromkeys(FLOORS, 0.0))

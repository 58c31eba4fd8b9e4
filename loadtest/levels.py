"""Data drift of categories: what must be found in them, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, Categories
from driftloop.kernel.records import AlertKind, CategoricalProfile, Profile, Stream
from driftloop.models.profile import categorical_profile
from loadtest.drifting import FLOORS, Watching, level_windows, policy, profile_of
from loadtest.feature_peers import INDEX, WINDOW, stability_index

_REFERENCE = 10_000
_ROWS = 100_000
_WINDOW = 25
_CHANGE = 5_000
_AFTER = 20_000
_LEVELS = 500
MIXTURES: Mapping[str, tuple[float, float]] = {
    "a fifth doubles": (0.2, 2.0),
    "half have a third": (0.5, 1 / 3),
    "half vanish": (0.5, 0.0),
}
"""What part of the levels changes, and by what factor."""
MIXED_LEVELS = (10, 50, 500)
_MIXTURE_CHANGE = 10_000
_MIXTURE_WINDOW = 100
LONG_TAILS = ((1_000, 200, 1.0), (1_000, 2_000, 1.0), (10_000, 2_000, 1.0), (10_000, 400, 1.2))
"""Rows of the reference, levels, and the exponent of Zipf's law."""
TAIL_ROWS = 50_000
_TAIL_WINDOW = 100


def new_category(budget: float, seed: int, index: int) -> Mapping[str, int | None]:
    """Rows from the first of a new category, one row in a hundred, to its alert."""
    rng = np.random.default_rng([seed, index, 5])
    profile = profile_of(np.zeros((_REFERENCE, 0)), [_levels(rng, 20)])
    windows = (_CHANGE + _AFTER) // _WINDOW
    share = np.where(np.arange(windows) * _WINDOW < _CHANGE, 0.0, 0.01)
    unseen = rng.binomial(_WINDOW, share)
    counts = rng.multinomial(_WINDOW - unseen, np.full(20, 1 / 20))
    flagged = _level_index(profile, counts, unseen)[_CHANGE // WINDOW :] > INDEX
    psi = WINDOW * (1 + int(flagged.argmax())) if flagged.any() else None
    watching = Watching(profile, Stream.PREDICTIONS, policy(budget))
    for window in level_windows(profile, counts, unseen, _WINDOW):
        for alarm in watching.take(window):
            if alarm.alert.kind is AlertKind.NEW_CATEGORIES and alarm.rows > _CHANGE:
                return {"driftloop": alarm.rows - _CHANGE, "psi_0_2": psi}
    return {"driftloop": None, "psi_0_2": psi}


def mixture(levels: int, how: str, seed: int, index: int) -> int | None:
    """Rows from a change of even levels (``MIXTURES``), drawn by lot, to its alert; None where it
    was missed."""
    rng = np.random.default_rng([seed, index, 12, levels])
    part, factor = MIXTURES[how]
    even = np.full(levels, 1.0 / levels)
    profile = profile_of(np.zeros((_REFERENCE, 0)), [_levels(rng, levels)])
    changed = even.copy()
    changed[rng.permutation(levels)[: round(part * levels)]] *= factor
    counts = np.concatenate(
        [
            rng.multinomial(_MIXTURE_WINDOW, share, size=rows // _MIXTURE_WINDOW)
            for share, rows in ((even, _MIXTURE_CHANGE), (changed / changed.sum(), _AFTER))
        ]
    )
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0))
    none = np.zeros(len(counts), dtype=np.int64)
    for window in level_windows(profile, counts, none, _MIXTURE_WINDOW):
        for alarm in watching.take(window):
            if alarm.rows > _MIXTURE_CHANGE:
                return alarm.rows - _MIXTURE_CHANGE
    return None


def many_levels(seed: int, index: int) -> Mapping[str, int]:
    """Alerts in 100,000 rows of a column of 500 levels that has not changed."""
    rng = np.random.default_rng([seed, index, 6])
    profile = profile_of(np.zeros((_REFERENCE, 0)), [_levels(rng, _LEVELS)])
    counts = rng.multinomial(_WINDOW, np.full(_LEVELS, 1 / _LEVELS), size=_ROWS // _WINDOW)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0))
    none = np.zeros(len(counts), dtype=np.int64)
    alarms = sum(len(watching.take(w)) for w in level_windows(profile, counts, none, _WINDOW))
    return {
        "driftloop": alarms,
        "psi_0_2": int((_level_index(profile, counts, none) > INDEX).sum()),
    }


def _level_index(profile: Profile, counts: I64, unseen: I64) -> F64:
    """The stability index of each window of a thousand rows, new values being a level more."""
    (column,) = profile.categorical
    both = np.concatenate([counts, unseen[:, None]], axis=1)
    windows = both.reshape(-1, WINDOW // _WINDOW, both.shape[1]).sum(axis=1)
    reference = np.array([*column.counts, 0])
    return np.array([stability_index(reference, one) for one in windows])


def long_tail(tail: tuple[int, int, float], floors: bool, rows: int, seed: int, index: int) -> int:
    """Alerts in so many rows at a budget of 1, where categories follow Zipf's law, in the reference
    as after it. ``tail`` as in :data:`LONG_TAILS`; without floors the tests alone must keep it."""
    known, levels, exponent = tail
    rng = np.random.default_rng([seed, index, known, levels, 8])
    law = np.arange(1, levels + 1) ** -exponent
    law /= law.sum()
    names = tuple(f"l{i:05d}" for i in rng.permutation(levels).tolist())
    codes = rng.choice(levels, (known, 1), p=law).astype(np.int32)
    column = categorical_profile("c", Categories(codes, (names,)), 0)
    profile = replace(profile_of(np.zeros((known, 0))), categorical=(column,))
    size = len(column.levels)
    place = {level: at for at, level in enumerate(column.levels)}
    places = np.array([place.get(name, size) for name in names])
    drawn = places[rng.choice(levels, (rows // _TAIL_WINDOW, _TAIL_WINDOW), p=law)]
    counts = np.stack([np.bincount(window, minlength=size + 1) for window in drawn])
    none = {} if floors else dict.fromkeys(FLOORS, -1.0)
    watching = Watching(profile, Stream.PREDICTIONS, policy(1.0, **none))
    windows = level_windows(profile, counts[:, :-1], counts[:, -1], _TAIL_WINDOW)
    return sum(len(watching.take(window)) for window in windows)


def _levels(rng: np.random.Generator, levels: int) -> CategoricalProfile:
    counts = rng.multinomial(_REFERENCE, np.full(levels, 1 / levels))
    names = tuple(f"l{i:03d}" for i in range(levels))
    return CategoricalProfile("c", names, tuple(counts.tolist()), 0)

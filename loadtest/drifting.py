"""Streams of windows to look for drift in, as featurestats would make them, and the product's own
track that looks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.stats import chi2

from driftloop.drift.parts import Whole
from driftloop.drift.track import Track
from driftloop.drift.watch import watch
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import (
    Alert,
    AlertStatus,
    CategoricalProfile,
    CategoricalStatistics,
    LossBaseline,
    LossStatistics,
    NumericProfile,
    NumericStatistics,
    OffsetRange,
    Profile,
    Recipe,
    Stream,
    Version,
    Window,
    WindowStatistics,
)
from driftloop.models.profile import numeric_profile

FLOORS = tuple(item.name for item in fields(AlertPolicy) if item.name.endswith("_floor"))
"""Of an alert policy."""

MODEL = "m"
SECOND = 1000
SCORE = NumericProfile("score", (), (1,), 0, 0.0, 0.0)
"""Of one bin: nothing to look at."""
NO_LOSS = LossBaseline(0, 0.0, 1.0, 1.0)
NO_LOSSES = LossStatistics(0, (), b"", b"", 0, (), (), None)


def policy(budget: float, shares: dict[str, float] | None = None, **floors: float) -> AlertPolicy:
    """``budget``: false alarms per 100,000 rows; the shares as declared by default."""
    usual = AlertPolicy(budget, 0.1, 0.02, 0.05, 600_000)
    return replace(usual, **floors, **({} if shares is None else {"shares": shares}))


def version(profile: Profile) -> Version:
    recipe = Recipe("constant", {}, 1)
    return Version(MODEL, 1, recipe, "a", "0", profile, {}, (), 0, 0, f"{MODEL}-1", 0)


@dataclass
class Alarm:
    """An alert's opening."""

    rows: int
    """Rows of the stream by then."""
    alert: Alert


class Watching:
    """One version's windows of one kind, watched as the drift service does."""

    def __init__(self, profile: Profile, stream: Stream, wanted: AlertPolicy) -> None:
        self._watch = watch(version(profile), stream, wanted)
        self._track = Track(Entries(), MODEL, str(stream))
        self.rows = 0
        self.windows = 0
        self.seconds = 0.0
        """Of processor, for all windows."""

    @property
    def open(self) -> int:
        """Alerts open now."""
        return len(self._track.open_alerts())

    def take(self, window: Window) -> list[Alarm]:
        """The alerts that a window opens."""
        self.rows += window.rows
        self.windows += 1
        started = time.process_time()
        said = self._track.take(Whole.of([window]), self._watch, self._watch.counts(window))
        self.seconds += time.process_time() - started
        return [Alarm(self.rows, alert) for alert in said if alert.status is AlertStatus.OPENED]


def window(
    stream: Stream, number: int, rows: int, statistics: WindowStatistics, first: int
) -> Window:
    """Window ``number``, of a row a second."""
    start = number * rows * SECOND
    end = start + rows * SECOND
    source = (OffsetRange(f"{MODEL}.{stream}", 0, first, first + rows),)
    return Window(MODEL, stream, start, end, 1, -1, 0, rows, 0, source, end, statistics, "")


def outcome_windows(bins: I64, errors: I64, rows: int) -> Iterator[Window]:
    """``bins`` (W, B): the counts of each window's losses; ``errors`` (W,)."""
    for number, (counts, wrong) in enumerate(zip(bins.tolist(), errors.tolist(), strict=True)):
        losses = replace(NO_LOSSES, rows=rows, errors=wrong, bins=tuple(counts))
        statistics = WindowStatistics(rows, (), (), losses)
        yield window(Stream.OUTCOMES, number, rows, statistics, number * rows)


def profile_of(
    features: F64, levels: Sequence[CategoricalProfile] = (), dispersions: Sequence[float] = ()
) -> Profile:
    """The profile of reference rows, (n, F), as a version has it."""
    columns = [numeric_profile(f"x{i}", features[:, i]) for i in range(features.shape[1])]
    if dispersions:
        columns = [
            replace(column, dispersion=d) for column, d in zip(columns, dispersions, strict=True)
        ]
    return Profile(len(features), (*columns, SCORE), tuple(levels), NO_LOSS)


def prediction_windows(profile: Profile, features: F64, rows: int) -> Iterator[Window]:
    """Windows of ``rows`` rows each, of numeric features (n, F)."""
    count = len(features) // rows
    columns = []
    for index, column in enumerate(profile.numeric[:-1]):
        values = features[: count * rows, index].reshape(count, rows)
        size = len(column.counts)
        at = np.searchsorted(np.array(column.edges), values, side="left")
        flat = at + size * np.arange(count)[:, None]
        bins = np.bincount(flat.ravel(), minlength=count * size).reshape(count, size)
        outside = ((values < column.minimum) | (values > column.maximum)).sum(axis=1)
        columns.append(
            (column.name, bins.tolist(), outside.tolist(), values.min(axis=1), values.max(axis=1))
        )
    score = NumericStatistics("score", rows, 0, b"", b"", 0.0, 1.0, (rows,), (), ())
    for number in range(count):
        numeric = tuple(
            NumericStatistics(
                name,
                rows,
                0,
                b"",
                b"",
                float(least[number]),
                float(most[number]),
                tuple(bins[number]),
                (),
                (),
                outside[number],
            )
            for name, bins, outside, least, most in columns
        )
        statistics = WindowStatistics(rows, (*numeric, score), (), None)
        yield window(Stream.PREDICTIONS, number, rows, statistics, number * rows)


def level_windows(profile: Profile, levels: I64, unseen: I64, rows: int) -> Iterator[Window]:
    """Windows of one categorical feature: counts of its levels, (W, L), and of new values, (W,)."""
    (column,) = profile.categorical
    score = NumericStatistics("score", rows, 0, b"", b"", 0.0, 1.0, (rows,), (), ())
    for number, (counts, new) in enumerate(zip(levels.tolist(), unseen.tolist(), strict=True)):
        shown = CategoricalStatistics(column.name, rows, 0, tuple(counts), new)
        statistics = WindowStatistics(rows, (score,), (shown,), None)
        yield window(Stream.PREDICTIONS, number, rows, statistics, number * rows)


def interval(values: Sequence[float]) -> list[float]:
    """Mean, and the ends of its 95% interval (normal)."""
    mean = float(np.mean(values))
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return [mean, mean - half, mean + half]


def rate_interval(events: int, trials: float) -> list[float]:
    """Events per trial, and the ends of the exact 95% Poisson interval (Garwood 1936)."""
    low = chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    high = chi2.ppf(0.975, 2 * events + 2) / 2
    return [events / trials, float(low) / trials, float(high) / trials]

"""Windows as vectors of numbers, and the detectors that know their way in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from driftloop.drift.bounds import CONFIDENCE_ERROR
from driftloop.drift.detectors import BinDetector, Detector, LossDetector, MissingDetector
from driftloop.drift.shiryaev import threshold
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import AlertKind, Profile, Stream, Window
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.statistics.losses import BETS

SCORE = "score"


@dataclass(frozen=True, slots=True)
class Watch:
    """Everything watched of one version on one stream."""

    detectors: tuple[Detector, ...]
    threshold: float
    """Of every detector, natural logarithm."""
    length: int
    """Of an observation."""


def watch(profile: Profile, stream: Stream, policy: AlertPolicy) -> Watch:
    """The detectors of a version with this profile.

    The budget is shared evenly by all streams of the version, whichever of the two kinds of
    windows they read: outcomes are no more rows than predictions.
    """
    features = len(profile.numeric) - 1 + len(profile.categorical)
    streams = 2 * features + 2
    limit = threshold(streams, policy.false_alarms_per_100k)
    if stream is Stream.OUTCOMES:
        return Watch((LossDetector(profile.loss),), limit, 2 + len(BETS))
    error = CONFIDENCE_ERROR / streams
    detectors: list[Detector] = []
    at = 0
    columns = [(p.name, p.counts, p.missing) for p in profile.numeric]
    # Values outside the reference's levels are a bin of their own, never seen in the reference.
    columns += [(p.name, (*p.counts, 0), p.missing) for p in profile.categorical]
    for name, counts, missing in columns:
        bins = slice(at, at + len(counts))
        at += len(counts) + 2
        if name == SCORE:
            detectors.append(BinDetector(AlertKind.PREDICTION_DRIFT, name, bins, counts, error))
            continue
        detectors.append(BinDetector(AlertKind.DATA_DRIFT, name, bins, counts, error))
        rows = sum(counts) + missing
        detectors.append(MissingDetector(name, slice(at - 2, at), missing, rows, error))
    return Watch(tuple(detectors), limit, at)


def observe(window: Window, profile: Profile) -> F64:
    """A window's observation, in the layout that :func:`watch` gave the detectors.

    Raises :class:`DecodeError` when the window does not fit the profile.
    """
    statistics = window.statistics
    if window.stream is Stream.OUTCOMES:
        loss = statistics.loss
        if loss is None or len(loss.bets) != len(BETS):
            raise DecodeError(
                Reason.MALFORMED, f"window {window.id} does not have {len(BETS)} bets on its loss"
            )
        sums = [exact_sum(loss.loss), *(exact_sum(bet) for bet in loss.bets)]
        if not all(map(math.isfinite, sums)):
            raise DecodeError(Reason.OUT_OF_LIMITS, f"window {window.id} has infinite losses")
        return np.array([float(loss.rows), *sums])
    values: list[int] = []
    numeric, categorical = statistics.numeric, statistics.categorical
    if len(numeric) != len(profile.numeric) or len(categorical) != len(profile.categorical):
        raise _misfit(window, "its columns")
    for column, reference in zip(numeric, profile.numeric, strict=True):
        if (column.name, len(column.bins)) != (reference.name, len(reference.counts)):
            raise _misfit(window, f"column {column.name!r}")
        values += [*column.bins, column.missing, column.count]
    for levels, known in zip(categorical, profile.categorical, strict=True):
        if (levels.name, len(levels.levels)) != (known.name, len(known.counts)):
            raise _misfit(window, f"column {levels.name!r}")
        values += [*levels.levels, levels.unseen, levels.missing, levels.count]
    return np.array(values, dtype=np.float64)


def _misfit(window: Window, what: str) -> DecodeError:
    return DecodeError(
        Reason.MALFORMED,
        f"window {window.id}: {what} do not fit version {window.version}'s profile",
    )

"""Adding window statistics.

Addition is associative and commutative and never rounds, so partials may be merged in any order.
What is merged belongs to one model, stream, version and shadow.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from functools import cache, reduce

import fastavro

from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import (
    CategoricalStatistics,
    LossStatistics,
    NumericStatistics,
    PairedStatistics,
    SegmentStatistics,
    WindowStatistics,
)
from driftloop.kernel.schemas import Schema, parse_schema, record_schema
from driftloop.kernel.statistics.exact import add_sums

_DIGEST_SCHEMA_VERSION = 2
"""Digests are of the statistics as this version of the window's schema writes them, so that a
recomputation years later compares."""


def merge_statistics(a: WindowStatistics, b: WindowStatistics) -> WindowStatistics:
    """The statistics of both windows' rows. Raises :class:`DecodeError` where the columns, bins or
    levels differ."""
    _same("columns", [s.name for s in a.numeric], [s.name for s in b.numeric])
    _same("columns", [s.name for s in a.categorical], [s.name for s in b.categorical])
    return WindowStatistics(
        rows=a.rows + b.rows,
        numeric=tuple(map(_merge_numeric, a.numeric, b.numeric)),
        categorical=tuple(map(_merge_categorical, a.categorical, b.categorical)),
        loss=_merge_loss(a.loss, b.loss),
        segments=_merge_segments(a.segments, b.segments),
    )


def merge_all(statistics: Iterable[WindowStatistics]) -> WindowStatistics:
    """Of at least one."""
    return reduce(merge_statistics, statistics)


def statistics_digest(statistics: WindowStatistics) -> str:
    """SHA-256 (hex) of the Avro encoding of ``statistics``."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _statistics_schema().parsed, to_plain(statistics))
    return hashlib.sha256(out.getvalue()).hexdigest()


@cache
def _statistics_schema() -> Schema:
    window = json.loads(record_schema("window", _DIGEST_SCHEMA_VERSION).text)
    (field,) = [f for f in window["fields"] if f["name"] == "statistics"]
    return parse_schema(json.dumps(field["type"]), source="window's field statistics")


def _merge_numeric(a: NumericStatistics, b: NumericStatistics) -> NumericStatistics:
    extremes = [s for s in (a, b) if s.count]
    buckets = dict(zip(a.buckets, a.bucket_counts, strict=True))
    for index, count in zip(b.buckets, b.bucket_counts, strict=True):
        buckets[index] = buckets.get(index, 0) + count
    indices = sorted(buckets)
    return NumericStatistics(
        name=a.name,
        count=a.count + b.count,
        missing=a.missing + b.missing,
        sum=add_sums(a.sum, b.sum),
        squares=add_sums(a.squares, b.squares),
        minimum=min((s.minimum for s in extremes), default=a.minimum),
        maximum=max((s.maximum for s in extremes), default=a.maximum),
        bins=_add(a.bins, b.bins),
        buckets=tuple(indices),
        bucket_counts=tuple(buckets[index] for index in indices),
        outside=a.outside + b.outside,
    )


def _merge_categorical(a: CategoricalStatistics, b: CategoricalStatistics) -> CategoricalStatistics:
    return CategoricalStatistics(
        name=a.name,
        count=a.count + b.count,
        missing=a.missing + b.missing,
        levels=_add(a.levels, b.levels),
        unseen=a.unseen + b.unseen,
    )


def _merge_loss(a: LossStatistics | None, b: LossStatistics | None) -> LossStatistics | None:
    if a is None or b is None:
        _same("presence of losses", a is None, b is None)
        return None
    return LossStatistics(
        rows=a.rows + b.rows,
        labels=_add(a.labels, b.labels),
        loss=add_sums(a.loss, b.loss),
        loss_squares=add_sums(a.loss_squares, b.loss_squares),
        errors=a.errors + b.errors,
        histogram=_add(a.histogram, b.histogram),
        bets=_add_exact(a.bets, b.bets),
        paired=_merge_paired(a.paired, b.paired),
        bins=_add(a.bins, b.bins),
    )


def _merge_paired(
    a: PairedStatistics | None, b: PairedStatistics | None
) -> PairedStatistics | None:
    if a is None or b is None:
        _same("presence of a shadow", a is None, b is None)
        return None
    return PairedStatistics(
        rows=a.rows + b.rows,
        wins=a.wins + b.wins,
        losses=a.losses + b.losses,
        ties=a.ties + b.ties,
        shadow_loss=add_sums(a.shadow_loss, b.shadow_loss),
        better=_add_exact(a.better, b.better),
        worse=_add_exact(a.worse, b.worse),
    )


def _merge_segments(
    a: Sequence[SegmentStatistics], b: Sequence[SegmentStatistics]
) -> tuple[SegmentStatistics, ...]:
    _same("segments", [s.level for s in a], [s.level for s in b])
    return tuple(
        SegmentStatistics(x.level, x.rows + y.rows, _add(x.counts, y.counts))
        for x, y in zip(a, b, strict=True)
    )


def _add(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    _same("number of counts", len(a), len(b))
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _add_exact(a: Sequence[bytes], b: Sequence[bytes]) -> tuple[bytes, ...]:
    _same("number of bets", len(a), len(b))
    return tuple(map(add_sums, a, b))


def _same(what: str, a: object, b: object) -> None:
    if a != b:
        raise DecodeError(
            Reason.MALFORMED, f"statistics of different windows: {what} {a!r} and {b!r}"
        )

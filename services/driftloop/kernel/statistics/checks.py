"""Whether statistics that were read can be used: each alone, and two of them together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import LossStatistics, NumericStatistics, WindowStatistics
from driftloop.kernel.statistics.exact import check_sum, exact_sum

_MOST = 1 << 53
"""No window has more rows; so counts of many windows add up within 64 bits."""


def check_statistics(statistics: WindowStatistics) -> None:
    """Raises :class:`DecodeError` for counts and sums that no rows could give."""
    _counts("rows", [statistics.rows])
    for column in statistics.numeric:
        _check_numeric(column, statistics.rows)
    for levels in statistics.categorical:
        _counts(levels.name, [levels.count, levels.missing, levels.unseen, *levels.levels])
        _at_most(levels.name, levels.count + levels.missing, statistics.rows)
        _at_most(levels.name, sum(levels.levels) + levels.unseen, levels.count)
    if statistics.loss is not None:
        _check_loss(statistics.loss)
    for segment in statistics.segments:
        _counts(segment.level, [segment.rows, *segment.counts])
        if segment.rows > statistics.rows or max(segment.counts, default=0) > segment.rows:
            raise DecodeError(Reason.MALFORMED, f"{segment.level}: more than the window's rows")
    _at_most("segments", sum(segment.rows for segment in statistics.segments), statistics.rows)
    if len({segment.level for segment in statistics.segments}) < len(statistics.segments):
        raise DecodeError(Reason.MALFORMED, "a segment comes twice")


def _check_numeric(column: NumericStatistics, rows: int) -> None:
    counts = [column.count, column.missing, column.outside, *column.bins, *column.bucket_counts]
    _counts(column.name, counts)
    if column.outside > column.count:
        raise DecodeError(
            Reason.MALFORMED,
            f"{column.name}: {column.outside} of {column.count} values are outside",
        )
    _at_most(column.name, column.count + column.missing, rows)
    _at_most(column.name, sum(column.bins), column.count)
    extremes = column.minimum, column.maximum
    if column.count and not all(map(math.isfinite, extremes)):
        raise DecodeError(Reason.MALFORMED, f"{column.name}: extremes of {extremes}")
    _sums(column.name, [column.sum, column.squares])
    if len(column.buckets) != len(column.bucket_counts):
        raise DecodeError(Reason.MALFORMED, f"{column.name}: buckets and counts differ in number")
    if list(column.buckets) != sorted(set(column.buckets)):
        raise DecodeError(Reason.MALFORMED, f"{column.name}: buckets do not ascend")


def _check_loss(loss: LossStatistics) -> None:
    _counts("loss", [loss.rows, loss.errors, *loss.labels, *loss.histogram, *loss.bins])
    _at_most("errors", loss.errors, loss.rows)
    _at_most("loss", sum(loss.bins), loss.rows)
    _sums("loss", [loss.loss, loss.loss_squares, *loss.bets])
    if not 0.0 <= exact_sum(loss.loss) < math.inf:
        raise DecodeError(Reason.MALFORMED, "loss: the sum is no loss")
    paired = loss.paired
    if paired is not None:
        _counts("pairs", [paired.rows, paired.wins, paired.losses, paired.ties])
        _sums("pairs", [paired.shadow_loss, *paired.better, *paired.worse])


def _counts(what: str, counts: Sequence[int]) -> None:
    least, most = min(counts, default=0), max(counts, default=0)
    if least < 0 or most > _MOST:
        raise DecodeError(Reason.MALFORMED, f"{what}: a count of {min(least, 0) or most}")


def _at_most(what: str, part: int, whole: int) -> None:
    if part > whole:
        raise DecodeError(Reason.MALFORMED, f"{what}: counts of {part} rows, there are {whole}")


def _sums(what: str, sums: Sequence[bytes]) -> None:
    for data in sums:
        try:
            check_sum(data)
        except DecodeError as error:
            raise DecodeError(error.reason, f"{what}: {error.detail}") from error


def check_shape(shape: object, others: object) -> None:
    """Of one part of a window and of its others, as :func:`shape_of` has them. Raises
    :class:`DecodeError`."""
    if shape != others:
        raise DecodeError(
            Reason.MALFORMED, "the columns, bins or levels are not those of the window's others"
        )


def shape_of(statistics: WindowStatistics) -> Hashable:
    """What is equal for all parts of one window: columns, bins, levels."""
    loss = statistics.loss
    paired = None if loss is None else loss.paired
    return (
        tuple((column.name, len(column.bins)) for column in statistics.numeric),
        tuple((column.name, len(column.levels)) for column in statistics.categorical),
        None
        if loss is None
        else (len(loss.labels), len(loss.histogram), len(loss.bets), len(loss.bins)),
        None if paired is None else (len(paired.better), len(paired.worse)),
        tuple((segment.level, len(segment.counts)) for segment in statistics.segments),
    )

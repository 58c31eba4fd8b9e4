"""The rules of the join: which half of an event a record finds. See
:class:`driftloop.outcomes.core.OutcomesCore`.

What is found to be wrong is added to ``letters``; what is returned are the pairs that are outcomes,
if any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.kernel import metrics, sharing
from driftloop.kernel.codec.blocks import F64, I64, PredictionBlock
from driftloop.kernel.codec.reshape import concat, take
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.deadletters import letter_of_place
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.metrics import Meter
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.slices import Slices
from driftloop.outcomes.entries import (
    ABSENT,
    LABEL,
    NEVER,
    PREDICTION,
    unpack_label,
    unpack_prediction,
)
from driftloop.outcomes.filter import Flags
from driftloop.outcomes.joining import Pairs
from driftloop.outcomes.reading import SERVICE, Labels, Predictions
from driftloop.outcomes.state import JoinState

_FROM_PREDICTIONS, _FROM_LABELS = b"p", b"l"


def match_predictions(
    model: Declaration,
    state: JoinState,
    part: Predictions,
    partition: int,
    letters: list[DeadLetter],
    meter: Meter,
) -> Pairs | None:
    """Take in predictions of one model's ``partition``; at least one."""
    block, place = part.block, state.place
    names, entry, kind = state.find(Slices.of(block.ids))
    fresh = _firsts(names, (kind == ABSENT) | (kind == LABEL))
    duplicates = len(names) - int(np.count_nonzero(fresh))
    meter.add(metrics.DUPLICATE_PREDICTIONS, duplicates, model.name)
    place.predicted_until = max(place.predicted_until, int(block.event_time.max()))
    if not fresh.any():
        return None
    waiting = np.flatnonzero(fresh & (kind == ABSENT))
    # One horizon for the label, one for its place among the labels: see the class.
    expiry = _expiry(block.event_time, 2 * model.labels.horizon)
    if len(waiting):
        if part.alone and 2 * len(waiting) > len(names):
            held, ends, place_of = part, expiry, waiting
        else:
            # A few rows would hold all that they came with.
            held, ends, place_of = part.owned(waiting), expiry[waiting], np.arange(len(waiting))
        first = state.keep_predictions(held.block, held.records, held.offset, ends)
        numbers = (4 * (first + place_of) + PREDICTION).tolist()
        state.put([names[row] for row in waiting.tolist()], numbers)
        place.open_predictions += len(waiting)
    pairs: Pairs | None = None
    matched = np.flatnonzero(fresh & (kind == LABEL))
    if len(matched):
        labels = _open_labels(state, names, entry, matched)
        pairs = Pairs(take(block, matched), part.offset[matched], *labels)
        settled = [names[row] for row in matched.tolist()]
        state.settle(settled, expiry[matched])
        place.open_labels -= len(matched)
        delay = pairs.delay()
        late = np.flatnonzero(delay > model.labels.horizon)
        # The same as if the label had come second, but that its record is not kept: its dead
        # letter says where that lies.
        source = TopicPartition(model.topics.labels, partition)
        whose = sharing.headers_of(model)
        for at in late.tolist():
            error = _too_late(model, int(delay[at]))
            lies_at = int(pairs.label_offset[at])
            letters.append(letter_of_place(SERVICE, source, lies_at, settled[at], error, whose))
        if len(late):
            meter.add(metrics.UNLABELLED, len(late), model.name)
            pairs = pairs.take(np.flatnonzero(delay <= model.labels.horizon))
    kept = np.flatnonzero(fresh)
    ids = Slices.of(block.ids).take(kept)
    state.expire_later(expiry[kept], int(part.offset[0]), _FROM_PREDICTIONS, ids)
    return pairs


def _open_labels(
    state: JoinState, names: Sequence[bytes], entry: I64, rows: I64
) -> tuple[F64, I64, I64]:
    """Label, time of observation and offset of the open labels of these rows."""
    label, observed, offset = np.empty(len(rows)), *np.empty((2, len(rows)), np.int64)
    chosen = entry[rows]
    kept = np.flatnonzero(chosen >= 0)
    if len(kept):
        label[kept], observed[kept], offset[kept] = state.labels(chosen[kept] >> 2)
    stored = np.flatnonzero(chosen < 0)
    values = state.fetch([names[row] for row in rows[stored].tolist()])
    for at, value in zip(stored.tolist(), values, strict=True):
        offset[at], observed[at], label[at] = unpack_label(value)
    return label, observed, offset


def match_labels(
    model: Declaration,
    state: JoinState,
    part: Labels,
    partition: int,
    letters: list[DeadLetter],
    meter: Meter,
) -> Pairs | None:
    """Take in labels of one model's ``partition``; at least one."""
    block, place = part.block, state.place
    names, entry, kind = state.find(Slices.of(block.ids))
    ours = part.belongs == partition
    for at in np.flatnonzero(~ours).tolist():
        error = _misplaced(names[at], int(part.belongs[at]))
        letters.append(part.alike.letter(SERVICE, int(part.rows[at]), error))
    fresh = _firsts(names, ours & ((kind == ABSENT) | (kind == PREDICTION)))
    duplicates = int(np.count_nonzero(ours)) - int(np.count_nonzero(fresh))
    meter.add(metrics.DUPLICATE_LABELS, duplicates, model.name)
    waiting = np.flatnonzero(fresh & (kind == ABSENT))
    if len(waiting):
        expiry = _expiry(block.observed_at, model.labels.horizon)
        first = state.keep_labels(
            block.label[waiting], block.observed_at[waiting], part.offset[waiting], expiry[waiting]
        )
        numbers = range(4 * first + LABEL, 4 * (first + len(waiting)) + LABEL, 4)
        state.put([names[row] for row in waiting.tolist()], numbers)
        place.open_labels += len(waiting)
        own = Slices.of(block.ids).take(waiting)
        state.expire_later(expiry[waiting], int(part.offset[0]), _FROM_LABELS, own)
    matched = np.flatnonzero(fresh & (kind == PREDICTION))
    pairs: Pairs | None = None
    if len(matched):
        predictions, prediction_offset, ends = _open_predictions(
            model, state, names, entry, matched
        )
        pairs = Pairs(
            predictions,
            prediction_offset,
            block.label[matched],
            block.observed_at[matched],
            part.offset[matched],
        )
        state.settle([names[row] for row in matched.tolist()], ends)
        place.open_predictions -= len(matched)
        late = np.flatnonzero(pairs.delay() > model.labels.horizon)
        if len(late):
            pairs = _in_time(model, pairs, part, matched, late, letters)
            meter.add(metrics.UNLABELLED, len(late), model.name)
    place.observed_until = max(place.observed_until, int(block.observed_at.max()))
    return pairs


def _in_time(
    model: Declaration,
    pairs: Pairs,
    part: Labels,
    matched: I64,
    late: I64,
    letters: list[DeadLetter],
) -> Pairs:
    """Without the pairs whose label was observed beyond the horizon: their labels become dead
    letters. They are settled, as if the label had come first: a later label is a duplicate."""
    delay = pairs.delay()
    for at in late.tolist():
        error = _too_late(model, int(delay[at]))
        letters.append(part.alike.letter(SERVICE, int(part.rows[matched[at]]), error))
    return pairs.take(np.flatnonzero(delay <= model.labels.horizon))


def _open_predictions(
    model: Declaration, state: JoinState, names: Sequence[bytes], entry: I64, rows: I64
) -> tuple[PredictionBlock, I64, I64]:
    """The open predictions of these rows, their offsets, and when they expire."""
    chosen = entry[rows]
    blocks, offsets, order = [], [], []
    expiry = np.empty(len(rows), np.int64)
    kept = np.flatnonzero(chosen >= 0)
    if len(kept):
        block, offset, expiry[kept] = state.predictions(chosen[kept] >> 2)
        blocks.append(block)
        offsets.append(offset)
        order.append(kept)
    stored = np.flatnonzero(chosen < 0)
    if len(stored):
        values = state.fetch([names[row] for row in rows[stored].tolist()])
        expiry[stored], heads, records = zip(*map(unpack_prediction, values), strict=True)
        block, _, rejected = decode_predictions(
            records,
            scores=model.scores,
            numeric=len(model.numeric),
            categorical=len(model.categorical),
        )
        if rejected:  # It was decoded when it came in, by the same declaration's shape.
            raise rejected[0].error
        blocks.append(block)
        offsets.append(np.array(heads, np.int64))
        order.append(stored)
    if len(blocks) == 1:
        return blocks[0], offsets[0], expiry
    back = np.argsort(np.concatenate(order))
    return take(concat(blocks), back), np.concatenate(offsets)[back], expiry


def _expiry(times: I64, after: int) -> I64:
    """Of each row of a batch: what came together expires together, ``after`` its time or somewhat
    later. But a row of the far future does not keep those beside it for as long as itself."""
    first, last = int(times.min()), int(times.max())
    if last - first <= after:
        return np.broadcast_to(np.int64(min(last + after, NEVER)), len(times))
    _, near = np.unique(times // after, return_inverse=True)
    latest = np.full(int(near.max()) + 1, first)
    np.maximum.at(latest, near, times)
    return np.asarray(np.minimum(latest, NEVER - after)[near] + after, np.int64)


def _firsts(names: Sequence[bytes], chosen: Flags) -> Flags:
    """Of the chosen rows those whose id none before them has."""
    if len(set(names)) == len(names):
        return chosen
    seen: set[bytes] = set()
    first = np.zeros(len(names), bool)
    for row in np.flatnonzero(chosen).tolist():
        if names[row] not in seen:
            seen.add(names[row])
            first[row] = True
    return first


def _misplaced(id: bytes, partition: int) -> DecodeError:
    return DecodeError(
        Reason.WRONG_PARTITION,
        f"label of {id.decode()!r} belongs in partition {partition}: produce labels keyed by event "
        "id with the murmur2 partitioner (Java's default)",
    )


def _too_late(model: Declaration, delay: int) -> DecodeError:
    return DecodeError(
        Reason.LABEL_TOO_LATE,
        f"observed {delay} ms after its event; the declared horizon is {model.labels.horizon} ms",
    )

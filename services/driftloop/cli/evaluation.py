"""What the replay came to: the loop against the base rate and against its first version, frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.cli.flights import Flights
from driftloop.cli.flights_poison import Poison
from driftloop.kernel import sharing
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.codec.rows import decode_outcomes, decode_predictions
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import Log, RecordBatch
from driftloop.kernel.records import DeadLetter, Version
from driftloop.models.constant import ConstantModel
from driftloop.models.evaluation import auc, log_loss
from driftloop.models.ports import FrozenModel
from driftloop.models.registry import load

WARM_ROWS = 10_000
"""Rows that are not scored: the first version learns from them."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log loss (nats) and AUC on the rows after the first ``WARM_ROWS``; NaN without any."""

    rows: int
    log_loss: float
    auc: float
    base_rate_log_loss: float
    """Of always answering the mean label of the warm rows."""
    frozen_log_loss: float
    frozen_auc: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Read from the topics, committed records only."""

    predictions: int
    duplicate_predictions: int
    outcomes: int
    by_version: dict[int, int]
    """Predictions that each version made."""


def count(log: Log, model: Declaration) -> Counts:
    """Read every prediction and every outcome, and count."""
    ids: Counter[bytes] = Counter()
    versions: Counter[int] = Counter()
    for batch in _batches(log, model, model.topics.predictions):
        block, _, rejected = decode_predictions(batch.values, scores=model.scores, **_widths(model))
        if rejected:
            raise rejected[0].error
        ids.update(bytes(id) for id in block.ids)
        versions.update(block.version.tolist())
    outcomes = sum(len(batch) for batch in _batches(log, model, model.topics.outcomes))
    total = sum(ids.values())
    return Counts(total, total - len(ids), outcomes, dict(sorted(versions.items())))


def score(
    log: Log, model: Declaration, flights: Flights, first: Version | None, store: DirectoryStore
) -> Scores:
    """Compare what was answered with what the alternatives would have answered."""
    place = {id: row for row, id in enumerate(flights.event_ids)}
    frozen: FrozenModel = ConstantModel(model.prior)
    if first is not None:
        frozen = load(*store.get(first.artifact, first.digest))
    rows: list[I64] = []
    answered: list[F64] = []
    labels: list[F64] = []
    alternative: list[F64] = []
    for batch in _batches(log, model, model.topics.outcomes):
        block, _, _ = decode_outcomes(batch.values, scores=model.scores, **_widths(model))
        rows.append(np.array([place[bytes(id)] for id in block.ids], dtype=np.int64))
        answered.append(block.scores[:, 0])
        labels.append(block.label)
        alternative.append(frozen.score(block.features)[:, 0])
    if not rows:
        return Scores(0, *(float("nan"),) * 5)
    row, label = np.concatenate(rows), np.concatenate(labels)
    tested = row >= WARM_ROWS
    if not tested.any() or tested.all():
        return Scores(0, *(float("nan"),) * 5)
    truth = label[tested]
    base_rate = np.full(len(truth), label[~tested].mean())
    loop, once = np.concatenate(answered)[tested], np.concatenate(alternative)[tested]
    return Scores(
        len(truth),
        log_loss(loop, truth),
        auc(loop, truth),
        log_loss(base_rate, truth),
        log_loss(once, truth),
        auc(once, truth),
    )


def intact(letters: Sequence[DeadLetter], sent: Sequence[Poison]) -> int:
    """How many of the bad records came back as dead letters with their original bytes."""
    found = Counter((letter.key, letter.value) for letter in letters)
    wanted: Counter[tuple[bytes | None, bytes | None]] = Counter((p.key, p.value) for p in sent)
    return (found & wanted).total()


def _batches(log: Log, model: Declaration, topic: str) -> Sequence[RecordBatch]:
    ends = log.end_offsets([topic])
    return [
        sharing.of_model(model, batch)
        for source, end in sorted(ends.items())
        for batch in log.read(source, 0, end)
    ]


def _widths(model: Declaration) -> dict[str, int]:
    return {"numeric": len(model.numeric), "categorical": len(model.categorical)}

"""Predictions and outcomes against what was sent: each once, and right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.kernel.codec.blocks import Features, OutcomeBlock, PredictionBlock
from driftloop.kernel.codec.rows import decode_outcomes, decode_predictions
from driftloop.kernel.records import Deployment, Version
from driftloop.models.constant import ConstantModel
from driftloop.models.ports import FrozenModel
from driftloop.models.registry import load

from . import model
from .findings import Findings
from .reading import read_batches
from .truth import F64, I64, NOBODY, Truth, first_of_each, slot_of

_TOLERANCE = 1e-12
"""The same rows in another batch may be summed in another order."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the predictions or outcomes topic as columns, in offset order within a partition."""

    partition: I64
    offset: I64
    slot: I64
    time: I64
    """The stream's event time."""
    version: I64
    shadow: I64
    score: F64
    shadow_score: F64
    of: Mapping[str, I64 | F64]
    """What only one of the two streams has."""

    def __len__(self) -> int:
        return len(self.slot)


class Scorers:
    """Every version's frozen model, loaded from its artifact when first asked for."""

    def __init__(self, store: DirectoryStore, versions: Sequence[Version], prior: float) -> None:
        self._store = store
        self._versions = {version.version: version for version in versions}
        self._loaded: dict[int, FrozenModel] = {0: ConstantModel(prior)}

    def knows(self, version: int) -> bool:
        return version in self._loaded or version in self._versions

    def score(self, version: int, features: Features) -> F64:
        if version not in self._loaded:
            record = self._versions[version]
            self._loaded[version] = load(*self._store.get(record.artifact, record.digest))
        scores: F64 = self._loaded[version].score(features)
        return scores


def read_rows(bootstrap: str, topic: str, truth: Truth, scorers: Scorers, found: Findings) -> Rows:
    """Every row of the topic, its features, time and scores checked on the way."""
    predictions = topic.endswith(".predictions")
    decode: Callable[..., Any] = decode_predictions if predictions else decode_outcomes
    extra = (
        ("source_partition", "source_offset")
        if predictions
        else (
            "label", "label_delay", "prediction_partition", "prediction_offset",
            "label_partition", "label_offset", "event_time",
        )
    )  # fmt: skip
    parts: list[dict[str, Any]] = []
    shape = {"scores": 1, "numeric": len(truth.kind.numeric), "categorical": 2}
    for partition, messages in read_batches(bootstrap, topic, truth.kind.owner):
        block, rows, rejected = decode([m.value() for m in messages], **shape)
        found.mismatched(f"{topic}/{partition}: unreadable rows", len(rejected))
        keys = [messages[row].key() for row in rows.tolist()]
        found.mismatched(
            f"{topic}/{partition}: key and id differ",
            sum(a != b for a, b in zip(keys, block.ids, strict=True)),
        )
        slot = np.array([slot_of(id, len(truth.slots)) for id in block.ids], np.int64)
        _check_rows(topic, block, slot, truth, scorers, found)
        parts.append(
            {
                "partition": np.full(len(slot), partition),
                "offset": np.array([messages[row].offset() for row in rows.tolist()], np.int64),
                "slot": slot,
                "time": block.event_time if predictions else block.outcome_time,
                "version": block.version,
                "shadow": block.shadow_version,
                "score": block.scores[:, 0],
                "shadow_score": block.shadow_scores[:, 0],
                **{name: getattr(block, name) for name in extra},
            }
        )
    if not parts:
        raise RuntimeError(f"{topic} is empty")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["offset"], columns["partition"]))
    columns = {name: column[order] for name, column in columns.items()}
    own = {name: columns.pop(name) for name in extra}
    return Rows(**columns, of=own)


def _check_rows(
    topic: str,
    block: PredictionBlock | OutcomeBlock,
    slot: I64,
    truth: Truth,
    scorers: Scorers,
    found: Findings,
) -> None:
    unknown = int((slot == NOBODY).sum())
    found.mismatched(f"{topic}: rows of no event", unknown)
    if unknown:
        return
    slots = truth.slots
    numeric = block.features.numeric
    expected = np.column_stack([getattr(slots, name)[slot] for name in truth.kind.numeric])
    same = np.isclose(numeric, expected, rtol=0, atol=0, equal_nan=True).all(axis=1)
    same &= block.event_time == slots.time[slot]
    words = (truth.kind.colours, model.SHAPES)
    truths = (slots.colour[slot], slots.shape[slot])
    categories = block.features.categories
    for column, (known, true) in enumerate(zip(words, truths, strict=True)):
        # The last place is for what is missing.
        names = [known.index(level) for level in categories.levels[column]] + [-1]
        same &= np.array(names)[categories.codes[:, column]] == true
    found.mismatched(f"{topic}: features or time differ from the event's", int((~same).sum()))
    for versions, scores in (
        (block.version, block.scores),
        (block.shadow_version, block.shadow_scores),
    ):
        for version in np.unique(versions).tolist():
            if version < 0:
                continue
            chosen = versions == version
            if not scorers.knows(version):
                found.misversioned(f"{topic}: version {version} is unknown", int(chosen.sum()))
                continue
            again = scorers.score(version, block.features)[chosen, 0]
            wrong = ~(np.abs(again - scores[chosen, 0]) <= _TOLERANCE)
            found.misversioned(
                f"{topic}: scores that are not those of version {version}", int(wrong.sum())
            )


def check_predictions(rows: Rows, truth: Truth, found: Findings) -> None:
    """Every valid event has one prediction, which says where the event lies."""
    partition, offset = rows.of["source_partition"], rows.of["source_offset"]
    found.mismatched(
        "predictions in another partition than their event",
        int((rows.partition != partition).sum()),
    )
    for number, at in enumerate(truth.slot_at):
        mine = partition == number
        offsets = offset[mine].astype(np.int64)
        inside = (offsets >= 0) & (offsets < len(at))
        wrong = ~inside
        wrong[inside] = at[offsets[inside]] != rows.slot[mine][inside]
        found.mismatched("predictions that name another event", int(wrong.sum()))
        times = np.bincount(offsets[inside], minlength=len(at))
        for lost in np.flatnonzero((at != NOBODY) & (times == 0)).tolist():
            found.lost(f"prediction of the event at {number}/{lost}")
        for twice in np.flatnonzero(times > 1).tolist():
            found.duplicated(f"prediction of the event at {number}/{twice}", int(times[twice]) - 1)


def check_version_order(rows: Rows, deployments: Sequence[Deployment], found: Findings) -> int:
    """Versions follow the deployments in their order, and never go back. The number of swaps of
    champion or shadow seen in the partition that saw most."""
    served = [(0, -1), *((d.champion, d.shadow) for d in deployments)]
    swaps = 0
    for number in range(model.PARTITIONS):
        mine = rows.partition == number
        pairs = np.column_stack([rows.version[mine], rows.shadow[mine]])
        changes = np.flatnonzero((np.diff(pairs, axis=0) != 0).any(axis=1)) + 1
        swaps = max(swaps, len(changes))
        at = 0
        for row in (0, *changes.tolist()) if len(pairs) else ():
            pair = (int(pairs[row, 0]), int(pairs[row, 1]))
            try:
                at = served.index(pair, at)
            except ValueError:
                found.misversioned(
                    f"predictions/{number} row {row}: version and shadow {pair} after {served[at]}"
                    f" (deployment {at}), which no later deployment asks for"
                )
                break
    return swaps


def check_outcomes(predictions: Rows, outcomes: Rows, truth: Truth, found: Findings) -> None:
    """Every event whose first prediction and first label belong together has one outcome of just
    these. What became of every label is for ``labels.account``."""
    labels = truth.labels
    has_event = labels.slot != NOBODY
    first_label = first_of_each(labels.slot, has_event)
    slot = labels.slot[first_label]
    label_of = np.full(len(truth.slots), -1)
    label_of[slot] = first_label
    # Rows lie in offset order within a partition, and an id has but one partition.
    first = first_of_each(predictions.slot, np.ones(len(predictions), bool))
    prediction_of = np.full(len(truth.slots), -1)
    prediction_of[predictions.slot[first]] = first
    both = (label_of >= 0) & (prediction_of >= 0)
    in_time = np.zeros(len(truth.slots), bool)
    delay = labels.observed_at[label_of] - truth.slots.time
    in_time[both] = delay[both] <= model.HORIZON_MS
    times = np.bincount(outcomes.slot, minlength=len(truth.slots))
    for lost in np.flatnonzero(in_time & (times == 0)).tolist():
        found.lost(f"outcome of slot {lost}")
    for extra in np.flatnonzero(~in_time & (times > 0)).tolist():
        found.mismatched(f"outcome of slot {extra}, which has none")
    for twice in np.flatnonzero(times > 1).tolist():
        found.duplicated(f"outcome of slot {twice}", int(times[twice]) - 1)
    valid = in_time[outcomes.slot]
    known = outcomes.slot[valid]
    label, prediction = label_of[known], prediction_of[known]

    def own(name: str) -> I64 | F64:
        return outcomes.of[name][valid]

    same = (own("label_partition") == labels.partition[label]) & (
        own("label_offset") == labels.offset[label]
    )
    same &= own("label") == labels.label[label]
    same &= own("label_delay") == labels.observed_at[label] - truth.slots.time[known]
    same &= own("prediction_partition") == predictions.partition[prediction]
    same &= own("prediction_offset") == predictions.offset[prediction]
    for mine, theirs in (
        (outcomes.version, predictions.version),
        (outcomes.shadow, predictions.shadow),
        (outcomes.score, predictions.score),
        (outcomes.shadow_score, predictions.shadow_score),
    ):
        same &= (mine[valid] == theirs[prediction]) | (
            np.isnan(mine[valid].astype(float)) & np.isnan(theirs[prediction].astype(float))
        )
    same &= outcomes.time[valid] == np.maximum(truth.slots.time[known], labels.observed_at[label])
    found.mismatched("outcomes that are not of their prediction and label", int((~same).sum()))

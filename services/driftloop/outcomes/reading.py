"""Predictions and labels from their records: those of models that are alike are read together, and
cut into what belongs to one model and partition."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

from driftloop.kernel.alike import Alike, Shape, Shapes
from driftloop.kernel.codec.blocks import I32, I64, LabelBlock, PredictionBlock
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.reshape import cut, owned
from driftloop.kernel.codec.rows import decode_predictions
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.slices import Slices

SERVICE = "outcomes"


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions that were read together, or those of one model's partition."""

    alike: Alike
    rows: I64
    """Which of the alike rows these are."""
    block: PredictionBlock
    records: Slices[bytes]
    offset: I64

    @property
    def alone(self) -> bool:
        """Whether no other model's rows were read with these."""
        return len(self.alike.models) == 1 and len(self.alike.batches) == 1

    def owned(self, rows: I64) -> Predictions:
        """Some rows in arrays of their own."""
        return Predictions(
            self.alike,
            self.rows[rows],
            owned(self.block, rows),
            self.records.take(rows).owned(),
            self.offset[rows],
        )

    def part(self, low: int, high: int) -> Predictions:
        """Some rows that follow each other, as a view."""
        own = slice(low, high)
        return Predictions(
            self.alike,
            self.rows[own],
            cut(self.block, low, high),
            self.records[own],
            self.offset[own],
        )


@dataclass(frozen=True, slots=True)
class Labels:
    """The same of labels."""

    alike: Alike
    rows: I64
    block: LabelBlock
    offset: I64
    belongs: I32
    """The partition where each one's prediction is."""

    def part(self, low: int, high: int) -> Labels:
        """Some rows that follow each other, as a view."""
        own = slice(low, high)
        return Labels(
            self.alike,
            self.rows[own],
            cut(self.block, low, high),
            self.offset[own],
            self.belongs[own],
        )


class Reader:
    """Decodes what the join takes in."""

    def __init__(self) -> None:
        self.shapes = Shapes(_shape)
        self._decoders: WeakKeyDictionary[Shape, LabelDecoder] = WeakKeyDictionary()

    def read(self, alike: Alike, letters: list[DeadLetter]) -> Predictions | Labels:
        """Decode records of predictions, or of labels."""
        model, values = alike.models[0], alike.values()
        if alike.batches[0].topic == model.topics.labels:
            block, rejected = self._label_decoder(model).decode(values, alike.timestamps())
            rows = block.rows
            offset, belongs = alike.offsets()[rows], partitions_of(block.ids, model.partitions)
            found: Predictions | Labels = Labels(alike, rows, block, offset, belongs)
        else:
            predictions, rows, rejected = decode_predictions(
                values,
                scores=model.scores,
                numeric=len(model.numeric),
                categorical=len(model.categorical),
            )
            records = cast("Slices[bytes]", Slices.of(values).take(rows))
            found = Predictions(alike, rows, predictions, records, alike.offsets()[rows])
        letters += [alike.letter(SERVICE, bad.row, bad.error) for bad in rejected]
        return found

    def _label_decoder(self, model: Declaration) -> LabelDecoder:
        shape = self.shapes.of(model)
        known = self._decoders.get(shape)
        if known is None:
            known = self._decoders[shape] = LabelDecoder(model)
        return known


def _shape(model: Declaration) -> Hashable:
    """What decides how predictions and labels are read."""
    events = model.events
    return (
        model.scores,
        len(model.numeric),
        len(model.categorical),
        model.task,
        model.classes,
        model.labels,
        model.partitions,
        events.earliest,
        events.latest,
        events.ahead,
    )

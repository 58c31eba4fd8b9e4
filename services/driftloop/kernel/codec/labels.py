"""Labels, in batches, to columns: decoded, checked, and rejected where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64, LabelBlock, Rejected
from driftloop.kernel.codec.columns import ColumnReader
from driftloop.kernel.codec.faults import Faults, TimeLimits, check_ids, check_times, ids_of
from driftloop.kernel.codec.json_rows import JsonReader
from driftloop.kernel.codec.json_types import JsonField
from driftloop.kernel.codec.plan import Want
from driftloop.kernel.declaration import Declaration, Format, Task
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import record_schema


class LabelDecoder:
    """Decodes the labels of one declaration: ``Label`` records, or JSON objects with its fields.

    A binary label is 0 or 1 (in JSON true and false too), a multiclass one a class's index (in JSON
    its name too), a regression's finite. A label's time lies within the limits of event times,
    extended by the horizon, and not further ahead of its record than an event's: it moves the event
    time of outcomes, so it may not be absurd.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        labels, events = declaration.labels, declaration.events
        self._reader: ColumnReader | JsonReader
        if labels.format is Format.AVRO:
            self._names = ("event_id", "label", "observed_at")
            wants = (Want.TEXT, Want.NUMBER, Want.INTEGER)
            self._reader = ColumnReader(
                record_schema("label"), dict(zip(self._names, wants, strict=True))
            )
        else:
            self._names = (labels.id, labels.label, labels.time)
            self._reader = JsonReader(
                [
                    JsonField(labels.id, Want.TEXT, optional=True, booleans=False),
                    JsonField(
                        labels.label,
                        Want.NUMBER,
                        optional=True,
                        booleans=declaration.task is Task.BINARY,
                        words={name: index for index, name in enumerate(declaration.classes)},
                    ),
                    JsonField(labels.time, Want.INTEGER, optional=True, booleans=False),
                ]
            )
        self._times = TimeLimits(events.earliest, events.latest + labels.horizon, events.ahead)

    def decode(
        self, values: Sequence[bytes | None], recorded: I64 | None = None
    ) -> tuple[LabelBlock, list[Rejected]]:
        """The labels of a batch, and its other rows in ascending order. ``recorded``: the times of
        their records, negative where they have none, ms; None where they are not to be compared
        with. Raises :class:`RegistryUnavailableError` as that of events does."""
        decoded = self._reader.read(values)
        columns = decoded.columns
        name, label_name, time_name = self._names
        places = self._reader.columns
        slot, time_slot = places[label_name].slot, places[time_name].slot
        faults = Faults(decoded)
        check_ids(faults, name, columns, places[name])
        check_times(faults, time_name, columns, places[time_name], self._times, recorded)
        self._check_labels(faults, label_name, columns.numbers[:, slot])
        if faults:
            columns = columns.take(faults.keep())
        block = LabelBlock(
            rows=faults.rows(),
            ids=ids_of(columns, places[name]),
            label=np.ascontiguousarray(columns.numbers[:, slot]),
            observed_at=np.ascontiguousarray(columns.integers[:, time_slot]),
        )
        return block, faults.rejected()

    def _check_labels(self, faults: Faults, name: str, label: F64) -> None:
        match self.declaration.task:
            case Task.BINARY:
                good, what = (label == 0.0) | (label == 1.0), "0 or 1"
            case Task.MULTICLASS:
                classes = self.declaration.classes
                good = (label >= 0.0) & (label < len(classes)) & (np.floor(label) == label)
                what = f"the index of one of the {len(classes)} classes"
            case Task.REGRESSION:
                good, what = np.isfinite(label), "a finite number"
        if good.all():
            return
        for index in np.flatnonzero(~good).tolist():
            value = float(label[index])
            if np.isnan(value):
                faults.add(index, Reason.MISSING_FIELD, f"field {name!r}, the label, is missing")
            else:
                faults.add(index, Reason.OUT_OF_LIMITS, f"field {name!r} is {value!r}, not {what}")

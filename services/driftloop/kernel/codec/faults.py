"""What is wrong with rows that could be read: the first fault of each, in row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from driftloop.kernel.codec.blocks import I64, Rejected
from driftloop.kernel.codec.columns import Columns, Decoded
from driftloop.kernel.codec.plan import Column, Kind
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.slices import Slices

_FAR = 1 << 62
"""No time is this late; sums of times stay within 64 bits."""
LONGEST_ID = 1024
"""Bytes. A prediction carries its event's id twice, and an id that does not fit into a record would
stop all that are read with it."""
LONGEST_CATEGORY = 1024
"""Bytes. With this bound every event that is accepted gives a prediction that fits into a record,
whatever its topic allows."""


class Faults:
    """Collects the faults of decoded rows, on top of the rows that could not be decoded."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._found: dict[int, DecodeError] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, index: int, reason: Reason, detail: str) -> None:
        """Of the ``index``-th decoded row; a row's first fault counts."""
        self._found.setdefault(index, DecodeError(reason, detail))

    def of_decoded(self, column: I64) -> I64:
        """Of a column of the batch what belongs to the decoded rows."""
        rows = self._decoded.rows
        return column if len(rows) == len(column) else column[rows]

    def keep(self) -> I64:
        """Indices of the decoded rows without a fault."""
        good = np.ones(len(self._decoded.rows), bool)
        good[list(self._found)] = False
        return cast(I64, np.flatnonzero(good))

    def rows(self) -> I64:
        """The rows of the batch that have no fault."""
        return self._decoded.rows[self.keep()] if self._found else self._decoded.rows

    def rejected(self) -> list[Rejected]:
        """The other rows of the batch."""
        rows = self._decoded.rows
        own = [Rejected(int(rows[index]), error) for index, error in self._found.items()]
        return sorted([*self._decoded.rejected, *own], key=lambda rejected: rejected.row)


def check_ids(faults: Faults, name: str, columns: Columns, column: Column) -> None:
    """An id is there, is not the empty string, and has at most :data:`LONGEST_ID` bytes."""
    slot = column.slot
    if column.kind is Kind.INTEGER:
        for index in np.flatnonzero(columns.integer_null[:, slot]).tolist():
            faults.add(index, Reason.MISSING_FIELD, f"field {name!r}, the id, is missing")
        return
    for index in np.flatnonzero(columns.length[:, slot] <= 0).tolist():
        what = "empty" if columns.length[index, slot] == 0 else "missing"
        faults.add(index, Reason.MISSING_FIELD, f"field {name!r}, the id, is {what}")
    for index in np.flatnonzero(columns.length[:, slot] > LONGEST_ID).tolist():
        faults.add(
            index,
            Reason.OUT_OF_LIMITS,
            f"field {name!r}, the id, has {int(columns.length[index, slot])} bytes, more than"
            f" {LONGEST_ID}",
        )


def check_categories(
    faults: Faults, names: Sequence[str], columns: Columns, categorical: Sequence[Column]
) -> None:
    """A category has at most :data:`LONGEST_CATEGORY` bytes."""
    # Hardly ever is one longer: one look at all strings costs a lone event less than a microsecond.
    if columns.length.max(initial=0) <= LONGEST_CATEGORY:
        return
    for name, column in zip(names, categorical, strict=True):
        if column.kind is not Kind.SLICE:
            continue
        length = columns.length[:, column.slot]
        for index in np.flatnonzero(length > LONGEST_CATEGORY).tolist():
            faults.add(
                index,
                Reason.OUT_OF_LIMITS,
                f"field {name!r}, a category, has {int(length[index])} bytes, more than"
                f" {LONGEST_CATEGORY}",
            )


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Which times are accepted, ms."""

    earliest: int
    latest: int
    """The first that is not."""
    ahead: int
    """Of the record's own time, at most."""


def check_times(
    faults: Faults,
    name: str,
    columns: Columns,
    column: Column,
    limits: TimeLimits,
    recorded: I64 | None,
) -> None:
    """A time is there, and within its limits. ``recorded``: times of the batch's records, negative
    where they have none; None: of records that are not known."""
    slot = column.slot
    times = columns.integers[:, slot]
    null = columns.integer_null[:, slot] != 0
    # Limits may lie beyond 64 bits, where nothing is outside them.
    low, high = max(limits.earliest, -(2**63)), min(limits.latest, 2**63) - 1
    bad = null | (times < low) | (times > high)
    own = None
    if recorded is not None:
        own = faults.of_decoded(recorded)
        bad |= (own >= 0) & (times > limits.ahead + np.minimum(own, _FAR - limits.ahead))
    if not bad.any():
        return
    for index in np.flatnonzero(bad).tolist():
        if null[index]:
            faults.add(index, Reason.MISSING_FIELD, f"field {name!r}, the time, is missing")
        elif low <= times[index] <= high and own is not None:
            faults.add(
                index,
                Reason.OUT_OF_LIMITS,
                f"field {name!r} is {int(times[index])}, {int(times[index] - own[index])} ms ahead"
                f" of its record; ahead in [events] allows {limits.ahead}",
            )
        else:
            faults.add(
                index,
                Reason.OUT_OF_LIMITS,
                f"field {name!r} is {int(times[index])}, outside"
                f" [{limits.earliest}, {limits.latest})",
            )


def ids_of(columns: Columns, column: Column) -> Slices[bytes]:
    """Ids as bytes; an integer's digits."""
    if column.kind is Kind.SLICE:
        return columns.slices(column.slot)
    return Slices.of([column.text(v).encode() for v in columns.integers[:, column.slot].tolist()])

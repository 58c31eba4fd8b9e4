"""An alert's records against what the windows lead to, field by field."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from driftloop.cli.records_text import moment
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.records import Alert, AlertStatus, Command

_PEOPLES = ("sequence", "acknowledged_by", "snoozed_until")
"""Fields that do not follow from windows."""
_SAME = 1e-9
"""Relative difference of two floats that are taken for one: processors differ in the last bits of
exponentials and logarithms."""
_SHOWN = 5


class Differ:
    """Takes what a core says of an alert, and matches it with the records there are."""

    def __init__(self, records: Sequence[Alert], commands: Sequence[Command]) -> None:
        self._records = records
        self._commands = commands
        self._said: list[Alert] = []
        self._states: list[list[Alert]] = [[]]
        """Per record said, and before the first, how the open alert stood after each window."""
        self.recomputed = 0
        self.annotations = 0

    def said(self, alert: Alert) -> None:
        """The core's next record."""
        self._said.append(alert)
        self._states.append([alert])

    def state(self, alert: Alert | None) -> None:
        """How the alert stands after one more window; None while it is not open."""
        if alert is not None:
            self._states[-1].append(alert)

    @property
    def complete(self) -> bool:
        """Whether the core has said as much as the records do, as far as can be told."""
        own = sum(
            not (index and self.annotated(record, self._records[index - 1], self._commands))
            for index, record in enumerate(self._records)
        )
        return len(self._said) >= own

    def apart(self) -> list[str]:
        """What is wrong whatever the windows lead to, where that cannot be told. Nothing counts as
        recomputed."""
        problems = self._repeated()
        self.recomputed = self.annotations = 0
        for index, record in enumerate(self._records):
            problems += misnumbered(record, index)
            if index and self.annotated(record, self._records[index - 1], self._commands):
                self.annotations += 1
            else:
                problems += self.unasked(index)
        return problems

    def finish(self, others: Sequence[str], *, certain: bool) -> list[str]:
        """What is wrong, one line each. ``others``: alerts of the kind that the windows lead to
        instead; ``certain``: whether all that was said must be on the topic by now."""
        problems: list[str] = []
        at = 0
        for index, record in enumerate(self._records):
            name = named(record)
            problems += misnumbered(record, index)
            due = self._said[at] if at < len(self._said) else None
            differing = [] if due is None else self.fields(record, due)
            if due is not None and not differing:
                at += 1
                self.recomputed += 1
                problems += self.unasked(index)
            elif index and self.annotated(record, self._records[index - 1], self._commands):
                self.annotations += 1
                differing = self._unlike_any(record, self._states[at])
                if differing:
                    problems.append(f"{name}, by {record.acknowledged_by}: {'; '.join(differing)}")
            elif due is None:
                problems.append(f"{name} does not follow from the windows{_instead(others)}")
            else:
                at += 1
                shown = "; ".join(differing[:_SHOWN])
                more = len(differing) - _SHOWN
                problems.append(f"{name}: {shown}{f'; and {more} more' if more > 0 else ''}")
        if certain:
            problems += map(missing, self._said[at:])
        return problems + self._repeated()

    def _repeated(self) -> list[str]:
        """Words of people that are on more records than they were said: one command makes one."""
        said = Counter((command.who, command.until) for command in self._commands)
        problems = []
        for before, record in pairwise(self._records):
            if not self.annotated(record, before, self._commands):
                continue
            said[_by_people(record)] -= 1
            if said[_by_people(record)] < 0:
                problems.append(
                    f"{named(record)}: what {record.acknowledged_by!r} said is on more records "
                    "than there are commands"
                )
        return problems

    @staticmethod
    def annotated(record: Alert, before: Alert, commands: Sequence[Command]) -> bool:
        """Whether people's word can have made this record of the one before."""
        return (
            record.status is AlertStatus.UPDATED
            and record.at == before.at
            and record.summary == before.summary
            and any(
                (command.who, command.until) == (record.acknowledged_by, record.snoozed_until)
                for command in commands
            )
        )

    @staticmethod
    def fields(record: Alert, due: Alert, without: Sequence[str] = ()) -> list[str]:
        """The fields of a record that differ from those it should have, with both values."""
        left = (*_PEOPLES, *without)
        if not record.declaration:
            # An older release named none.
            left = (*left, "declaration")
        a, b = (
            {name: value for name, value in to_plain(alert).items() if name not in left}
            for alert in (record, due)
        )
        return [
            f"{where} is {_shown(x)}, recomputed {_shown(y)}" for where, x, y in _differences(a, b)
        ]

    def unasked(self, index: int) -> list[str]:
        """What is wrong with what people are said to have said on a record that is not theirs."""
        record = self._records[index]
        before = _by_people(self._records[index - 1]) if index else ("", 0)
        if _by_people(record) == before:
            return []
        return [
            f"{named(record)}: nobody's command acknowledged or snoozed the alert there "
            f"({record.acknowledged_by!r}, until {record.snoozed_until})"
        ]

    def _unlike_any(self, record: Alert, states: Sequence[Alert]) -> list[str]:
        """What differs from the state that is most like it; nothing if one is the same."""
        found = [self.fields(record, state, ("status",)) for state in states]
        return min(found, key=len, default=["it was not open then"])


def named(record: Alert) -> str:
    """Which of an alert's records."""
    return f"record {record.sequence} ({record.status}, {moment(record.at)})"


def misnumbered(record: Alert, index: int) -> list[str]:
    """What is wrong with its number, if it is the one at ``index``."""
    if record.sequence == index:
        return []
    return [f"{named(record)} should be record {index}: one is missing or there twice"]


def missing(due: Alert) -> str:
    """What is wrong where there is no such record."""
    return (
        f"the windows lead to one more record ({due.status}, {moment(due.at)}), which is not on "
        "the topic"
    )


def _by_people(record: Alert) -> tuple[str, int]:
    return record.acknowledged_by, record.snoozed_until


def _differences(a: Any, b: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a:
            yield from _differences(a[key], b.get(key), f"{where}.{key}" if where else key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{where}[{index}]")
    elif isinstance(a, float) and isinstance(b, float):
        if not math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME) and not (a != a and b != b):
            yield where, a, b
    elif a != b:
        yield where, a, b


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _instead(others: Sequence[str]) -> str:
    if not others:
        return ", which lead to no alert of its kind"
    return f"; to others of its kind they lead: {', '.join(others[:_SHOWN])}"

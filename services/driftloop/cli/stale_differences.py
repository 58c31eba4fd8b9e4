"""A stale alert's records against what drift says of the windows of predictions, field by field.

That an alert is due is decided by the clock, which is on no topic. So the ages that the records
name are taken as they are; all else follows from them, the windows and the age that was allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

from driftloop.cli.alert_differences import Differ, misnumbered, missing, named
from driftloop.drift.freshness import Freshness
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import Alert, AlertStatus, Command, Window


class StaleDiffer:
    """Goes through the windows as the records do."""

    def __init__(
        self,
        records: Sequence[Alert],
        commands: Sequence[Command],
        windows: Sequence[Window],
        allowed: Sequence[int],
    ) -> None:
        """``windows``: all that drift took, in the log's order. ``allowed``: how old the newest may
        be by each declaration, ms; at least one."""
        self._records = records
        self._commands = commands
        self._windows = windows
        self._allowed = allowed
        self._people = Differ(records, commands)
        # All windows are written, and the service begins to look, at 0: the time is the age.
        self._freshness = Freshness(Entries(), records[0].model)
        self._freshness.look(0, 0)
        self._taken = 0
        """Windows that it has been given."""
        self.recomputed = 0
        self.annotations = 0
        self.used: dict[str, Window] = {}
        """The windows that the records come from, by id, in the revisions that were used."""

    def problems(self, read: int | None) -> list[str]:
        """What is wrong, one line each. ``read``: of how many windows all that was said must be on
        the topic by now; None if that is not known."""
        problems: list[str] = []
        for index, record in enumerate(self._records):
            problems += misnumbered(record, index)
            before = self._records[index - 1] if index else None
            if before is not None and Differ.annotated(record, before, self._commands):
                self.annotations += 1
                differing = self._annotation(record)
            else:
                problems += self._people.unasked(index)
                over = record.status is AlertStatus.RESOLVED
                differing = self._resolution(record) if over else self._finding(record)
                self.recomputed += not differing
            if differing:
                problems.append(f"{named(record)}: {'; '.join(differing)}")
        due = None if read is None else self._over(read)
        return problems if due is None else [*problems, missing(due)]

    def _annotation(self, record: Alert) -> list[str]:
        alert = self._freshness.alert
        if alert is None:
            return ["it was not open then"]
        return Differ.fields(record, alert, ("status",))

    def _resolution(self, record: Alert) -> list[str]:
        due = self._over(len(self._windows))
        if due is None:
            return ["no window of predictions came that ends it"]
        window = self._windows[self._taken - 1]
        self.used[window.id] = window
        return Differ.fields(record, due)

    def _over(self, end: int) -> Alert | None:
        """The resolution that the next windows lead to, of the first ``end`` of all."""
        while self._taken < end:
            due = self._freshness.seen(self._windows[self._taken], 0)
            self._taken += 1
            if due is not None:
                return due
        return None

    def _finding(self, record: Alert) -> list[str]:
        """Of an opening or update."""
        evidence = record.evidence
        age = int(evidence.effect) if math.isfinite(evidence.effect) else 0
        floor = evidence.effect_floor
        allowed = next((a for a in self._allowed if a == floor), self._allowed[-1])
        freshness, taken = copy(self._freshness), self._taken
        differing = ["no window that it names was the newest by then"]
        # Of the revisions of the window that it names, the one that it fits: more may have come
        # before, or since.
        while True:
            window = self._windows[taken - 1] if taken else None
            if window is not None and window.id in evidence.windows[:1]:
                looking = copy(freshness)
                due = looking.look(age, allowed)
                if due is None:
                    differing = [
                        f"no alert is due of an age of {age} ms, of which {allowed} are allowed"
                    ]
                    break
                self._freshness, self._taken = looking, taken
                self.used[window.id] = window
                differing = Differ.fields(record, due)
                if not differing:
                    break
            if taken == len(self._windows) or freshness.seen(self._windows[taken], 0) is not None:
                break
            taken += 1
        return differing

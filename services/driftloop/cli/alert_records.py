"""The alerts topic as people ask about it: by id, and which of them are open."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence

from driftloop.cli.control import read_records
from driftloop.cli.records_text import moment
from driftloop.kernel.attention import Attention, attention
from driftloop.kernel.errors import ConfigurationError
from driftloop.kernel.ports import Log
from driftloop.kernel.records import Alert, AlertStatus
from driftloop.kernel.topics import ControlTopics

_NEAREST = 3


class AlertBook:
    """Every record of every alert."""

    def __init__(self, records: Iterable[Alert]) -> None:
        """``records``: in the log's order."""
        self._records: dict[str, list[Alert]] = {}
        for alert in records:
            self._records.setdefault(alert.id, []).append(alert)

    @classmethod
    def read(
        cls, log: Log, topics: ControlTopics, on_problem: Callable[[str], None] = lambda text: None
    ) -> AlertBook:
        """What is on the topic by now. Raises :class:`ConfigurationError` where there is none."""
        if not log.partitions(topics.alerts):
            raise ConfigurationError(
                f"there is no topic {topics.alerts!r}: 'driftloop up' or 'driftloop apply FILE' "
                "makes it"
            )
        return cls(read_records(log, Alert, topics.alerts, on_problem))

    def all(self) -> Iterator[Alert]:
        """Every record, alert by alert."""
        return (record for records in self._records.values() for record in records)

    def newest(self) -> list[Alert]:
        """The newest record of each alert, in the order of their opening."""
        return sorted((r[-1] for r in self._records.values()), key=lambda a: (a.opened_at, a.id))

    def open(self) -> list[Alert]:
        """Of those that are not resolved."""
        return [alert for alert in self.newest() if alert.status is not AlertStatus.RESOLVED]

    def records(self, id: str) -> Sequence[Alert]:
        """Of one alert, the oldest first. Raises :class:`ConfigurationError` that names the nearest
        ones."""
        found = self._records.get(id)
        if found is None:
            raise ConfigurationError(f"there is no alert {id!r}; {self._near(id, self.newest())}")
        return found

    def open_one(self, id: str) -> Alert:
        """Raises :class:`ConfigurationError` where it is unknown or resolved."""
        alert = self.records(id)[-1]
        if alert.status is AlertStatus.RESOLVED:
            raise ConfigurationError(
                f"alert {id!r} is over since {moment(alert.at)}; {self._near(id, self.open())}"
            )
        return alert

    def _near(self, id: str, among: Sequence[Alert]) -> str:
        names = [alert.id for alert in among]
        near = difflib.get_close_matches(id, names, n=_NEAREST, cutoff=0.5) or names[-_NEAREST:]
        if not near:
            return "none is open" if self._records else "there is none at all"
        return f"nearest: {', '.join(near)} ('driftloop alert list' shows all)"


def state_text(alert: Alert, now: int) -> str:
    """Whether it is open and somebody looks after it."""
    if alert.status is AlertStatus.RESOLVED:
        return "resolved"
    match attention(alert, now):
        case Attention.OPEN:
            return "open"
        case Attention.ACKNOWLEDGED:
            return f"acknowledged by {alert.acknowledged_by}"
        case Attention.SNOOZED:
            return f"snoozed until {moment(alert.snoozed_until)} by {alert.acknowledged_by}"


def subject_text(alert: Alert) -> str:
    """What it is about: its subject with the segment, and how many more there are."""
    named = f"{alert.subject}[{alert.segment}]" if alert.segment else alert.subject
    more = len(alert.evidence.findings) - 1
    return f"{named} + {more} more" if more > 0 else named

"""What the cores that decide have in common: reading control records, ordering what they send,
and knowing which windows they have used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Protocol, TypeVar

from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.entries import Entries
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import Headers, RecordBatch, Send, TopicPartition
from driftloop.kernel.processor import ControlBehindError, Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, OffsetRange, Window
from driftloop.kernel.topics import ControlTopics

HISTOGRAMS = frozenset({"buckets", "bucket_counts"})
"""Of a window, its log-buckets: most of its bytes, and for people to look at."""


class OfModel(Protocol):
    """A record that belongs to one model."""

    @property
    def model(self) -> str: ...


T = TypeVar("T", bound=OfModel)


def read_records(
    service: str,
    kind: type[T],
    batch: RecordBatch,
    topics: ControlTopics,
    leaving_out: Set[str] = frozenset(),
) -> tuple[list[tuple[int, T]], list[DeadLetter]]:
    """The batch's records with their rows, and dead letters for those that are none, or that lie
    outside their model's control partition. ``leaving_out`` as ``RecordCodec.decode`` has it."""
    found: list[tuple[int, T]] = []
    letters: list[DeadLetter] = []
    for row, value in enumerate(batch.values):
        try:
            record = codec(kind).decode(value, leaving_out=leaving_out)
            home = topics.partition(record.model)
            if home != batch.partition:
                raise DecodeError(
                    Reason.WRONG_PARTITION,
                    f"records of model {record.model!r} belong into partition {home}",
                )
        except DecodeError as error:
            letters.append(dead_letter(service, batch, row, error))
        else:
            found.append((row, record))
    return found, letters


def declared(catalog: Catalog, model: str) -> Declaration:
    """A model's declaration. Raises :class:`ControlBehindError`."""
    found = catalog.models.get(model)
    if found is None:
        raise ControlBehindError(f"no model {model!r} is declared")
    return found


class Outgoing:
    """Collects records in order; neighbours bound for one partition travel in one ``Send``."""

    def __init__(self) -> None:
        self._rows: list[tuple[TopicPartition, bytes, bytes, Headers]] = []

    def add(
        self, topic: str, partition: int, key: str, value: bytes, headers: Headers = ()
    ) -> None:
        self._rows.append((TopicPartition(topic, partition), key.encode(), value, headers))

    def outputs(self, dead_letters: Sequence[DeadLetter] = ()) -> Outputs:
        sends: list[Send] = []
        start = 0
        for end in range(1, len(self._rows) + 1):
            if end < len(self._rows) and self._rows[end][0] == self._rows[start][0]:
                continue
            target, rows = self._rows[start][0], self._rows[start:end]
            headers = [row[3] for row in rows] if any(row[3] for row in rows) else None
            sends.append(
                Send(
                    target.topic,
                    keys=[row[1] for row in rows],
                    values=[row[2] for row in rows],
                    partition=target.partition,
                    headers=headers,
                )
            )
            start = end
        return Outputs(sends, dead_letters)


class UsedWindows:
    """Which windows of one model and stream were used, so that none counts twice.

    A decision uses the first revision it sees of a window (revision 0, normally). A higher one is
    noted, and changes no decision already taken. A window is remembered for as long as the
    declaration lets it take late rows; what is older still is taken for used.
    """

    def __init__(
        self, entries: Entries, model: str, stream: str, *, by_shadow: bool = True
    ) -> None:
        """``by_shadow``: windows of one start and version that differ by their shadow are different
        windows; otherwise one claims them all."""
        self._entries = entries
        self._prefix = f"{model}/used/{stream}/"
        self._by_shadow = by_shadow
        self._windows: dict[str, tuple[int, int]] = {}
        self.newest_end = 0

    def load(self, name: str, value: Sequence[int]) -> None:
        """Take back one entry, named without the prefix."""
        if not self._by_shadow and name.count("/") > 1:
            # An older release told windows apart by their shadow.
            self._entries.delete(self._prefix + name)
            name = name.rpartition("/")[0]
            self._entries.put(self._prefix + name, value)
        self._windows[name] = (value[0], value[1])
        self.newest_end = max(self.newest_end, value[0])

    def claim(self, window: Window, horizon: int) -> bool:
        """Whether the window is to be used now; from then on it is used. ``horizon``, ms, is how
        much older than the newest a window may be."""
        name = f"{window.start}/{window.version}"
        if self._by_shadow:
            name += f"/{window.shadow}"
        known = self._windows.get(name)
        if known is not None:
            if window.revision > known[1]:
                self._note(name, window)
            return False
        if window.end < self.newest_end - horizon:
            return False
        self._note(name, window)
        if window.end > self.newest_end:
            self.newest_end = window.end
            self._prune(horizon)
        return True

    def _note(self, name: str, window: Window) -> None:
        self._windows[name] = (window.end, window.revision)
        self._entries.put(self._prefix + name, self._windows[name])

    def _prune(self, horizon: int) -> None:
        oldest = self.newest_end - horizon
        for name in [name for name, (end, _) in self._windows.items() if end < oldest]:
            del self._windows[name]
            self._entries.delete(self._prefix + name)


def horizon_of(model: Declaration) -> int:
    """How long after its end a window's revisions may come, in event time, ms."""
    return model.windows.size + model.windows.lateness + model.windows.retention


def merge_ranges(ranges: Iterable[OffsetRange]) -> tuple[OffsetRange, ...]:
    """The least range per topic partition that covers all of its ranges, in their order."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for part in ranges:
        where = (part.topic, part.partition)
        start, end = found.get(where, (part.start, part.end))
        found[where] = (min(start, part.start), max(end, part.end))
    return tuple(OffsetRange(*where, *span) for where, span in sorted(found.items()))

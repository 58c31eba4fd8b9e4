"""Whether a silent source partition is idle, or only behind: read from offsets in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from driftloop.featurestats.sketch import SERVICE
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Stream

_log = logging.getLogger(__name__)

MERGE = f"{SERVICE}-merge"
_LOOK_MS = 500
_PROBES = 32
"""Partitions looked into at most per look: each takes a fetch."""


class Silence(NamedTuple):
    """A source partition of a model's stream that has sent nothing for long."""

    model: str
    stream: Stream
    partition: int


class _Reader(NamedTuple):
    """Who reads a partition."""

    group: str
    source: TopicPartition


@dataclass(slots=True)
class _Passage:
    """How far it is known that nothing of a silence is under way."""

    step: int = 0
    marks: Sequence[int] | None = None
    """Where what this step reads ended when the steps before it had been passed."""


class _Seen(NamedTuple):
    """What lies behind a committed offset."""

    committed: int
    offset: int
    record: bool
    """Whether there is one at ``offset``; otherwise nothing lies before it but markers."""


class _Offsets(NamedTuple):
    """Taken in this order: what had been read when the first were taken has led to nothing that
    lies beyond the second."""

    committed: Mapping[_Reader, int]
    written: Mapping[TopicPartition, int]
    stable: Mapping[TopicPartition, int]


class Idleness:
    """Finds which silences are idle.

    Nothing comes of a partition when nobody sends events; when whoever reads them is away, it will.
    From an event to a window lead steps: a group reads, and commits its offsets with what it wrote.
    A step is passed when its group has read all there was when the step before it was passed. So a
    partition of a topic that never rests is found idle too, if nothing of this model is in it.
    """

    def __init__(self, catalog: Catalog, log: Log) -> None:
        self._catalog = catalog
        self._log = log
        self._passages: dict[Silence, _Passage] = {}
        self._seen: dict[_Reader, _Seen] = {}
        self._due_at = 0
        self._probes = 0

    def found(self, silences: Sequence[Silence], now: int) -> Sequence[Silence]:
        """Those of all silences, at processing time ``now``, ms, of which nothing is under way.
        Looked for twice a second at most, from one call to the next."""
        self._passages = {s: self._passages.get(s, _Passage()) for s in silences}
        if not silences or now < self._due_at:
            return []
        self._due_at = now + _LOOK_MS
        try:
            return self._look()
        except LogUnavailableError as error:
            _log.warning("windows wait: whether partitions are idle could not be seen: %s", error)
            return []

    def _look(self) -> Sequence[Silence]:
        ways = {
            silence: self._way(silence)
            for silence in self._passages
            if silence.model in self._catalog.models
        }
        readers = {reader for way in ways.values() for step in way for reader in step}
        offsets = self._offsets(readers)
        self._seen = {reader: seen for reader, seen in self._seen.items() if reader in readers}
        self._probes = _PROBES
        idle = [silence for silence, way in ways.items() if self._passed(silence, way, offsets)]
        for silence in idle:
            del self._passages[silence]
        return idle

    def _way(self, silence: Silence) -> Sequence[Sequence[_Reader]]:
        """The steps from events to windows."""
        topics = self._catalog.models[silence.model].topics
        control = self._catalog.topics

        def reader(service: str, topic: str) -> _Reader:
            return _Reader(control.group(service), TopicPartition(topic, silence.partition))

        windows = TopicPartition(control.partials, control.partition(silence.model))
        merge = [_Reader(control.group(MERGE), windows)]
        events = [reader("inference", topics.events)]
        if silence.stream is Stream.PREDICTIONS:
            return [events, [reader(SERVICE, topics.predictions)], merge]
        outcomes = [reader("outcomes", topics.predictions), reader("outcomes", topics.labels)]
        return [events, outcomes, [reader(SERVICE, topics.outcomes)], merge]

    def _offsets(self, readers: Set[_Reader]) -> _Offsets:
        topics = sorted({reader.source.topic for reader in readers})
        starts = self._log.start_offsets(topics)
        committed: dict[_Reader, int] = {}
        for group in sorted({reader.group for reader in readers}):
            own = [reader for reader in readers if reader.group == group]
            known = self._log.committed(group, sorted({reader.source.topic for reader in own}))
            for reader in own:
                # What was deleted before it was read is not read any more.
                start = starts.get(reader.source, 0)
                committed[reader] = max(known.get(reader.source, start), start)
        written = self._log.high_watermarks(topics)
        return _Offsets(committed, written, self._log.end_offsets(topics))

    def _passed(
        self, silence: Silence, way: Sequence[Sequence[_Reader]], offsets: _Offsets
    ) -> bool:
        """Whether all steps are, the last with this look."""
        passage = self._passages[silence]
        while passage.step < len(way):
            readers = way[passage.step]
            if passage.marks is None:
                passage.marks = [offsets.written.get(reader.source, 0) for reader in readers]
            for reader, mark in zip(readers, passage.marks, strict=True):
                if not self._read_to(reader, mark, offsets):
                    return False
            passage.step += 1
            passage.marks = None
        return True

    def _read_to(self, reader: _Reader, mark: int, offsets: _Offsets) -> bool:
        """Whether all records before ``mark`` have been read."""
        committed = offsets.committed[reader]
        if committed >= mark:
            return True
        if offsets.stable.get(reader.source, 0) < mark:
            return False  # what is not decided may be records still
        seen = self._seen.get(reader)
        if seen is None or seen.committed != committed:
            seen = _Seen(committed, committed, record=False)
        # Committed offsets stand behind the last record, before the marker of its transaction.
        if not seen.record and seen.offset < mark and self._probes > 0:
            self._probes -= 1
            offset = self._log.next_record(reader.source, seen.offset, mark)
            seen = _Seen(committed, offset, record=offset < mark)
        self._seen[reader] = seen
        return not seen.record and seen.offset >= mark

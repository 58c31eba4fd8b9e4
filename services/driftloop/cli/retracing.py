"""A model's windows once more, in the log's order, through a drift core of one's own.

What drift decided follows from them, the versions and the declarations alone, so the core says
again what the service said, and can be looked into after every window. The models topic is
compacted: of the declarations that there were it holds the newest, and some before it for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from driftloop.adapters.clock import SystemClock
from driftloop.cli.control import read_topics
from driftloop.cli.late_rows import Lateness
from driftloop.cli.recomputing import Told
from driftloop.cli.window_order import Finding, WindowOrder
from driftloop.drift.core import DriftCore, allowed_age
from driftloop.drift.detectors import Detectors
from driftloop.drift.state import Kept
from driftloop.drift.track import Track
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import ConfigurationError, DecodeError
from driftloop.kernel.ports import Log, RecordBatch, TopicPartition
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    Load,
    ModelRecord,
    Stream,
    Window,
)
from driftloop.kernel.topics import ControlTopics
from driftloop.kernel.windows import span

STREAM_OF: Mapping[AlertKind, Stream] = {
    kind: Stream.OUTCOMES if kind is AlertKind.CONCEPT_DRIFT else Stream.PREDICTIONS
    for kind in AlertKind
    if kind not in (AlertKind.STALE, AlertKind.NOT_LOADED)
}
"""The windows an alert of each kind comes from; the others come from none."""


@dataclass(frozen=True, slots=True)
class Step:
    """One record, and what the core said to it."""

    record: Window | Load
    offset: int
    said: tuple[Alert, ...]
    taken: bool
    """Whether it changed anything; otherwise it became a dead letter."""
    tested: Sequence[Kept] = ()
    """Windows that were tested now: none for a part that waits for others, a revision, or one of
    hours that another version shares."""


class Retracing:
    """Of one model: its windows of one stream, or without a stream what was said of its loading."""

    def __init__(
        self,
        log: Log,
        catalog: Catalog,
        model: str,
        stream: Stream | None,
        alerts: Iterable[Alert],
        progress: Callable[[str], None] = lambda line: None,
        on_tested: Callable[[Kept, Detectors], None] = lambda window, detectors: None,
    ) -> None:
        """``alerts``, all there are, tell what was in force at the windows they come from; at
        others it is what had been written when the window was. ``progress`` gets a line now and
        then. ``on_tested`` is told of each window that is tested, while its detectors stand where
        it brought them: one record may make several whole. Raises :class:`ConfigurationError`
        where the model's declaration is gone."""
        self._progress = progress
        self._log = log
        self._topics = catalog.topics
        self._model = model
        self._stream = stream
        self._declarations = _declarations(log, catalog.topics, model)
        if not self._declarations:
            raise ConfigurationError(
                f"model {model!r} is not declared any more, so nothing can be recomputed"
            )
        self._by_digest = {found.digest: found for _, found in self._declarations}
        own = [alert for alert in alerts if alert.model == model]
        self._named = _named(own)
        self._versions = {alert.version for alert in own}
        """Without which nothing can be recomputed."""
        self._began: dict[int, int] = {}
        """Version to when the first of its windows was written, ms."""
        self._catalog = Catalog(catalog.topics, declaration_of)
        self._catalog.versions.update(catalog.versions)
        self.core = DriftCore(self._catalog, self._note)
        self._on_tested = on_tested
        self._tested: list[Kept] = []
        """In the step under way."""
        self.windows: dict[str, Window] = {}
        """What the core took so far, by id; the revision that counted."""
        self.refused: list[str] = []
        """Records so far that changed nothing, and why."""
        self._order = WindowOrder(from_start=self._begin == 0)
        self._ended = False

    @property
    def declarations(self) -> int:
        """How many the log still has of the model."""
        return len(self._declarations)

    @property
    def digests(self) -> Set[str]:
        """Of the declarations that the log still has of the model."""
        return self._by_digest.keys()

    @property
    def allowed_ages(self) -> list[int]:
        """How old the newest window of predictions may be by each of these declarations, ms."""
        return [allowed_age(found) for _, found in self._declarations]

    def began_before(self, version: int) -> bool:
        """Whether a version has windows, of those given so far, that were written before the oldest
        declaration the log still has: what was in force then is gone."""
        return self._began.get(version, self._declarations[0][0]) < self._declarations[0][0]

    def findings(self) -> list[Finding]:
        """What the windows so far say wrong of their place among each other."""
        return self._order.findings(at_end=self._ended)

    def lateness(self) -> Lateness | None:
        """What decides which rows of the windows so far were late; None where the log has
        declarations that allow different lateness, or events at other times."""
        policies = {(found.windows.lateness, *span(found)) for _, found in self._declarations}
        if len(policies) > 1:
            return None
        versions = [number for name, number in self._catalog.versions if name == self._model]
        since, declared = self._declarations[0]
        return Lateness.of(declared, since, [0, *versions], self.windows.values())

    @property
    def _begin(self) -> int:
        """The first offset that there still is."""
        return self._log.start_offsets([self.source.topic]).get(self.source, 0)

    @property
    def source(self) -> TopicPartition:
        """What is read."""
        topics = self._topics
        topic = topics.loads if self._stream is None else topics.windows
        return TopicPartition(topic, topics.partition(self._model))

    def steps(self) -> Iterator[Step]:
        """Raises :class:`ConfigurationError` where a version is gone."""
        ends = self._log.end_offsets([self.source.topic])
        kind: type[Window] | type[Load] = Load if self._stream is None else Window
        ahead = list(self._declarations)
        by_time = ahead[0][1]
        start, end = self._begin, ends.get(self.source, 0)
        told = Told(self._progress, end - start, SystemClock(), "retracing the alert")
        at = start
        for batch in self._log.read(self.source, start, end):
            for row, value in enumerate(batch.values):
                told.more(batch.offsets[row] - at)
                at = batch.offsets[row]
                try:
                    record = codec(kind).decode(value)
                except DecodeError as error:
                    self._refuse(batch, row, error)
                    continue
                if record.model != self._model:
                    continue
                if isinstance(record, Window) and record.stream is not self._stream:
                    continue
                written = batch.timestamps[row]
                while ahead and ahead[0][0] <= written:
                    by_time = ahead.pop(0)[1]
                self._declare(by_time, record)
                step = self._step(record, batch, row)
                if isinstance(record, Window) and step.taken:
                    self.windows.setdefault(record.id, record)
                    self._began.setdefault(record.version, written)
                    self._order.add(record)
                yield step
        self._ended = True

    def parts(self, window: Window) -> list[str]:
        """Ids of the windows of its start and version so far: one for each shadow."""
        key = (window.start, window.version)
        return [id for id, each in self.windows.items() if (each.start, each.version) == key]

    def _declare(self, by_time: Declaration, record: Window | Load) -> None:
        """What is in force at a record: services read declarations a moment after they were
        written, so what an alert says is nearer to it."""
        due = by_time
        if isinstance(record, Window):
            named = self._named.get((record.stream, record.version, record.end), due.digest)
            if named != due.digest:
                due = self._by_digest.get(named, due)
        if self._catalog.models.get(self._model) is not due:
            self._catalog.declare(due)

    def _step(self, record: Window | Load, batch: RecordBatch, row: int) -> Step:
        only = slice(row, row + 1)
        one = replace(
            batch,
            offsets=batch.offsets[only],
            timestamps=batch.timestamps[only],
            keys=batch.keys[only],
            values=batch.values[only],
            headers=None,
        )
        self._tested = []
        try:
            outputs = self.core.process(one)
        except ControlBehindError as error:
            if isinstance(record, Load) or record.version in self._versions:
                raise ConfigurationError(f"nothing can be recomputed: {error}") from error
            # The service waits for such a version, and in the end refuses its windows.
            self._refuse(batch, row, error)
            return Step(record, batch.offsets[row], (), False)
        for letter in outputs.dead_letters:
            self._refuse(batch, row, letter.detail)
        sends = (send for send in outputs.sends if send.topic == self._topics.alerts)
        said = tuple(codec(Alert).decode(value) for send in sends for value in send.values)
        taken = not outputs.dead_letters
        return Step(record, batch.offsets[row], said, taken, self._tested)

    def _refuse(self, batch: RecordBatch, row: int, why: object) -> None:
        self.refused.append(
            f"the record at {batch.topic}/{batch.partition} offset {batch.offsets[row]} decided "
            f"nothing: {why}"
        )

    def _note(self, track: Track) -> None:
        assert track.detectors is not None  # it has just tested a window
        (window,) = track.newest(1)
        self._tested.append(window)
        self._on_tested(window, track.detectors)


def _named(alerts: Iterable[Alert]) -> dict[tuple[Stream, int, int], str]:
    """By stream, version and end of a window the declaration that alerts say it was tested under;
    nothing where they name several, for windows of one end may be tested under two."""
    found: dict[tuple[Stream, int, int], set[str]] = {}
    for alert in alerts:
        stream = STREAM_OF.get(alert.kind)
        # A resolution may have nothing to do with what its window was tested under.
        if stream is not None and alert.status is not AlertStatus.RESOLVED and alert.declaration:
            found.setdefault((stream, alert.version, alert.at), set()).add(alert.declaration)
    return {at: names.pop() for at, names in found.items() if len(names) == 1}


def _declarations(log: Log, topics: ControlTopics, model: str) -> list[tuple[int, Declaration]]:
    """Every declaration of a model that the log still has, with the time it was written."""
    found: list[tuple[int, Declaration]] = []
    for batch in read_topics(log, [topics.models]):
        for row, value in enumerate(batch.values):
            try:
                record = None if value is None else codec(ModelRecord).decode(value)
                if record is not None and record.name == model:
                    found.append((batch.timestamps[row], declaration_of(record)))
            except (DecodeError, ConfigurationError):
                continue  # reported by the services that follow the topic
    return found

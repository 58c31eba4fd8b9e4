"""Alerts from windows, within a budget of false ones; and of versions that cannot be loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from driftloop.drift.alerts import annotated, cloud_event_headers
from driftloop.drift.detectors import Readings
from driftloop.drift.freshness import Freshness
from driftloop.drift.loading import Loading
from driftloop.drift.parts import Parts, Whole
from driftloop.drift.track import Track
from driftloop.drift.watches import Ready, Watches
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.deadletters import dead_letter
from driftloop.kernel.decisions import (
    HISTOGRAMS,
    Outgoing,
    declared,
    horizon_of,
    read_records,
)
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.entries import Entries
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import ControlBehindError, Outputs
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import (
    Alert,
    Command,
    CommandAction,
    Estimate,
    Load,
    OffsetRange,
    Stream,
    Window,
)
from driftloop.kernel.windows import span, window_start

SERVICE = "drift"

_log = logging.getLogger(__name__)

_LOOK_EVERY = 1000
"""ms between two looks for staleness: there may be a thousand models."""


@dataclass(slots=True)
class _Model:
    """All that is kept of one model. Predictions and outcomes are watched apart, each in its own
    order, so that how the two interleave decides nothing."""

    tracks: dict[Stream, Track]
    parts: dict[Stream, Parts]
    freshness: Freshness
    loading: Loading

    def open_alerts(self) -> list[Alert]:
        alerts = [alert for track in self.tracks.values() for alert in track.open_alerts()]
        if self.freshness.alert is not None:
            alerts.append(self.freshness.alert)
        return [*alerts, *self.loading.alerts.values()]

    def annotate(self, alert: Alert) -> None:
        """Take back an open alert that somebody acknowledged or snoozed."""
        for track in self.tracks.values():
            track.annotate(alert)
        self.freshness.annotate(alert)
        self.loading.annotate(alert)


_LONGEST = 4096
"""Characters of a text that others wrote and an alert keeps."""
_LATEST = 253_402_300_800_000
"""Year 10000, which alerts could not write."""


class DriftCore:
    """Reads ``windows``, ``loads`` and ``commands``, writes ``alerts`` and ``estimates`` (key: the
    model).

    What is tested and what the budget promises: ``drift.shiryaev``, ``drift.bets``. A window
    counts once, in the first revision seen, with all its parts (``drift.parts``). Version 0 has no
    reference, so only its stream's freshness is watched.
    """

    def __init__(
        self, catalog: Catalog, on_tested: Callable[[Track], None] = lambda track: None
    ) -> None:
        """``on_tested`` is told of each window that was tested, before the next one is."""
        self._catalog = catalog
        self._on_tested = on_tested
        self._entries = Entries()
        self._models: dict[str, _Model] = {}
        self._watches = Watches()
        self._estimates: dict[tuple[str, Stream, str], Estimate] = {}
        self._looked = -_LOOK_EVERY
        """When staleness was last looked for, processing time, ms."""
        self._moved: set[str] = set()
        """Models with windows since the readings were last asked for."""

    def process(self, batch: RecordBatch) -> Outputs:
        """Raises :class:`ControlBehindError` before any change."""
        topics = self._catalog.topics
        if batch.topic == topics.loads:
            return self._loads(batch)
        if batch.topic == topics.commands:
            return self._commands(batch)
        if batch.topic != topics.windows:
            raise ValueError(f"drift does not read {batch.topic!r}")
        found, letters = read_records(SERVICE, Window, batch, topics, HISTOGRAMS)
        for _, window in found:
            declared(self._catalog, window.model)
            if window.version > 0:
                self._catalog.version(window.model, window.version)
        outgoing = Outgoing()
        for row, window in found:
            try:
                alerts, estimates = self._window(window, batch.timestamps[row])
                for alert in alerts:
                    self._send(alert, outgoing)
                for estimate in estimates:
                    self._tell(estimate, outgoing)
            except DecodeError as error:
                letters.append(dead_letter(SERVICE, batch, row, error))
        return outgoing.outputs(letters)

    def on_time(self, now: int) -> Outputs:
        """Staleness only: processing time decides that alert, and nothing else."""
        outgoing = Outgoing()
        if self._looked <= now < self._looked + _LOOK_EVERY:
            return outgoing.outputs()
        self._looked = now
        for name in sorted(self._models):
            declaration = self._catalog.models.get(name)
            if declaration is None:
                continue
            alert = self._models[name].freshness.look(now, allowed_age(declaration))
            if alert is not None:
                self._send(alert, outgoing)
        return outgoing.outputs()

    def commit_due(self, now: int) -> bool:
        return True

    def flush(self) -> Outputs:
        return Outputs()

    def snapshot(self) -> Mapping[str, bytes | None]:
        for model in self._models.values():
            for track in model.tracks.values():
                track.save()
        return self._entries.changes()

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        if source.topic != self._catalog.topics.windows:
            return
        for name in self._entries.load(entries):
            model = self._model(name)
            for entry, value in self._entries.read(name):
                part, _, rest = entry.partition("/")
                if part == "freshness":
                    model.freshness.load(value)
                elif part == "loading":
                    model.loading.load(value)
                elif part == "used":
                    stream, _, window = rest.partition("/")
                    model.parts[Stream(stream)].used.load(window, value)
                elif part == "parts":
                    stream, _, _ = rest.partition("/")
                    model.parts[Stream(stream)].load(value)
                else:
                    model.tracks[Stream(part)].load(rest, value)

    def drop(self, source: TopicPartition) -> None:
        topics = self._catalog.topics
        if source.topic != topics.windows:
            return
        self._entries.forget(lambda model: topics.partition(model) == source.partition)
        for model in [m for m in self._models if topics.partition(m) == source.partition]:
            del self._models[model]
            self._watches.drop(model)
        for key in [k for k in self._estimates if topics.partition(k[0]) == source.partition]:
            del self._estimates[key]

    def open_alerts(self) -> Mapping[str, list[Alert]]:
        """Model to its open alerts with their newest evidence, for whoever shows them."""
        return {name: model.open_alerts() for name, model in self._models.items()}

    def models(self) -> Set[str]:
        """Those that something is known of."""
        return self._models.keys()

    def open_alerts_of(self, model: str) -> list[Alert]:
        """See :meth:`open_alerts`; of one model that is known."""
        return self._models[model].open_alerts()

    def track(self, model: str, stream: Stream) -> Track:
        """A model's windows of one stream, for whoever shows how they stand."""
        return self._model(model).tracks[stream]

    def readings(self) -> list[tuple[Stream, Readings]]:
        """Where all detectors stand that have seen a window since the last call, for whoever shows
        it: those of a model's windows of one stream together."""
        tracks = [
            (stream, track)
            for model in sorted(self._moved & self._models.keys())
            for stream, track in self._models[model].tracks.items()
        ]
        self._moved.clear()
        found = ((stream, track.readings()) for stream, track in tracks)
        return [(stream, readings) for stream, readings in found if readings is not None]

    def estimates(self) -> list[Estimate]:
        """The newest since the last call, of each model, kind of windows and metric, for whoever
        shows them."""
        found = list(self._estimates.values())
        self._estimates.clear()
        return found

    def _loads(self, batch: RecordBatch) -> Outputs:
        found, letters = read_records(SERVICE, Load, batch, self._catalog.topics)
        outgoing = Outgoing()
        for row, load in found:
            why = ""
            if load.model not in self._catalog.models and load.model not in self._models:
                why = f"load of model {load.model!r}, which is not declared"
            elif not 0 <= load.at < _LATEST:
                why = f"load of model {load.model!r} at {load.at} ms, which is no time"
            elif max(len(load.instance), len(load.error)) > _LONGEST:
                why = f"load of model {load.model!r} with a text of more than {_LONGEST} characters"
            if why:
                letters.append(
                    dead_letter(SERVICE, batch, row, DecodeError(Reason.OUT_OF_LIMITS, why))
                )
                continue
            at = batch.offsets[row]
            source = OffsetRange(batch.topic, batch.partition, at, at + 1)
            for alert in self._model(load.model).loading.seen(load, source):
                self._send(alert, outgoing)
        return outgoing.outputs(letters)

    def _commands(self, batch: RecordBatch) -> Outputs:
        """Acknowledge and snooze: what people said is written on the alert."""
        found, letters = read_records(SERVICE, Command, batch, self._catalog.topics)
        outgoing = Outgoing()
        for row, command in found:
            if command.action not in (CommandAction.ACKNOWLEDGE, CommandAction.SNOOZE):
                continue
            # Of any name that somebody wrote; nothing is kept of models that nothing is known of.
            model = self._models.get(command.model)
            alerts = [] if model is None else model.open_alerts()
            alert = next((a for a in alerts if a.id == command.alert), None)
            if model is None or alert is None or len(command.who) > _LONGEST:
                why = f"command {command.id[:_LONGEST]}: no alert {command.alert!r} is open"
                if alert is not None:
                    why = f"a command's author has at most {_LONGEST} characters"
                letters.append(
                    dead_letter(SERVICE, batch, row, DecodeError(Reason.OUT_OF_LIMITS, why))
                )
                continue
            said = annotated(alert, command)
            model.annotate(said)
            self._send(said, outgoing)
        return outgoing.outputs(letters)

    def _window(self, window: Window, written: int) -> tuple[list[Alert], list[Estimate]]:
        declaration = declared(self._catalog, window.model)
        _check_frame(window, declaration)
        model = self._models.get(window.model) or self._new(window.model)
        parts = model.parts[window.stream]
        # One that does not fit, by itself or with those that wait for it, changes nothing.
        together = parts.checked(window)
        own = self._ready(together, declaration)
        self._models[window.model] = model
        self._moved.add(window.model)
        out: list[Alert] = []
        if window.stream is Stream.PREDICTIONS:
            alert = model.freshness.seen(window, written)
            if alert is not None:
                out.append(alert)
        estimates: list[Estimate] = []
        for whole in parts.take(window, horizon_of(declaration)):
            ready = own if whole.ids == together.ids else self._ready_late(whole, declaration)
            estimates += ready.estimates
            track = model.tracks[window.stream]
            tested = track.tested
            out += track.take(whole, ready.watch, ready.counts, declaration.digest)
            if track.tested > tested:
                self._on_tested(track)
        return out, estimates

    def _ready(self, whole: Whole, declaration: Declaration) -> Ready:
        """Raises :class:`DecodeError` for a window that does not fit its version's profile."""
        window = whole.window
        if window.version <= 0:
            return Ready()
        version = self._catalog.version(window.model, window.version)
        return self._watches.ready(whole, version, declaration)

    def _ready_late(self, whole: Whole, declaration: Declaration) -> Ready:
        """Of parts that waited in vain for others. Each fitted when it came; where they do not any
        more, for the version is gone, they are not tested, and the window that ended their waiting
        is none the worse for it."""
        try:
            return self._ready(whole, declaration)
        except (DecodeError, ControlBehindError) as error:
            _log.error("window %s is not tested: %s", whole.name, error)
            return Ready()

    def _tell(self, estimate: Estimate, outgoing: Outgoing) -> None:
        topics = self._catalog.topics
        self._estimates[estimate.model, estimate.stream, estimate.metric] = estimate
        outgoing.add(
            topics.estimates,
            topics.partition(estimate.model),
            estimate.model,
            codec(Estimate).encode(estimate),
        )

    def _send(self, alert: Alert, outgoing: Outgoing) -> None:
        topics = self._catalog.topics
        outgoing.add(
            topics.alerts,
            topics.partition(alert.model),
            alert.model,
            codec(Alert).encode(alert),
            cloud_event_headers(alert),
        )

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            self._models[name] = self._new(name)
        return self._models[name]

    def _new(self, name: str) -> _Model:
        return _Model(
            tracks={s: Track(self._entries, name, str(s)) for s in Stream},
            parts={s: Parts(self._entries, name, s) for s in Stream},
            freshness=Freshness(self._entries, name),
            loading=Loading(self._entries, name),
        )


def allowed_age(declaration: Declaration) -> int:
    """How long ago the newest window of predictions may have been written, processing time, ms:
    they are when they close, so the next is due ``size`` and ``lateness`` after it."""
    windows = declaration.windows
    return windows.size + windows.lateness + declaration.alerts.stale_after


def _check_frame(window: Window, declaration: Declaration) -> None:
    """What a window says of itself beside its statistics. One that lies far in the future would
    make all that follow look old. Raises :class:`DecodeError`."""
    size = declaration.windows.size
    first, last = span(declaration)
    earliest, latest = min(window_start(first, size), 0), min(last + size, _LATEST)
    if not earliest <= window.start < window.end <= latest:
        reason, why = Reason.OUT_OF_LIMITS, "is outside of events' times"
    elif window.end - window.start != size or window.start != window_start(window.start, size):
        reason, why = Reason.MALFORMED, f"is no window of {size} ms, as they were declared"
    elif window.version < 0 or any(
        source.partition < 0 or not 0 <= source.start < source.end for source in window.sources
    ):
        reason = Reason.MALFORMED
        why = f"is of version {window.version}, or of offsets that there are not"
    elif window.rows != window.statistics.rows:
        reason = Reason.MALFORMED
        why = f"has {window.rows} rows, and counts of {window.statistics.rows}"
    else:
        return
    raise DecodeError(reason, f"window {window.id}: [{window.start}, {window.end}) ms {why}")

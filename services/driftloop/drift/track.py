"""One stream of one model's windows, watched: which version serves, what its detectors say, and
the alerts that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from driftloop.drift import wording
from driftloop.drift.alerts import resolved
from driftloop.drift.cases import Case
from driftloop.drift.detectors import Detectors, Readings
from driftloop.drift.judging import judge
from driftloop.drift.parts import Whole
from driftloop.drift.serving import Serving
from driftloop.drift.state import History, Kept
from driftloop.drift.watch import Watch
from driftloop.kernel.codec.blocks import I64
from driftloop.kernel.entries import Entries
from driftloop.kernel.records import Alert, AlertKind, Window


class Track:
    """Windows of other versions than the one serving are not tested: their alerts are over, and
    what they tell is of no use to anyone any more."""

    def __init__(self, entries: Entries, model: str, stream: str) -> None:
        self._entries = entries
        self._model = model
        self._prefix = f"{model}/{stream}/"
        self._serving = Serving()
        self._next = 0
        self._history = History()
        self._cases: list[Case] = []
        self._onsets: dict[AlertKind, int] = {}
        """The latest of the alerts opened so far, by kind."""
        self._detectors: Detectors | None = None
        self._stored: dict[str, Any] = {}
        """Entries of detectors that no window has asked for yet since they were restored."""
        self._written: set[str] = set()
        """Names of the entries there are."""
        self._changed = False
        self._moved = False
        """Whether a window was tested since the readings were last asked for."""

    def take(
        self, whole: Whole, watch: Watch | None, counts: I64 | None, declaration: str = ""
    ) -> list[Alert]:
        """Alerts that a window not used before leads to. ``watch`` and ``counts``, the window's
        within it, are None for a version without a profile; ``declaration`` is the digest of the
        one in force."""
        out: list[Alert] = []
        window = whole.window
        if self._serving.takes_over(window):
            out += self._replace(window)
        self._serving.note(window)
        # A version takes over in the middle of a window: its part of that one is of some hours
        # only, and differs from any reference by that.
        all_of_it = window.start != self._serving.began
        serves = window.version == self._serving.version
        if serves and all_of_it and watch is not None and counts is not None:
            kept = Kept.of(self._next, whole, watch.slot(window), counts)
            self._next += 1
            out += self._test(window, watch, kept, declaration)
        self._changed = True
        return out

    def save(self) -> None:
        """Bring the entries up to date. Once for all windows of a batch: state is large."""
        if not self._changed:
            return
        self._changed = False
        self._entries.put(self._prefix + "head", self._head())
        names = {"head"}
        for place, case in enumerate(self._cases):
            # Each by itself: of many features in many segments one alone may take megabytes.
            name = f"case/{place:04d}"
            names.add(name)
            self._entries.put(self._prefix + name, case.to_plain())
        if self._detectors is None:
            # They lie among the entries as they were taken back.
            names |= self._stored.keys()
        else:
            for part in self._detectors.parts():
                names.add(part.name)
                if part.changed:
                    self._entries.put(self._prefix + part.name, part.plain())
            self._detectors.saved()
        for kept in self._history.windows:
            name = f"kept/{kept.number:012d}"
            names.add(name)
            if name not in self._written or kept.number in self._history.grown:
                self._entries.put(self._prefix + name, kept.to_plain())
        self._history.grown.clear()
        for name in self._written - names:
            self._entries.delete(self._prefix + name)
        self._written = names

    @property
    def tested(self) -> int:
        """How many windows were tested so far; it grows by one with each."""
        return self._next

    def newest(self, windows: int) -> Sequence[Kept]:
        """Of the windows tested last so many, oldest first; fewer where a version has taken over or
        a declaration has begun anew between them."""
        return self._history.windows[-windows:] if windows > 0 else ()

    @property
    def detectors(self) -> Detectors | None:
        """Of the version that serves; None before its first window."""
        return self._detectors

    def open_alerts(self) -> list[Alert]:
        """In the order of their opening."""
        return [case.alert for case in self._cases]

    def annotate(self, alert: Alert) -> None:
        """Take back an open alert that somebody acknowledged or snoozed."""
        for case in self._cases:
            if case.alert.id == alert.id:
                case.alert = alert
                self._changed = True

    def readings(self) -> Readings | None:
        """Of the newest window tested, once; of nothing when another version has taken over."""
        if not self._moved:
            return None
        self._moved = False
        if self._detectors is None:
            return Readings(self._model, (), (), ())
        return self._detectors.readings(self._model, self._history)

    def load(self, name: str, value: Any) -> None:
        """Take back one entry, named without the prefix; all come in the order of their names."""
        self._written.add(name)
        part, _, _ = name.partition("/")
        if part == "head":
            self._next = value["next"]
            self._serving = Serving.from_plain(value["serving"])
            onsets = value.get("onsets")
            if onsets is None:  # an older release kept none; the cases have come already
                pairs = [(case.alert.onset, case.alert.kind.value) for case in self._cases]
                onsets = {kind: onset for onset, kind in sorted(pairs)}
            self._onsets = {AlertKind(kind): onset for kind, onset in onsets.items()}
        elif part == "case":
            self._cases.append(Case.from_plain(value))
        elif part == "kept":
            self._history.windows.append(Kept.from_plain(value))
        else:
            self._stored[name] = value

    def _test(self, window: Window, watch: Watch, kept: Kept, declaration: str) -> list[Alert]:
        out: list[Alert] = []
        detectors = self._detectors
        if detectors is None or detectors.watch is not watch:
            # A restart, or a new declaration: the state goes on if the same is watched.
            stored = self._stored if self._detectors is None else self._detectors.entries()
            detectors = Detectors(watch)
            if stored and not detectors.load(stored):
                out += [resolved(a, window.end, wording.REDECLARED) for a in self.open_alerts()]
                self._cases = []
                self._history = History()
            self._detectors, self._stored = detectors, {}
        self._history.append(kept, detectors.reach)
        self._moved = True
        said = judge(detectors, window, kept, self._model, self._history, self._cases, self._onsets)
        # Of the open ones, too, that have nothing to say: their evidence is this window's.
        for case in self._cases:
            case.alert = replace(case.alert, declaration=declaration)
        return out + [replace(alert, declaration=declaration) for alert in said]

    def _replace(self, window: Window) -> list[Alert]:
        """The window's version takes over: what was known of the other is over."""
        summary = wording.replaced(self._serving.version, window.version)
        out = [resolved(alert, window.end, summary) for alert in self.open_alerts()]
        self._detectors, self._stored = None, {}
        self._cases = []
        self._history = History()
        self._moved = True
        self._serving.replace(window)
        return out

    def _head(self) -> dict[str, Any]:
        return {
            "next": self._next,
            "serving": self._serving.to_plain(),
            "onsets": {kind.value: onset for kind, onset in sorted(self._onsets.items())},
        }

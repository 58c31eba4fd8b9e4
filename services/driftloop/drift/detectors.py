"""All detectors of one watch and where they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from driftloop.drift.cases import Found
from driftloop.drift.collecting import Collection
from driftloop.drift.effects import LEAST_CONSTANT_ROWS, Effect
from driftloop.drift.learning import Learning
from driftloop.drift.panel import Key, Panel
from driftloop.drift.recovery import Recovery
from driftloop.drift.shiryaev import earliest_onset, onset, threshold
from driftloop.drift.state import History, Kept, Part, reach
from driftloop.drift.still import STILL, Still
from driftloop.drift.streams import Measure, Watched
from driftloop.drift.watch import TWO_SIDED, Watch
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import AlertKind, Window

RECENT_ROWS = 1000
"""Rows an effect is measured on where a slight change has lasted long, and for whoever looks."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Where the detectors of a model's windows stand after the newest one."""

    model: str
    streams: Sequence[tuple[str, str, str]]
    """Kind, subject and segment of each; one and the same object until others are watched."""
    effects: Sequence[float]
    """Of the newest rows, over the least that is worth an alert."""
    evidence: Sequence[float]
    """Values over their thresholds, difference of natural logarithms; alarm from 0 on."""


_SMALL_SHARES = (Measure.MISSING, Measure.UNSEEN, Measure.OUTSIDE)
_LEAST_HITS = 16
"""Rows of such a share. At half of its floor as many come together by chance within the rows that
would make the floor of them in less than one of a hundred such stretches."""

_FORMAT = "6"
"""Of the entries. What another one left is of no use; watching begins anew."""


class Detectors:
    """The state of everything watched of one version on one kind of windows."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._panels = {family: Panel(family, watch) for family in watch.groups}
        self._still = Still(
            watch.streams.still, _of_all_rows(watch.references), watch.clumps[STILL]
        )
        learning = Learning(watch.groups, watch.layout, watch.trained)
        self._learning = learning if learning.needed else None
        collects = watch.policy.reference == "first_weeks"
        period = watch.policy.reference_period
        self._collection = Collection(period, learning) if collects else None
        self.recovery = Recovery(
            self._panels, self._still, threshold(1, watch.policy.false_alarms_per_100k)
        )

    def take(self, window: Window, kept: Kept) -> bool:
        """Whether the window was tested; one of the first weeks is not."""
        collection, learning = self._collection, self._learning
        if collection is not None and not collection.done:
            if collection.take(kept):
                return False
            self._use_collection(kept.number)
        elif learning is not None and learning.retold():
            self._use_learning(learning)
        for panel in self._panels.values():
            panel.take(kept)
        self._still.take(kept, window)
        # What is known to have changed says nothing of how much windows vary by themselves.
        if learning is not None and not any(p.frozen.any() for p in self._panels.values()):
            learning.follow(kept)
        return True

    def margins(self, least: float = -math.inf) -> Iterator[tuple[float, Key]]:
        """How far above its threshold each stream is, natural logarithm; of those from ``least``
        on."""
        for family, panel in self._panels.items():
            margins = panel.margins()
            for row, stream in np.argwhere(margins >= least).tolist():
                yield float(margins[row, stream]), (family, row, stream)
        for index in range(len(self._still.streams)):
            margin = self._still.margin(index)
            if margin >= least:
                yield margin, (STILL, 0, index)

    def __len__(self) -> int:
        """How many streams there are, those of segments included."""
        tested = sum(panel.levels.size for panel in self._panels.values())
        return tested + len(self._still.streams)

    def stream(self, key: Key) -> Watched:
        family, _, index = key
        streams = self._still.streams if family == STILL else self._panels[family].group.streams
        return streams[index]

    def find(self, kind: AlertKind, named: str) -> Key | None:
        """The stream that alerts of this kind call so, with its segment in brackets."""
        for _, key in self.margins():
            stream, segment = self.stream(key), self._segment(key[1])
            own = f"{stream.subject}[{segment}]" if segment else stream.subject
            if stream.kind is kind and own == named:
                return key
        return None

    def level(self, key: Key) -> float:
        """Log of a stream's M."""
        family, row, index = key
        if family == STILL:
            return self._still.level(index)
        return float(self._panels[family].levels[row, index])

    def compared(self, key: Key, windows: Sequence[Kept]) -> tuple[F64, F64, F64]:
        """Counts of these windows on a stream's bins, and the shares that the reference has there
        and that the bags have. Not of a feature that stands still."""
        family, row, index = key
        panel = self._panels[family]
        span = panel.group.span(index)
        return (
            panel.counts(windows, row)[span],
            panel.expected(windows, row).shares[span],
            panel.before(windows, row).shares[span],
        )

    def since(self, key: Key, history: History) -> list[Kept]:
        """The windows from the suspected onset of a stream's change on."""
        family, row, index = key
        if family == STILL:
            return history.since(self._still.runs[index][0])
        panel = self._panels[family]
        windows = history.since(int(panel.since[row, index]))
        return windows[onset(panel.scores(key, windows)) :] if windows else []

    def may_have_begun(self, key: Key, history: History) -> int:
        """Event time, ms, at which a stream's change may have begun at the earliest."""
        family, row, index = key
        if family == STILL:
            return self.since(key, history)[0].start
        panel = self._panels[family]
        windows = history.since(int(panel.since[row, index]))
        return windows[earliest_onset(panel.scores(key, windows))].start

    def newest(self, key: Key, history: History) -> list[Kept]:
        """The newest windows that count towards a stream's evidence."""
        family, row, index = key
        first = 0 if family == STILL else int(self._panels[family].since[row, index])
        return [kept for kept in history.newest(RECENT_ROWS) if kept.number >= first]

    def found(self, key: Key, windows: Sequence[Kept], *, recovered: bool = False) -> Found:
        """A stream as these windows show it, against its reference; ``recovered``: against what it
        was before its change."""
        family, row, index = key
        stream = self.stream(key)
        if family == STILL:
            measured = self._still_effect(index)
            rows, level, dispersion = (
                measured.size,
                self._still.level(index),
                self._still.dispersions(windows[-1].rows if windows else 0)[index],
            )
        else:
            panel = self._panels[family]
            counts = panel.counts(windows, row)
            rows = float(panel.group.totals(counts)[index])
            expected = panel.before(windows, row) if recovered else None
            measured = panel.effects(windows, row, counts, expected)[index]
            level = float(panel.levels[row, index])
            dispersion = float(panel.dispersions[row, index])
        segment = self._segment(row)
        return Found(key, stream, segment, level, dispersion, measured, tuple(windows), int(rows))

    def convinces(self, found: Found) -> bool:
        """Whether the windows that show the effect are also the evidence for it.

        A slight change that lasts is certain in the end, and some few rows will then look like a
        large one. So they must pay for the alarm by themselves; of shares that are small (missing
        values, new categories, values out of range) there must be enough rows to tell the share.
        """
        family, row, index = found.key
        if family == STILL:
            return True
        panel = self._panels[family]
        if found.stream.measure in _SMALL_SHARES:
            span = panel.group.span(index)
            if panel.counts(found.since, row)[span][-1] < _LEAST_HITS:
                return False
        # Of the rows each may be the first of the change: M is a sum over them.
        paid = panel.evidence(found.key, found.since) + math.log(max(found.rows, 1))
        return paid >= found.stream.threshold

    def rows(self, key: Key, kept: Kept) -> int:
        """Of a stream in one window."""
        family, row, index = key
        if family == STILL:
            return 0
        panel = self._panels[family]
        return int(panel.counts([kept], row)[panel.group.span(index)].sum())

    @property
    def reach(self) -> int:
        """Rows of the newest windows that an onset is looked for in."""
        return reach(max((panel.widest for panel in self._panels.values()), default=1.0))

    @property
    def reference(self) -> str:
        """What is compared with, in words."""
        season = self.watch.season
        by = f" by {' and '.join(season)}" if season else ""
        return f"{self.watch.policy.reference}{by}"

    def readings(self, model: str, history: History) -> Readings:
        """Of every stream, with the effect of the newest rows."""
        newest = history.newest(RECENT_ROWS)
        effects: list[float] = []
        evidence: list[float] = []
        for panel in self._panels.values():
            margins = panel.margins()
            for row in range(self.watch.rows):
                counts = panel.counts(newest, row)
                effects += panel.effects(newest, row, counts).ratios().tolist()
                evidence += margins[row].tolist()
        for index in range(len(self._still.streams)):
            effects.append(self._still_effect(index).ratio)
            evidence.append(self._still.margin(index))
        return Readings(model, self._streams_read, effects, evidence)

    @cached_property
    def _streams_read(self) -> Sequence[tuple[str, str, str]]:
        """What the readings are of."""
        whole = [
            (stream.kind.value, stream.subject, self._segment(row))
            for panel in self._panels.values()
            for row in range(self.watch.rows)
            for stream in panel.group.streams
        ]
        return [*whole, *((s.kind.value, s.subject, "") for s in self._still.streams)]

    def parts(self) -> Iterator[Part]:
        """All state."""
        yield Part("watched", True, lambda: self._watched)
        yield from self._still.parts()
        if self.recovery.returns:
            yield Part("returns", True, self.recovery.to_plain)
        for part in (self._collection, self._learning):
            if part is not None:
                yield from part.parts()
        for panel in self._panels.values():
            yield from panel.parts()

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        for part in (self._collection, self._learning):
            if part is not None:
                part.saved()
        for panel in self._panels.values():
            panel.saved()
        self._still.saved()

    def entries(self) -> dict[str, Any]:
        """All state, by name."""
        return {part.name: part.plain() for part in self.parts()}

    def load(self, entries: Mapping[str, Any]) -> bool:
        """Go on from :meth:`entries`, if they are of the same streams. Whether they are."""
        if entries.get("watched") != self._watched:
            return False
        if self._learning is not None:
            self._learning.load(entries)
            self._use_learning(self._learning)
        if self._collection is not None:
            self._collection.load(entries)
            if self._collection.done:
                self._use_collection(0)
        self._still.load(entries["still"])
        self.recovery.load(entries.get("returns", ()))
        for name, value in entries.items():
            part, _, rest = name.partition("/")
            if part == "panel":
                self._panels[rest].load(value)
            elif part == "bag":
                family, _, slot = rest.partition("/")
                bags = self._still if family == STILL else self._panels[family]
                bags.load_bag(int(slot), value)
            elif part == "blocks":
                family, slot, place = rest.split("/")
                self._panels[family].load_block(int(slot), int(place), value)
        return True

    def _use_collection(self, number: int) -> None:
        assert self._collection is not None
        references = dict(self._collection.references)
        if references:
            # For slots that the first weeks did not have.
            references.setdefault(-1, np.sum(list(references.values()), axis=0))
        for panel in self._panels.values():
            panel.use(references, number)
        self._still.use(_of_all_rows(references))
        if self._learning is not None:
            self._use_learning(self._learning)

    def _use_learning(self, learning: Learning) -> None:
        if not learning.told:
            return
        watch = self.watch
        for family, panel in self._panels.items():
            trained = watch.trained[family]
            # What was served may be too little to show what the rows of training did.
            shown = watch.measured[family].or_more(learning.clumps(family))
            panel.clumps = shown.where(learning.counts(trained), watch.clumps[family])
        values = self._panels.get(TWO_SIDED)
        trained = watch.trained[STILL]
        used = learning.counts(trained, alone=values is not None)
        still = watch.measured[STILL].where(used, watch.clumps[STILL])
        self._still.clumps = still
        if values is None:
            return
        columns = {s.column: index for index, s in enumerate(values.group.streams)}
        for panel in self._panels.values():
            for index, stream in enumerate(panel.group.streams):
                # As of training: what is seldom shows little of how much its column varies.
                if stream.measure in (Measure.UNSEEN, Measure.OUTSIDE) and stream.column in columns:
                    panel.clumps.lend(index, values.clumps, columns[stream.column])
        for index, stream in enumerate(self._still.streams):
            if stream.column in columns:
                still.lend(index, values.clumps, columns[stream.column])

    @cached_property
    def _watched(self) -> list[list[str]]:
        streams = self.watch.streams
        policy = self.watch.policy
        return [
            [f"{s.kind}.{s.subject}.{s.measure.value}.{len(s.bins)}" for s in streams.all()],
            list(streams.segments),
            [_FORMAT, policy.reference, str(policy.reference_period), *self.watch.season],
        ]

    def _still_effect(self, index: int) -> Effect:
        rows = float(self._still.runs[index][1])
        return Effect(Measure.CONSTANT.value, rows, float(LEAST_CONSTANT_ROWS))

    def _segment(self, row: int) -> str:
        return self.watch.streams.segments[row - 1] if row else ""


def _of_all_rows(references: Mapping[int, I64]) -> dict[int, I64]:
    """Without those of segments."""
    return {slot: counts[0] for slot, counts in references.items()}

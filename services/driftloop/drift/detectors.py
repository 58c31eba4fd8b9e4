"""All detectors of one watch and where they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from driftloop.drift.cases import Found, Member
from driftloop.drift.collecting import Collection
from driftloop.drift.effects import LEAST_CONSTANT_ROWS, Effect, Effects, effects, least
from driftloop.drift.panel import Key, Panel
from driftloop.drift.shiryaev import onset, threshold
from driftloop.drift.state import History, Kept, Part
from driftloop.drift.still import STILL, Still
from driftloop.drift.streams import Measure, Watched
from driftloop.drift.watch import Watch
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import AlertKind, Window

RECENT_ROWS = 1000
"""Rows an effect is measured on where a slight change has lasted long, and for whoever looks."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Where one detector stands after the newest window."""

    model: str
    kind: AlertKind
    subject: str
    segment: str
    effect: float
    """Of the newest rows, over the least that is worth an alert."""
    evidence: float
    """Its value over its threshold, difference of natural logarithms; alarm from 0 on."""


_SOON_WINDOWS, _SOON = 8, 4
"""A change that comes back within so many windows, or within so many times as many as it lasted, is
the same one."""
_MOST_DOUBLINGS = 16
_SMALL_SHARES = (Measure.MISSING, Measure.UNSEEN, Measure.OUTSIDE)
_LEAST_HITS = 16
"""Rows of such a share. At half of its floor as many come together by chance within the rows that
would make the floor of them in less than one of a hundred such stretches."""

_FORMAT = "3"
"""Of the entries. What another one left is of no use; watching begins anew."""


class Detectors:
    """The state of everything watched of one version on one kind of windows."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._panels = {
            family: Panel(family, group, watch.dispersions[family], watch.references)
            for family, group in watch.groups.items()
        }
        self._floors = {
            family: least(group, watch.policy) for family, group in watch.groups.items()
        }
        self._still = Still(watch.streams.still, _of_all_rows(watch.references))
        collects = watch.policy.reference == "first_weeks"
        period = watch.policy.reference_period
        self._collection = Collection(period, watch.groups) if collects else None
        self._returns: dict[Key, tuple[int, int, int]] = {}
        """Of streams that have recovered: how often they had come back, the number of the window
        they counted again from, and for how many windows they had been away."""
        self._recovered = threshold(1, watch.policy.false_alarms_per_100k)

    def take(self, window: Window, kept: Kept) -> bool:
        """Whether the window was tested; one of the first weeks is not."""
        if self._collection is not None and not self._collection.done:
            if self._collection.take(kept):
                return False
            self._use_collection(kept.number)
        for panel in self._panels.values():
            panel.take(kept)
        self._still.take(kept, window)
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

    def compared(self, key: Key, windows: Sequence[Kept]) -> tuple[F64, F64]:
        """Counts of these windows on a stream's bins, and the shares that the reference has there.
        Not of a feature that stands still."""
        family, row, index = key
        panel = self._panels[family]
        span = panel.group.span(index)
        return panel.counts(windows, row)[span], panel.expected(windows, row).shares[span]

    def since(self, key: Key, history: History) -> list[Kept]:
        """The windows from the suspected onset of a stream's change on."""
        family, row, index = key
        if family == STILL:
            return history.since(self._still.runs[index][0])
        panel = self._panels[family]
        windows = history.since(int(panel.since[row, index]))
        payoffs = {slot: panel.payoffs(key, slot) for slot in {kept.slot for kept in windows}}
        span = panel.group.span(index)
        scores = [
            float((panel.counts([kept], row)[span] * payoffs[kept.slot]).sum()) for kept in windows
        ]
        return windows[onset(scores) :]

    def newest(self, key: Key, history: History) -> list[Kept]:
        """The newest windows that count towards a stream's evidence."""
        family, row, index = key
        first = 0 if family == STILL else int(self._panels[family].since[row, index])
        return [kept for kept in history.newest(RECENT_ROWS) if kept.number >= first]

    def found(self, key: Key, windows: Sequence[Kept]) -> Found:
        """A stream as these windows show it."""
        family, row, index = key
        stream = self.stream(key)
        if family == STILL:
            measured = self._still_effect(index)
            rows, level, dispersion = measured.size, self._still.level(index), stream.dispersion
        else:
            panel = self._panels[family]
            counts = panel.counts(windows, row)
            rows = float(panel.group.totals(counts)[index])
            measured = self._effects(panel, row, windows, counts)[index]
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

    def member(self, found: Found, number: int) -> Member:
        """Follow a stream that was found in window ``number``."""
        self._freeze(found.key, True)
        drifted: list[float] = []
        rows = found.rows
        family, row, index = found.key
        if family == STILL:
            rows = max(rows, LEAST_CONSTANT_ROWS)
        else:
            panel = self._panels[family]
            drifted = panel.counts(found.since, row)[panel.group.span(index)].tolist()
        times, released, lasted = self._returns.get(found.key, (-1, 0, 0))
        # What comes and goes is one cause: it must stay away for longer each time it comes back.
        soon = number - released <= max(_SOON_WINDOWS, _SOON * lasted)
        times = times + 1 if soon else 0
        rows <<= min(times, _MOST_DOUBLINGS)
        return Member(
            found.since[0].number, number, rows, drifted, seen=found.rows, times=max(times, 0)
        )

    def recovering(self, member: Member, key: Key, kept: Kept, history: History) -> bool:
        """Take in a window: whether the stream is back at its reference.

        A CUSUM of the evidence against rows still coming from the shares that the stream had
        drifted to; while they do, it goes wrong at most once in as many rows as a false alarm of
        the whole budget comes in (Lorden, Annals of Mathematical Statistics 42, 1971). The rows
        since it turned must be as many as it took to find the change (``Member.rows``), and their
        effect below half its floor. Evidence beyond what is needed is not saved up, so that a
        change that comes back shows at once.
        """
        family, row, index = key
        if family == STILL:
            member.returned = self._still.moving[index]
            return member.returned >= member.rows
        panel = self._panels[family]
        span = panel.group.span(index)
        if member.recovery <= 0.0:
            member.recovery, member.turned, member.returned = 0.0, kept.number, 0
        expected = panel.expected([kept], row)
        back = _smoothed(expected.shares[span] * expected.known[index])
        ratios = np.log(back / _smoothed(np.array(member.drifted)))
        own = panel.counts([kept], row)[span]
        won = float((own * ratios).sum()) / float(panel.dispersions[row, index])
        member.recovery = min(member.recovery + won, self._recovered)
        member.returned += int(own.sum())
        turned = history.since(member.turned)
        counts = panel.counts(turned, row)
        if member.recovery <= 0.0:
            # It had not turned: these windows are of the change too.
            member.drifted = (np.array(member.drifted) + counts[span]).tolist()
        if member.recovery < self._recovered or member.returned < member.rows:
            return False
        return self._effects(panel, row, turned, counts)[index].ratio < 0.5

    def rows(self, key: Key, kept: Kept) -> int:
        """Of a stream in one window."""
        family, row, index = key
        if family == STILL:
            return 0
        panel = self._panels[family]
        return int(panel.counts([kept], row)[panel.group.span(index)].sum())

    def release(self, key: Key, number: int, member: Member) -> None:
        """Begin anew with a stream that has recovered; window ``number`` is the first to count."""
        family, _, index = key
        self._returns[key] = (member.times, number, number - member.opened)
        if family == STILL:
            self._still.restart(index)
            return
        self._freeze(key, False)
        self._panels[family].restart(key, number)

    @property
    def reference(self) -> str:
        """What is compared with, in words."""
        season = self.watch.season
        by = f" by {' and '.join(season)}" if season else ""
        return f"{self.watch.policy.reference}{by}"

    def readings(self, model: str, history: History) -> list[Reading]:
        """Of every stream, with the effect of the newest rows."""
        newest = history.newest(RECENT_ROWS)
        out: list[Reading] = []
        for panel in self._panels.values():
            margins = panel.margins()
            for row in range(self.watch.rows):
                segment = self._segment(row)
                counts = panel.counts(newest, row)
                ratios = self._effects(panel, row, newest, counts).ratios().tolist()
                out += [
                    Reading(model, stream.kind, stream.subject, segment, ratio, margin)
                    for stream, ratio, margin in zip(
                        panel.group.streams, ratios, margins[row].tolist(), strict=True
                    )
                ]
        out += [
            Reading(
                model,
                stream.kind,
                stream.subject,
                "",
                self._still_effect(index).ratio,
                self._still.margin(index),
            )
            for index, stream in enumerate(self._still.streams)
        ]
        return out

    def parts(self) -> Iterator[Part]:
        """All state."""
        yield Part("watched", True, lambda: self._watched)
        yield Part("still", True, self._still.to_plain)
        if self._returns:
            returns = [[list(key), *found] for key, found in sorted(self._returns.items())]
            yield Part("returns", True, lambda: returns)
        if self._collection is not None:
            yield from self._collection.parts()
        for panel in self._panels.values():
            yield from panel.parts()

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        if self._collection is not None:
            self._collection.saved()
        for panel in self._panels.values():
            panel.saved()

    def entries(self) -> dict[str, Any]:
        """All state, by name."""
        return {part.name: part.plain() for part in self.parts()}

    def load(self, entries: Mapping[str, Any]) -> bool:
        """Go on from :meth:`entries`, if they are of the same streams. Whether they are."""
        if entries.get("watched") != self._watched:
            return False
        if self._collection is not None:
            self._collection.load(entries)
            if self._collection.done:
                self._use_collection(0)
        self._still.load(entries["still"])
        for (family, row, stream), times, released, lasted in entries.get("returns", ()):
            self._returns[family, row, stream] = (times, released, lasted)
        for name, value in entries.items():
            part, _, rest = name.partition("/")
            if part == "panel":
                self._panels[rest].load(value)
            elif part == "bag":
                family, _, slot = rest.partition("/")
                self._panels[family].load_bag(int(slot), value)
        return True

    def _use_collection(self, number: int) -> None:
        assert self._collection is not None
        references = dict(self._collection.references)
        if references:
            # For slots that the first weeks did not have.
            references.setdefault(-1, np.sum(list(references.values()), axis=0))
        for family, panel in self._panels.items():
            # Some weeks may be too few to show what the rows of training did.
            known = self.watch.dispersions[family]
            found = np.maximum(known, self._collection.dispersions(family))
            panel.use(references, found, number)
        self._still.use(_of_all_rows(references))

    @cached_property
    def _watched(self) -> list[list[str]]:
        streams = self.watch.streams
        policy = self.watch.policy
        return [
            [f"{s.kind}.{s.subject}.{s.measure.value}.{len(s.bins)}" for s in streams.all()],
            list(streams.segments),
            [_FORMAT, policy.reference, str(policy.reference_period), *self.watch.season],
        ]

    def _effects(self, panel: Panel, row: int, windows: Sequence[Kept], counts: F64) -> Effects:
        return effects(
            panel.group,
            counts,
            panel.expected(windows, row),
            panel.dispersions[row],
            self._floors[panel.family],
            self.watch.policy.shift_floor,
            self.watch.layout.profile.loss.means,
        )

    def _still_effect(self, index: int) -> Effect:
        rows = float(self._still.runs[index][1])
        return Effect(Measure.CONSTANT.value, rows, float(LEAST_CONSTANT_ROWS))

    def _segment(self, row: int) -> str:
        return self.watch.streams.segments[row - 1] if row else ""

    def _freeze(self, key: Key, frozen: bool) -> None:
        family, row, index = key
        if family != STILL:
            self._panels[family].frozen[row, index] = frozen


def _of_all_rows(references: Mapping[int, I64]) -> dict[int, I64]:
    """Without those of segments."""
    return {slot: counts[0] for slot, counts in references.items()}


def _smoothed(counts: F64) -> F64:
    shares: F64 = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares

"""The tests of one group of streams: the e-detectors' state, and the bags they rank windows in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from driftloop.drift.clumps import Clumps, WindowRows
from driftloop.drift.effects import Effects, Expected, effects, least
from driftloop.drift.groups import Floor
from driftloop.drift.mixtures import SlotBlocks
from driftloop.drift.shiryaev import EMPTY, advance
from driftloop.drift.state import Kept, Part, floats, integers, packed
from driftloop.drift.watch import Watch
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.models import mixtures

Key = tuple[str, int, int]
"""A stream: family, row of its segment (0: all rows), place in its group."""


class Panel:
    """Shapes as in ``drift.groups``."""

    def __init__(self, family: str, watch: Watch) -> None:
        self.family = family
        self.group = group = watch.groups[family]
        self.clumps: Clumps = watch.clumps[family]
        """Others may take their place between two windows."""
        self._rows = rows = watch.rows
        self._layout = watch.layout
        self._window_rows = WindowRows(rows)
        """Of the windows that were tested."""
        self.references = {
            slot: group.of_reference(watch.layout, counts)
            for slot, counts in watch.references.items()
        }
        """Season slot to the reference's counts, (S, G)."""
        self._floors = least(group, watch.policy)
        self._shift_floor = watch.policy.shift_floor
        self._means = watch.layout.profile.loss.means
        self._expected: dict[int, tuple[int, Expected]] = {}
        """Row to the season slot asked for last, and what is expected there."""
        shape = (rows, len(group.streams))
        self._bag_floors: dict[int, Floor] = {}
        self._bags: dict[int, F64] = {}
        self._unsaved: set[int] = set()
        """Slots whose bags changed since :meth:`saved`."""
        self._blocks = None if group.mixtures is None else SlotBlocks(group.mixtures, rows)
        self._log_m: F64 = np.full((rows, group.width), EMPTY)
        self.since: I64 = np.zeros(shape, dtype=np.int64)
        """Number of the first window that counts towards a stream's evidence."""
        self.frozen: npt.NDArray[np.bool_] = np.zeros(shape, dtype=np.bool_)
        """Streams that are known to have changed: their bags take nothing in."""
        self.levels: F64 = np.full(shape, EMPTY)
        """Log of M."""

    def take(self, window: Kept) -> None:
        """A window's rows are ranked within the bag of their slot, and go into it."""
        counts = self.group.flat(window.counts)
        bag = self._bag(window.slot)
        merged = bag + counts
        rows = self._layout.rows(window.counts).astype(np.float64)
        self._window_rows.count(rows)
        dispersions = self.clumps.among(rows)
        ranked = self.group.ranked(bag, self._floor(window.slot), dispersions)
        log_e = self.group.log_e(counts, ranked, dispersions)
        moved = self.group.totals(counts)[:, self.group.owners[: log_e.shape[1]]]
        if self._blocks is not None:
            ended = self._blocks.take(window.slot, counts, merged, self.frozen, dispersions)
            log_e = np.concatenate([log_e, ended.log_e], axis=1)
            moved = np.concatenate([moved, ended.rows], axis=1)
        self._log_m = advance(self._log_m, log_e, moved)
        self.levels = self.group.level(self._log_m)
        keeps = self.frozen[:, self.group.owner]
        self._bags[window.slot] = np.where(keeps, bag, merged)
        self._unsaved.add(window.slot)

    def margins(self) -> F64:
        """How far above its threshold each stream is, (S, T), natural logarithm."""
        return np.asarray(self.levels - self.group.thresholds, dtype=np.float64)

    @property
    def dispersions(self) -> F64:
        """Of windows as they usually are, (S, T)."""
        return self.clumps.among(self._window_rows.mean())

    @property
    def widest(self) -> float:
        """The largest dispersion."""
        return float(self.dispersions.max())

    def scores(self, key: Key, windows: Sequence[Kept]) -> F64:
        """Log e-values, (W,), of windows on the bet of a stream that in hindsight was best. For
        locating a change, not for testing."""
        _, row, stream = key
        best = self._best(row, stream)
        if best is None:
            return self._mixture_scores(key, windows)
        span = self.group.span(stream)
        slots = np.array([kept.slot for kept in windows], dtype=np.int64)
        counts = self.group.own(np.array([kept.counts[row] for kept in windows]), stream)
        scores: F64 = np.zeros(len(windows))
        for slot in np.unique(slots).tolist():
            at = slots == slot
            bag = self._ranked(slot)[row]
            scores[at] = counts[at] @ self.group.payoffs(bag, stream, best)
            others = np.maximum(bag[span] - counts, self._reference(slot)[row, span])
            more = at & (counts.sum(axis=1) > others.sum(axis=1))
            if more.any():
                scores[more] = others[more] @ self.group.payoffs(bag, stream, best, turned=True)
        return np.asarray(scores / self.dispersions[row, stream], dtype=np.float64)

    def evidence(self, key: Key, windows: Sequence[Kept]) -> float:
        """What these windows by themselves pay, logarithm, under the bet of a stream that in
        hindsight was best: within the bag as it was before them."""
        _, row, stream = key
        best = self._best(row, stream)
        span = self.group.span(stream)
        dispersion = float(self.dispersions[row, stream])
        paid = 0.0
        for slot in {kept.slot for kept in windows}:
            ones = [kept for kept in windows if kept.slot == slot]
            own, first = self.counts(ones, row), self.counts(ones[:1], row)
            before = self._ranked(slot, row, own)[row]
            if best is None:
                within = (before + own)[span] / dispersion
                paid += float(mixtures.log_e(own[span] / dispersion, within))
            elif first[span].sum() > before[span].sum():
                logs = self.group.payoffs(before + own, stream, best, turned=True)
                paid += float((before[span] * logs).sum()) / dispersion
            else:
                # A bin that is new to the bag pays nothing before its first rows are in it.
                logs = self.group.payoffs(before + first, stream, best)
                paid += float((own[span] * logs).sum()) / dispersion
        return paid

    def counts(self, windows: Sequence[Kept], row: int) -> F64:
        """On the group's bins, (G,), of all windows together; ``row`` 0 is all rows, others are
        segments."""
        if not windows:
            return np.zeros(len(self.group.owner))
        return self.group.flat(np.sum([kept.counts[row] for kept in windows], axis=0))

    def expected(self, windows: Sequence[Kept], row: int) -> Expected:
        """What the reference gives for the rows of these windows."""
        slots = {kept.slot for kept in windows}
        if len(slots) == 1:
            return self._expected_at(slots.pop(), row)
        return self._blended(windows, row, self._reference)

    def before(self, windows: Sequence[Kept], row: int) -> Expected:
        """What the bags give for them: the reference and what came since; of a stream that is known
        to have changed, what came before the change."""
        return self._blended(windows, row, self._ranked)

    def effects(
        self, windows: Sequence[Kept], row: int, counts: F64, expected: Expected | None = None
    ) -> Effects:
        """Of every stream in these windows, whose counts are ``counts``, (G,), against what is
        ``expected`` of them: by the reference, unless something else is given."""
        return effects(
            self.group,
            counts,
            self.expected(windows, row) if expected is None else expected,
            self.dispersions[row],
            self._floors,
            self._shift_floor,
            self._means,
        )

    def freeze(self, key: Key, changed: Sequence[Kept]) -> None:
        """A stream is known to have changed in these windows: its bags lose them again, and take
        nothing in until :meth:`restart`."""
        _, row, stream = key
        span = self.group.span(stream)
        for slot in {kept.slot for kept in changed}:
            own = self.counts([kept for kept in changed if kept.slot == slot], row)
            bag = self._bag(slot)
            bag[row, span] = np.maximum(bag[row] - own, 0.0)[span]
            self._unsaved.add(slot)
        self.frozen[row, stream] = True
        if self._blocks is not None:
            self._blocks.forget(row, stream)

    def restart(self, key: Key, number: int) -> None:
        """Forget a stream's evidence, and go on with its bags as they were before its change;
        ``number``: of the first window that counts again."""
        _, row, stream = key
        self._log_m[row, self.group.owners == stream] = EMPTY
        self.levels[row, stream] = EMPTY
        self.since[row, stream] = number
        self.frozen[row, stream] = False
        if self._blocks is not None:
            self._blocks.forget(row, stream)

    def use(self, references: Mapping[int, I64], number: int) -> None:
        """Begin, with a reference that was collected; from window ``number`` on."""
        self.references = {slot: self.group.flat(counts) for slot, counts in references.items()}
        self._expected.clear()
        self._bag_floors.clear()
        self.since[:] = number

    def parts(self) -> Iterator[Part]:
        """All state. There may be a bag for each hour of the week, and a window changes one."""
        yield Part(f"panel/{self.family}", True, self._to_plain)
        for slot, bag in self._bags.items():
            changed = slot in self._unsaved
            yield Part(f"bag/{self.family}/{slot}", changed, partial(packed, bag))
        if self._blocks is not None:
            yield from self._blocks.parts(f"blocks/{self.family}")

    def saved(self) -> None:
        """What :meth:`parts` gave has been kept."""
        self._unsaved.clear()
        if self._blocks is not None:
            self._blocks.saved()

    def _to_plain(self) -> dict[str, Any]:
        """All but the bags."""
        return {
            "log_m": packed(self._log_m),
            "since": packed(self.since),
            "frozen": packed(self.frozen.astype(np.int64)),
            "rows": packed(self._window_rows.rows),
            "squares": packed(self._window_rows.squares),
        }

    def load(self, plain: Mapping[str, Any]) -> None:
        self._log_m = floats(plain["log_m"])
        self.since = integers(plain["since"])
        self.frozen = integers(plain["frozen"]).astype(np.bool_)
        self.levels = self.group.level(self._log_m)
        self._window_rows.rows = floats(plain["rows"])
        self._window_rows.squares = floats(plain["squares"])

    def load_bag(self, slot: int, plain: Sequence[Any]) -> None:
        self._bags[slot] = floats(plain)
        self._unsaved.add(slot)

    def load_block(self, slot: int, place: int, plain: Sequence[Any]) -> None:
        assert self._blocks is not None
        self._blocks.load(slot, place, plain)

    def _best(self, row: int, stream: int) -> int | None:
        """A stream's bet that has won most; None: a mixture."""
        own = np.flatnonzero(self.group.owners == stream)
        best = int(own[np.argmax(self._log_m[row, own])])
        bets = self.group.mixtures
        plain = self.group.width - (0 if bets is None else bets.width)
        return best if best < plain else None

    def _mixture_scores(self, key: Key, windows: Sequence[Kept]) -> F64:
        """What :meth:`scores` gives where a mixture was best: what each window adds to the log
        e-value of all after it as one."""
        _, row, stream = key
        span = self.group.span(stream)
        slots = np.array([kept.slot for kept in windows], dtype=np.int64)
        counts = self.group.own(np.array([kept.counts[row] for kept in windows]), stream)
        dispersion = float(self.dispersions[row, stream])
        scores: F64 = np.zeros(len(windows))
        for slot in np.unique(slots).tolist():
            at = np.flatnonzero(slots == slot)
            since = np.cumsum(counts[at][::-1], axis=0)[::-1]
            bag = self._bag(slot)[row, span]
            within = bag + since if self.frozen[row, stream] else np.maximum(bag, since[0])
            sums = mixtures.log_e(since / dispersion, within / dispersion)
            scores[at] = -np.diff(sums, append=0.0)
        return scores

    def _bag(self, slot: int) -> F64:
        found = self._bags.get(slot)
        if found is None:
            found = self._bags[slot] = self._reference(slot).copy()
            self._unsaved.add(slot)
        return found

    def _floor(self, slot: int) -> Floor:
        found = self._bag_floors.get(slot)
        if found is None:
            found = self._bag_floors[slot] = Floor.of(self.group, self._reference(slot))
        return found

    def _ranked(self, slot: int, row: int = 0, less: F64 | float = 0.0) -> F64:
        """What windows of a slot are ranked in, (S, G); ``less``, (G,): before these counts of a
        row went into the bag."""
        bag = self._bag(slot).copy()
        bag[row] = np.maximum(bag[row] - less, 0.0)
        return self.group.ranked(bag, self._floor(slot), self.dispersions)

    def _blended(
        self, windows: Sequence[Kept], row: int, of_slot: Callable[[int], F64]
    ) -> Expected:
        """By the slots that the rows of these windows are in."""
        slots = sorted({kept.slot for kept in windows})
        shares: F64 = np.zeros(len(self.group.owner))
        known: F64 = np.zeros(len(self.group.streams))
        for slot in slots:
            counts = of_slot(slot)[row]
            known += self.group.totals(counts)
            rows = self.counts([kept for kept in windows if kept.slot == slot], row)
            weights = self.group.totals(rows)[self.group.owner]
            shares = shares + (weights if len(slots) > 1 else 1.0) * self.group.shares(counts)
        return Expected.of(self.group, self.group.shares(shares), known)

    def _expected_at(self, slot: int, row: int) -> Expected:
        known, found = self._expected.get(row, (slot, None))
        if found is None or known != slot:
            counts = self._reference(slot)[row]
            found = Expected.of(self.group, self.group.shares(counts), self.group.totals(counts))
            self._expected[row] = (slot, found)
        return found

    def _reference(self, slot: int) -> F64:
        found = self.references.get(slot)
        if found is None:
            # A slot that the reference has no row of is compared with the other slots' rows.
            found = self.references.get(-1)
        if found is None:
            found = np.zeros((self._rows, len(self.group.owner)))
        return found

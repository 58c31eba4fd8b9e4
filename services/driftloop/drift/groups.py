"""Streams of one family tested together: their bins lie side by side in one flat vector.

Shapes: S is the overall stream and its segments, T the streams of the group, G all their bins, K
all their bets. Everything is a pure function of counts; the state is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from driftloop.drift import bets
from driftloop.drift.mixtures import Mixtures
from driftloop.drift.shiryaev import log_mean
from driftloop.drift.streams import Measure, Watched
from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.statistics.coverage import effective_sizes, leave_one_out
from driftloop.kernel.statistics.layout import Layout
from driftloop.models import payoffs

_FIRST: I64 = np.zeros(1, dtype=np.int64)
"""Where the only stream of a span begins."""

_ERRORS = 1.0
"""How many of them a bag is worse than a reference that rows were better than."""


class Group:
    """The arithmetic that both families share."""

    def __init__(self, streams: Sequence[Watched]) -> None:
        self.streams = tuple(streams)
        sizes = [len(stream.bins) for stream in streams]
        self.starts: I64 = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        self.owner: I64 = np.repeat(np.arange(len(sizes)), sizes)
        """The stream of each bin, (G,)."""
        self.sizes: I64 = np.array(sizes, dtype=np.int64)
        places = [place for stream in streams for bin in stream.bins for place in bin]
        widths = [len(bin) for stream in streams for bin in stream.bins]
        self._places: I64 = np.array(places, dtype=np.int64)
        self._cuts: I64 = np.cumsum([0, *widths[:-1]], dtype=np.int64)
        self._plain = all(width == 1 for width in widths)
        self._empty: I64 = np.flatnonzero(np.array(widths) == 0)
        # Of what is empty a sum would be that of another bin.
        self._cuts[self._empty] = 0
        less = [(index, stream.less) for index, stream in enumerate(streams) if stream.less >= 0]
        self._less_bins: I64 = self.starts[[index for index, _ in less]]
        self._less_places: I64 = np.array([place for _, place in less], dtype=np.int64)
        self.thresholds: F64 = np.array([stream.threshold for stream in streams])

    def flat(self, counts: I64 | F64) -> F64:
        """Counts on the group's bins, (..., G), from counts in the layout, (..., L)."""
        found = counts[..., self._places]
        if not self._plain:
            found = np.add.reduceat(found, self._cuts, axis=-1)
            found[..., self._empty] = 0
        if len(self._less_bins):
            found[..., self._less_bins] -= counts[..., self._less_places]
            np.maximum(found, 0, out=found)
        return np.asarray(found, dtype=np.float64)

    def of_reference(self, layout: Layout, counts: I64) -> F64:
        """:meth:`flat` of a profile's rows or a part of them, as a reference for rows that the
        profile's vocabularies are not made of (``kernel.statistics.coverage``)."""
        found = self.flat(leave_one_out(layout, counts))
        levels, new = effective_sizes(layout, counts)
        for index, stream in enumerate(self.streams):
            if stream.measure in (Measure.DISTRIBUTION, Measure.UNSEEN):
                sizes = new if stream.measure is Measure.UNSEEN else levels
                found[..., self.span(index)] *= sizes[..., stream.column, None]
        return found

    def own(self, counts: I64, stream: int) -> F64:
        """:meth:`flat` of one stream's bins only, (..., B)."""
        bins = self.streams[stream].bins
        if self._plain:
            found = counts[..., [place for (place,) in bins]]
        else:
            found = np.stack([counts[..., places].sum(axis=-1) for places in bins], axis=-1)
        less = self.streams[stream].less
        if less >= 0:
            found[..., 0] = np.maximum(found[..., 0] - counts[..., less], 0)
        return np.asarray(found, dtype=np.float64)

    def totals(self, flat: F64) -> F64:
        """Per stream the sum of its bins, (..., T)."""
        return np.asarray(np.add.reduceat(flat, self.starts, axis=-1), dtype=np.float64)

    def shares(self, flat: F64) -> F64:
        """Per bin its part of its stream; 0 where the stream has no rows."""
        totals = self.totals(flat)
        return np.asarray(
            flat / np.where(totals > 0.0, totals, 1.0)[..., self.owner], dtype=np.float64
        )

    def span(self, stream: int) -> slice:
        """The bins of a stream."""
        start = int(self.starts[stream])
        return slice(start, start + int(self.sizes[stream]))

    def ends(self, bag: F64) -> tuple[F64, F64]:
        """Where each bin of counts or shares ends on [0, 1], side by side with those before it in
        its stream, and its share."""
        shares = self.shares(bag)
        sums = np.cumsum(shares, axis=-1)
        before = np.zeros((*shares.shape[:-1], len(self.starts)))
        before[..., 1:] = sums[..., self.starts[1:] - 1]
        high = np.clip(sums - before[..., self.owner], 0.0, 1.0)
        high[..., self.starts + self.sizes - 1] = 1.0
        return high, shares

    def outnumbers(self, counts: F64, bag: F64) -> npt.NDArray[np.bool_] | None:
        """Of which streams, (S, T), a window has more rows than the bag; None: of no one."""
        more = self.totals(counts) > self.totals(bag)
        return more if more.any() else None


@dataclass(frozen=True, slots=True)
class Floor:
    """A reference, as bags are compared with it: see ``Upper``."""

    angles: F64
    """Arcsines of the roots of the shares above each bin, (S, G): all have the same standard error,
    half the root of ``errors`` (Freeman, Tukey, Annals of Mathematical Statistics 21, 1950)."""
    errors: F64
    """One over the rows, (S, T)."""

    @classmethod
    def of(cls, group: Group, reference: F64) -> Floor:
        high, _ = group.ends(reference)
        known = group.totals(reference)
        # Without rows no bag is better.
        some = known > 0.0
        angles = np.where(some[..., group.owner], np.arcsin(np.sqrt(1.0 - high)), 0.0)
        errors = np.where(some, 1.0 / np.where(some, known, 1.0), 0.0)
        return cls(np.asarray(angles, dtype=np.float64), np.asarray(errors, dtype=np.float64))


class Bets(Protocol):
    """A group of one family."""

    mixtures: Mixtures | None
    """Bets after those that each window moves."""
    width: int
    """K."""
    owners: I64
    """The stream of each bet, (K,)."""

    def ranked(self, bag: F64, floor: Floor, dispersions: F64) -> F64:
        """Of a bag, (S, G), what windows are ranked in; ``floor`` is of its reference, and
        ``dispersions`` has shape (S, T)."""
        ...

    def log_e(self, counts: F64, bag: F64, dispersions: F64) -> F64:
        """Log e-values, (S, K), of a window's counts, (S, G), within such a bag, (S, G), without
        the window; not of the mixtures, which are moved by blocks of windows."""
        ...

    def level(self, log_m: F64) -> F64:
        """Log of the mean of M over each stream's bets, (S, T), from (S, K)."""
        ...

    def payoffs(self, bag: F64, stream: int, bet: int, turned: bool = False) -> F64:
        """Log payoffs of one stream's bins within a bag that has in it who is bet on, under its bet
        number ``bet`` in (K,), no mixture. ``turned``: of those that the bag had before the
        window."""
        ...


class TwoSided(Group):
    """See :class:`Bets`: first the tilts, bet by bet, then the bins that are bet to grow, then the
    mixtures."""

    def __init__(self, streams: Sequence[Watched], reference: I64) -> None:
        """``reference``: in the layout; its largest bins are bet on."""
        super().__init__(streams)
        counts = self.flat(reference)
        chosen: list[int] = []
        for stream in range(len(streams)):
            span = self.span(stream)
            chosen += (payoffs.largest_bins(counts[span]) + span.start).tolist()
        self._grown: I64 = np.array(chosen, dtype=np.int64)
        self._grown_owner = self.owner[self._grown]
        self._grown_starts: I64 = np.searchsorted(
            self._grown_owner, np.arange(len(streams))
        ).astype(np.int64)
        streams_count = len(streams)
        self._tilts = payoffs.TILTS * streams_count
        owners = [np.tile(np.arange(streams_count), payoffs.TILTS), self._grown_owner]
        self._plain_width = self._tilts + len(chosen)
        bettings = [stream.betting for stream in streams]
        unordered = [i for i, one in enumerate(bettings) if one is payoffs.Betting.UNORDERED]
        self.mixtures: Mixtures | None = None
        if unordered:
            self.mixtures = Mixtures(np.array(unordered), self.starts, self.sizes)
            owners.append(self.mixtures.owners)
        self.owners: I64 = np.concatenate(owners).astype(np.int64)
        self.width = len(self.owners)
        self._tilt_weights: F64 = np.log([payoffs.tilt_weights(one) for one in bettings]).T
        per_stream = np.bincount(self._grown_owner, minlength=streams_count)
        self._grown_weight: F64 = np.log(payoffs.BIN_WEIGHT / per_stream[self._grown_owner])

    def ranked(self, bag: F64, floor: Floor, dispersions: F64) -> F64:
        return bag

    def log_e(self, counts: F64, bag: F64, dispersions: F64) -> F64:
        high, shares = self.ends(bag + counts)
        log_e = self._log_e(counts, high, shares, dispersions, False)
        if (more := self.outnumbers(counts, bag)) is not None:
            turned = self._log_e(bag, high, shares, dispersions, True)
            log_e = np.where(more[..., self.owners[: self._plain_width]], turned, log_e)
        return log_e

    def level(self, log_m: F64) -> F64:
        tilted = log_m[..., : self._tilts]
        tilted = tilted.reshape(*log_m.shape[:-1], payoffs.TILTS, len(self.streams))
        first = log_mean(tilted, self._tilt_weights, -2)
        if self.mixtures is not None:
            own = self.mixtures.level(log_m[..., self._plain_width :])
            of_each = first[..., self.mixtures.streams]
            first[..., self.mixtures.streams] = np.logaddexp(of_each, own)
        grown = log_m[..., self._tilts : self._plain_width] + self._grown_weight
        top = np.maximum.reduceat(grown, self._grown_starts, axis=-1)
        total = np.add.reduceat(
            np.exp(grown - top[..., self._grown_owner]), self._grown_starts, axis=-1
        )
        return np.asarray(np.logaddexp(first, top + np.log(total)), dtype=np.float64)

    def payoffs(self, bag: F64, stream: int, bet: int, turned: bool = False) -> F64:
        span = self.span(stream)
        high, shares = self.ends(bag)
        if bet < self._tilts:
            tilt = bet // len(self.streams)
            return np.asarray(bets.tilts(high[span], _FIRST, turned)[tilt], dtype=np.float64)
        grown = int(self._grown[bet - self._tilts])
        inside, outside = bets.growth(shares[grown : grown + 1], turned)
        logs: F64 = np.full(span.stop - span.start, outside[0])
        logs[grown - span.start] = inside[0]
        return logs

    def _log_e(self, counts: F64, high: F64, shares: F64, dispersions: F64, turned: bool) -> F64:
        paid = counts[..., None, :] * bets.tilts(high, self.starts, turned)
        won = np.add.reduceat(paid, self.starts, axis=-1) / dispersions[..., None, :]
        inside, outside = bets.growth(shares[..., self._grown], turned)
        hits = counts[..., self._grown]
        others = self.totals(counts)[..., self._grown_owner] - hits
        grown = (hits * inside + others * outside) / dispersions[..., self._grown_owner]
        out = np.concatenate([won.reshape(*won.shape[:-2], -1), grown], axis=-1)
        return np.asarray(out, dtype=np.float64)


class Upper(Group):
    """See :class:`Bets`: power by power.

    Rows that are no worse than the reference's are no news, even where those before them were
    better. So rows are not ranked in a bag that is better than its reference: above every rank it
    is taken to have the reference's share at least, and one standard error more. That is the error
    of the difference between the reference and what the bag were if all rows had come from where
    the reference did, sqrt(d s (1 - s) (1/N - 1/n)) for a share s of N reference rows in a bag of
    n, with the dispersion d. It is 0 at first and that of the reference in the end: it is by luck
    that a sample is better than what it was drawn from.

    Payoffs rise with the rank. So they are no larger than within the bag as it is, and nothing of
    the budget is spent on this; and rows no worse than the reference plus its error pay at most 1
    on average. Not all of the error is allowed for: that would hide changes of that size for ever,
    where the bag knows better (``docs/decisions/drift-tests.md``).
    """

    def __init__(self, streams: Sequence[Watched]) -> None:
        super().__init__(streams)
        self.mixtures: Mixtures | None = None
        self.width = len(payoffs.POWERS) * len(streams)
        self.owners: I64 = np.tile(np.arange(len(streams)), len(payoffs.POWERS)).astype(np.int64)
        self._weights: F64 = np.log(payoffs.POWER_WEIGHTS)[:, None]

    def ranked(self, bag: F64, floor: Floor, dispersions: F64) -> F64:
        high, _ = self.ends(bag)
        rows = self.totals(bag)
        apart = dispersions * np.maximum(floor.errors - 1.0 / np.maximum(rows, 1.0), 0.0)
        angles = floor.angles + (0.5 * _ERRORS * np.sqrt(apart))[..., self.owner]
        least = np.cos(np.minimum(angles, 0.5 * np.pi)) ** 2
        least[..., self.starts + self.sizes - 1] = 1.0
        raised = bets.widths(np.minimum(high, least), self.starts)
        return np.asarray(raised * rows[..., self.owner], dtype=np.float64)

    def log_e(self, counts: F64, bag: F64, dispersions: F64) -> F64:
        high, _ = self.ends(bag + counts)
        log_e = self._log_e(counts, bets.powers(high, self.starts), dispersions)
        if (more := self.outnumbers(counts, bag)) is not None:
            turned = self._log_e(bag, bets.powers(high, self.starts, True), dispersions)
            log_e = np.where(more[..., self.owners], turned, log_e)
        return log_e

    def level(self, log_m: F64) -> F64:
        by_power = log_m.reshape(*log_m.shape[:-1], len(payoffs.POWERS), len(self.streams))
        return log_mean(by_power, self._weights, -2)

    def payoffs(self, bag: F64, stream: int, bet: int, turned: bool = False) -> F64:
        span = self.span(stream)
        high, _ = self.ends(bag)
        power = bet // len(self.streams)
        return np.asarray(bets.powers(high[span], _FIRST, turned)[power], dtype=np.float64)

    def _log_e(self, counts: F64, logs: F64, dispersions: F64) -> F64:
        won = np.add.reduceat(counts[..., None, :] * logs, self.starts, axis=-1)
        won = won / dispersions[..., None, :]
        return np.asarray(won.reshape(*won.shape[:-2], -1), dtype=np.float64)

"""How much of what comes a vocabulary covers, told from the rows that it was made of.

A level is known because a row of the reference has it, so none of the reference's own rows is
new, though of the next ones some are. A row must therefore be looked at as if it had not been
there: of a level that occurs once it would be new. That is the leave-one-out estimate of the share
of new values, N_1 / N, where N_r is the number of levels that occur r times (Good, Biometrika
1953). Where a vocabulary is of the most frequent levels, and the most frequent one left out occurs
t times, a row would be new of a level that occurs t + 1 times at most.

The vocabulary is made once. The share of new values among all rows to come is what it happens to
leave, so a missed level brings many new rows, and not one. The estimate of that share is off with a
variance of (N_1 + 2 N_2) / N^2 - N_1^2 / N^3 (Esty, Annals of Statistics 1983), without 2 N_2 were
it of rows that the vocabulary does not come from. So a reference knows its tail as well as fewer
rows would.

Counts are laid out as in ``kernel.statistics.layout``: (..., L), of C columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from driftloop.kernel.codec.blocks import F64, I64
from driftloop.kernel.records import Stream
from driftloop.kernel.statistics.layout import PREDICTED, Layout, Place

_TINY = 1e-12


def leave_one_out(layout: Layout, counts: I64) -> F64:
    """Counts, (..., L), of a profile's rows or a part of them (a season's slot, a segment), each
    row counted as if the profile had been made without it.

    What is of no known level then is new. It is taken off all levels evenly, as many rows of each
    in the whole profile (absolute discounting: Ney, Essen, Kneser, Computer Speech and Language
    1994): those that occur seldom were seen by luck, others like them were not.
    """
    found = counts.astype(np.float64)
    for one in _vocabularies(layout):
        own = found[..., one.place.bins]
        per_row = 1.0 / np.maximum(one.counts, 1)
        even = one.gone(counts) / np.maximum((own * per_row).sum(axis=-1), _TINY)
        kept = own * np.maximum(1.0 - even[..., None] * per_row, 0.0)
        found[..., one.place.other] += (own - kept).sum(axis=-1)
        found[..., one.place.bins] = kept
    return found


def effective_sizes(layout: Layout, counts: I64) -> tuple[F64, F64]:
    """What part of the rows of these counts would, of a vocabulary that they are not the source of,
    tell as much: of the shares of known levels, and of the share of new values; (..., C) each.

    The variance that missed levels add to both, 2 N_2 rows of the whole where t is 0, is in
    general the sum of n (n - 1) over the levels that occur t + 2 times in the profile and n times
    here. Next to it, known rows have as much as there are of them, new ones as binomial counts. To
    these one is added: that there is none says little where many levels were nearly missed.
    """
    levels: F64 = np.ones((*counts.shape[:-1], len(layout.places)))
    new = levels.copy()
    for one in _vocabularies(layout):
        own = counts[..., one.place.bins]
        twice = own[..., one.counts == one.most + 1]
        missed = (twice * (twice - 1)).sum(axis=-1)
        known = own.sum(axis=-1) - one.gone(counts)
        unknown = counts[..., one.place.other] + one.gone(counts)
        binomial = (unknown + 1) * known / np.maximum(known + unknown, 1)
        levels[..., one.column] = _part(known, missed)
        new[..., one.column] = _part(binomial, missed)
    return levels, new


def _part(own: I64 | F64, more: I64) -> F64:
    return np.asarray(np.where(more > 0, own / np.maximum(own + more, _TINY), 1.0), dtype=float)


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Of one column of categories."""

    column: int
    """Index among the layout's places."""
    place: Place
    counts: I64
    """Of its levels in the whole profile."""
    most: int
    """t + 1."""

    def gone(self, counts: I64) -> I64:
        """Of counts in the layout, the rows, (...), of levels that would not be known without one
        of their rows."""
        return np.asarray(counts[..., self.place.bins][..., self.counts <= self.most].sum(axis=-1))


def _vocabularies(layout: Layout) -> Iterator[_Vocabulary]:
    if layout.stream is Stream.OUTCOMES:
        return
    profile, first = layout.profile, len(layout.profile.numeric)
    for column, categorical in enumerate(profile.categorical, start=first):
        # Classes are known whether or not they were ever predicted.
        if categorical.name == PREDICTED or not categorical.counts:
            continue
        levels = np.array(categorical.counts, dtype=np.int64)
        left_out = profile.rows - int(levels.sum()) - categorical.missing
        # None that was left out occurs more often than the rarest that was kept.
        most = 1 + (int(levels.min()) if left_out > 0 else 0)
        yield _Vocabulary(column, layout.places[column], levels, most)

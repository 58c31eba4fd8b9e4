"""What became of every label that was sent, from the topics alone.

A label is one of these, and what it is follows from what was sent:

- broken, or in the wrong partition: a dead letter with its very bytes;
- of no event there ever was: neither joined nor told, for only its number is told (a metric);
- the first of its event, in time: joined in one outcome, whichever of the two came first;
- the first of its event, observed after the horizon: a dead letter, whichever came first; where
  that was the label it has only the place;
- another one of its event: neither joined nor told, for only its number is told. What it repeats
  must itself be joined or told.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter

from . import model
from .findings import Findings
from .letters import place_of
from .rows import Rows
from .truth import (
    I64,
    NOBODY,
    Labels,
    ProducerFaultError,
    Truth,
    first_of_each,
    parse_label,
    slot_of,
)


class Fate(enum.IntEnum):
    """What a label must have become."""

    JOINED = 0
    TOLD_TOO_LATE = 1
    REPEATED = 2
    WITHOUT_EVENT = 3
    TOLD_BROKEN = 4


@dataclass(frozen=True, slots=True)
class Accounts:
    """Labels by what they had to become, and those that did."""

    due: Counter[Fate]
    right: Counter[Fate]
    told_by_place: int
    """Labels too late whose dead letters do not have their bytes: they came first."""


def account(
    outcomes: Rows, letters: Sequence[DeadLetter], topic: str, truth: Truth, found: Findings
) -> Accounts:
    """Every record of the labels' ``topic``; those that became something else than they had to, or
    nothing, are found to be unaccounted for."""
    labels = truth.labels
    first = _first_of_each_label(truth)
    due = _due(truth, first)
    joined, strange = _named(
        labels, outcomes.of["label_partition"], outcomes.of["label_offset"].astype(np.int64)
    )
    for place in strange:
        found.unaccounted(f"label at {place}: an outcome names it, and it is none that can join")
    own = [letter for letter in letters if letter.topic == topic]
    broken = Counter(place_of(letter) for letter in own if place_of(letter) in truth.broken)
    others = [letter for letter in own if place_of(letter) not in truth.broken]
    told, strange = _places(labels, others)
    for place in strange:
        found.unaccounted(f"label at {place}: a dead letter names it, and it was not sent")
    late, _ = _places(labels, [one for one in others if _tells_of(one, truth)])
    right = (joined == (due == Fate.JOINED)) & (told == (due == Fate.TOLD_TOO_LATE))
    right &= told == late
    right &= right[first]  # a repeat is of one that is itself accounted for
    for row in np.flatnonzero(~right).tolist():
        found.unaccounted(
            f"label at {labels.partition[row]}/{labels.offset[row]}: {joined[row]} outcomes and "
            f"{told[row]} dead letters, but it is to be {Fate(due[row]).name}"
        )
    counts = Accounts(
        Counter(map(Fate, due.tolist())),
        Counter(map(Fate, due[right].tolist())),
        sum(letter.value is None for letter in others),
    )
    for place in truth.broken:
        if place[0] != topic:
            continue
        counts.due[Fate.TOLD_BROKEN] += 1
        if broken[place] == 1:
            counts.right[Fate.TOLD_BROKEN] += 1
        else:
            found.unaccounted(f"broken label at {place}: {broken[place]} dead letters")
    return counts


def waited(outcomes: Rows) -> int:
    """How many labels surely came before their prediction. Outcomes of a partition are written in
    the order in which they were made, and labels are read in theirs: an outcome whose label lies
    before that of an earlier outcome was made when its prediction came."""
    count = 0
    for number in range(model.PARTITIONS):
        mine = outcomes.of["label_offset"][outcomes.partition == number]
        count += int((mine < np.maximum.accumulate(mine)).sum()) if len(mine) else 0
    return count


def _tells_of(letter: DeadLetter, truth: Truth) -> bool:
    """Whether a dead letter says that the label at its place is too late, with its id and, where
    there are any, its bytes."""
    labels = truth.labels
    rows = np.flatnonzero((labels.partition == letter.partition) & (labels.offset == letter.offset))
    if letter.reason != Reason.LABEL_TOO_LATE or letter.key is None or len(rows) != 1:
        return False
    row = int(rows[0])
    try:
        said = (labels.label[row], labels.observed_at[row])
        same = letter.value is None or parse_label(letter.key, letter.value) == said
    except ProducerFaultError:
        return False
    return same and slot_of(letter.key, len(truth.slots)) == labels.slot[row]


def _first_of_each_label(truth: Truth) -> I64:
    """For every label the first one of its event, which may be itself."""
    slot = truth.labels.slot
    # Labels lie in offset order within a partition, and an event has but one.
    first = first_of_each(slot, slot != NOBODY)
    of_slot = np.full(len(truth.slots), -1)
    of_slot[slot[first]] = first
    return np.where(slot == NOBODY, np.arange(len(slot)), of_slot[slot])


def _due(truth: Truth, first: I64) -> I64:
    labels = truth.labels
    delay = labels.observed_at - truth.slots.time[labels.slot]
    due = np.where(delay > model.HORIZON_MS, Fate.TOLD_TOO_LATE, Fate.JOINED)
    due[first != np.arange(len(first))] = Fate.REPEATED
    due[labels.slot == NOBODY] = Fate.WITHOUT_EVENT
    return due


def _places(labels: Labels, letters: Sequence[DeadLetter]) -> tuple[I64, list[str]]:
    return _named(
        labels,
        np.array([letter.partition for letter in letters], np.int64),
        np.array([letter.offset for letter in letters], np.int64),
    )


def _named(labels: Labels, partition: I64, offset: I64) -> tuple[I64, list[str]]:
    """How often each label's place is named, and the places named that have no usable label."""
    there = (labels.partition << 48) + labels.offset
    named = (partition.astype(np.int64) << 48) + offset
    at = np.searchsorted(there, named)
    known = at < len(there)
    known[known] = there[at[known]] == named[known]
    strange = [f"{partition[row]}/{offset[row]}" for row in np.flatnonzero(~known).tolist()]
    return np.bincount(at[known], minlength=len(there)), strange

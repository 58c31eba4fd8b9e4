"""The judge of labels: whatever a label became that it should not have is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from harness import model
from harness.findings import Findings
from harness.labels import Accounts, Fate, account, waited
from harness.letters import check_letters
from harness.reading import Record
from harness.rows import Rows
from harness.traffic import event_id
from harness.truth import NOBODY, Labels, Slots, Truth

from driftloop.kernel.codec.records import codec
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Label

TOPIC, EVENTS = "m.labels", "m.events"
LATE = model.HORIZON_MS + 1
SENT = (
    # event, offset, label, observed after the event
    (0, 10, 1.0, 100),
    (1, 11, 0.0, 100),
    (1, 12, 1.0, 200),
    (2, 13, 1.0, LATE),
    (2, 15, 1.0, 100),
    (NOBODY, 16, 0.0, 100),
    (3, 17, 0.0, model.HORIZON_MS),
)
"""In time; with a repeat that says something else; too late, with a repeat that would have been in
time; of no event; just in time. At 14 lies a broken one."""
RIGHT = {
    Fate.JOINED: 3,
    Fate.TOLD_TOO_LATE: 1,
    Fate.REPEATED: 2,
    Fate.WITHOUT_EVENT: 1,
    Fate.TOLD_BROKEN: 1,
}
BROKEN = Record(TOPIC, 0, 14, 0, b"k", b"broken", ())


@dataclass
class Log:
    """What the topics hold: labels that were joined, and dead letters."""

    joined: list[int] = field(default_factory=lambda: [10, 11, 17])
    letters: list[DeadLetter] = field(default_factory=lambda: [late(), letter(14)])

    def judged(self) -> tuple[Accounts, Findings]:
        found = Findings()
        made = account(outcomes(self.joined), self.letters, TOPIC, truth(), found)
        return made, found


def letter(
    offset: int, reason: Reason = Reason.TRUNCATED, topic: str = TOPIC, value: bytes = b"broken"
) -> DeadLetter:
    return DeadLetter("outcomes", reason, "", topic, 0, offset, 0, b"k", value, ())


def late(**changes: Any) -> DeadLetter:
    """That of the label at 13, with its bytes."""
    id, label = event_id(2), codec(Label).encode(Label("e000000002", 1.0, 2_000 + LATE))
    made = letter(13, Reason.LABEL_TOO_LATE, value=label)
    return replace(made, **{"key": id, **changes})


def truth() -> Truth:
    zeros, floats = np.zeros(4, np.int64), np.zeros(4)
    time = np.arange(4) * 1000
    made = Truth(Slots(zeros, zeros, time, floats, floats, floats, zeros, zeros, zeros))
    slot, offset, label, delay = (np.array(column) for column in zip(*SENT, strict=True))
    observed = np.where(slot == NOBODY, 0, time[slot]) + delay
    made.labels = Labels(slot, slot * 0, offset, label, observed)
    made.broken = {(TOPIC, 0, 14): BROKEN}
    return made


def outcomes(labels: list[int]) -> Rows:
    n = len(labels)
    zeros, floats = np.zeros(n, np.int64), np.zeros(n)
    of = {"label_partition": zeros, "label_offset": np.array(labels, np.int64)}
    return Rows(zeros, np.arange(n), zeros, zeros, zeros, zeros, floats, floats, of)


def test_every_label_is_accounted_for_once() -> None:
    made, found = Log().judged()
    assert made.due == made.right == RIGHT
    assert made.told_by_place == 0
    assert found.counts == {}


def test_a_late_label_that_came_first_is_told_by_its_place() -> None:
    log = Log()
    log.letters[0] = late(value=None)
    made, found = log.judged()
    assert (made.right, made.told_by_place) == (RIGHT, 1)
    assert found.counts == {}


WRONGLY_TOLD: dict[str, dict[str, Any]] = {
    "told for another reason": {"reason": Reason.TRUNCATED},
    "told with another id": {"key": event_id(1), "value": None},
    "told without an id": {"key": None},
    "told with other bytes": {"value": codec(Label).encode(Label("e000000002", 0.0, 2_000 + LATE))},
    "told with an id that is not in its bytes": {"value": b"x" * 40},
}


@pytest.mark.parametrize(
    ("spoil", "unaccounted"),
    [
        pytest.param(lambda log: log.joined.remove(10), 1, id="neither joined nor told"),
        pytest.param(lambda log: log.joined.remove(11), 2, id="lost with its repeat"),
        pytest.param(lambda log: log.joined.append(10), 1, id="joined twice"),
        pytest.param(lambda log: log.joined.append(12), 1, id="a repeat joined, too"),
        pytest.param(lambda log: log.joined.append(15), 1, id="a repeat of a late one joined"),
        pytest.param(
            lambda log: log.joined.__setitem__(1, 12), 2, id="the repeat in place of the first"
        ),
        pytest.param(lambda log: log.joined.append(13), 2, id="a late one joined, too"),
        pytest.param(lambda log: log.joined.append(16), 1, id="one of no event joined"),
        pytest.param(lambda log: log.joined.append(14), 1, id="a broken one joined"),
        pytest.param(lambda log: log.joined.append(99), 1, id="one joined that was not sent"),
        pytest.param(lambda log: log.letters.pop(0), 2, id="a late one not told"),
        pytest.param(lambda log: log.letters.append(log.letters[0]), 2, id="told twice"),
        *(
            pytest.param(lambda log, c=c: log.letters.__setitem__(0, late(**c)), 2, id=i)
            for i, c in WRONGLY_TOLD.items()
        ),
        pytest.param(
            lambda log: log.letters.append(letter(10, Reason.LABEL_TOO_LATE)),
            1,
            id="joined and told",
        ),
        pytest.param(
            lambda log: log.letters.append(letter(12, Reason.LABEL_TOO_LATE)),
            1,
            id="a repeat told",
        ),
        pytest.param(
            lambda log: log.letters.append(letter(16, Reason.LABEL_TOO_LATE)),
            1,
            id="one of no event told",
        ),
        pytest.param(lambda log: log.letters.pop(1), 1, id="a broken one not told"),
        pytest.param(lambda log: log.letters.append(letter(14)), 1, id="a broken one told twice"),
        pytest.param(lambda log: log.letters.append(letter(98)), 1, id="one told, not sent"),
    ],
)
def test_a_label_that_became_something_else_is_found(
    spoil: Callable[[Log], object], unaccounted: int
) -> None:
    log = Log()
    spoil(log)
    made, found = log.judged()
    assert found.counts == {"labels_unaccounted": unaccounted}
    assert made.due == RIGHT


def test_dead_letters_of_other_topics_are_of_no_label() -> None:
    log = Log()
    log.letters += [letter(10, topic=EVENTS), letter(3, topic="commands")]
    assert log.judged()[1].counts == {}


def test_a_label_that_waited_is_behind_a_later_one() -> None:
    assert waited(outcomes([10, 11, 17])) == 0
    assert waited(outcomes([11, 10, 17])) == 1
    assert waited(outcomes([17, 10, 11])) == 2
    apart = outcomes([17, 10])
    assert waited(replace(apart, partition=np.array([0, 1]))) == 0


@pytest.mark.parametrize(
    ("letters", "kinds"),
    [
        ([letter(14)], {}),
        ([letter(14), letter(3, topic="commands")], {}),
        ([letter(14), letter(13, Reason.LABEL_TOO_LATE)], {}),
        ([], {"lost": 1}),
        ([letter(14), letter(14)], {"duplicated": 1}),
        ([letter(14, value=b"brokem")], {"mismatched": 1}),
        ([letter(14), letter(2, topic=EVENTS)], {"mismatched": 1}),
    ],
)
def test_dead_letters_are_of_broken_records_with_their_bytes(
    letters: list[DeadLetter], kinds: dict[str, int]
) -> None:
    found = Findings()
    check_letters(letters, EVENTS, truth().broken, found)
    assert found.counts == kinds

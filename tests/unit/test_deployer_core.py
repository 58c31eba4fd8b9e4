"""The deployer's decisions."""

from __future__ import annotations

from typing import Any

import pytest

from decision_builders import (
    HOUR,
    LEAD,
    TOPICS,
    batch,
    catalog,
    command,
    declaration,
    outcomes,
    restarted,
    sent,
    version,
)
from driftloop.deployer.core import DeployerCore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import TopicPartition
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Command, CommandAction, Stage, Version, Window

BETTER = [0.2, 0.1] * 200
WORSE = [-d for d in BETTER]
EVEN = [0.01, -0.01] * 200


class Deploying:
    """A deployer and what it has said so far."""

    def __init__(self, **promotion: Any) -> None:
        self.core = DeployerCore(catalog(declaration(promotion=promotion)))
        self.said: list[Any] = []
        self.letters: list[Any] = []

    def give(self, *records: Window | Version | Command) -> list[Any]:
        topics = {Window: TOPICS.windows, Version: TOPICS.versions, Command: TOPICS.commands}
        out = []
        for record in records:
            outputs = self.core.process(batch(topics[type(record)], record))
            out += sent(outputs)
            self.letters += outputs.dead_letters
        self.said += out
        return out

    def champion(self, first: int = 1) -> Deploying:
        """Take a version through shadow to champion over version 0."""
        self.give(version(first), outcomes(0, difference=BETTER, version=0, shadow=first))
        return self


def state(deployment: Any) -> tuple[Any, ...]:
    return deployment.stage, deployment.champion, deployment.shadow, deployment.reason


def test_the_first_version_shadows_version_0() -> None:
    (first,) = Deploying().give(version(1, at=5 * HOUR))
    assert state(first) == (Stage.SHADOW, 0, 1, "candidate")
    assert (first.sequence, first.at, first.subject) == (1, 5 * HOUR, 1)


def test_a_better_candidate_is_promoted_with_what_the_test_saw() -> None:
    deploying = Deploying()
    deploying.give(version(1))
    (promoted,) = deploying.give(outcomes(3, difference=BETTER, version=0, shadow=1))
    assert state(promoted) == (Stage.STEADY, 1, -1, "promoted")
    assert promoted.e_value >= promoted.threshold == pytest.approx(2.9957, abs=1e-4)
    assert (promoted.rows, promoted.at) == (400, 4 * HOUR)
    assert promoted.windows == ("flights/outcomes/10800000/0/1",)


def test_a_worse_candidate_is_rejected() -> None:
    deploying = Deploying()
    deploying.give(version(1))
    (rejected,) = deploying.give(outcomes(0, difference=WORSE, version=0, shadow=1))
    assert state(rejected) == (Stage.STEADY, 0, -1, "rejected")
    assert rejected.subject == 1


def test_a_candidate_no_better_is_undecided_after_the_maximum_of_rows() -> None:
    deploying = Deploying(maximum_rows=800)
    deploying.give(version(1))
    assert not deploying.give(outcomes(0, difference=EVEN, version=0, shadow=1))
    (ended,) = deploying.give(outcomes(1, difference=EVEN, version=0, shadow=1))
    assert state(ended) == (Stage.STEADY, 0, -1, "undecided")
    assert ended.rows == 800


def test_a_champion_over_a_trained_one_is_guarded_by_it() -> None:
    deploying = Deploying().champion()
    deploying.give(version(2))
    (promoted,) = deploying.give(outcomes(1, difference=BETTER, version=1, shadow=2))
    assert state(promoted) == (Stage.GUARD, 2, 1, "promoted")


def test_a_guarded_champion_that_proves_worse_is_rolled_back() -> None:
    deploying = Deploying().champion()
    deploying.give(version(2), outcomes(1, difference=BETTER, version=1, shadow=2))
    (back,) = deploying.give(outcomes(2, difference=BETTER, version=2, shadow=1))
    assert state(back) == (Stage.STEADY, 1, -1, "rolled_back")
    assert back.subject == 2


def test_the_guard_ends_after_its_rows() -> None:
    deploying = Deploying(guard_rows=400).champion()
    deploying.give(version(2), outcomes(1, difference=BETTER, version=1, shadow=2))
    (steady,) = deploying.give(outcomes(2, difference=EVEN, version=2, shadow=1))
    assert state(steady) == (Stage.STEADY, 2, -1, "guarded")


def test_without_guard_rows_a_promotion_is_final() -> None:
    deploying = Deploying(guard_rows=0).champion()
    deploying.give(version(2))
    (promoted,) = deploying.give(outcomes(1, difference=BETTER, version=1, shadow=2))
    assert state(promoted) == (Stage.STEADY, 2, -1, "promoted")


def test_a_newer_version_supersedes_the_shadow_and_the_test_starts_anew() -> None:
    deploying = Deploying()
    deploying.give(version(1), outcomes(0, difference=EVEN, version=0, shadow=1))
    (superseded,) = deploying.give(version(2))
    assert state(superseded) == (Stage.SHADOW, 0, 2, "superseded")
    assert superseded.subject == 1
    (promoted,) = deploying.give(outcomes(1, difference=BETTER, version=0, shadow=2))
    assert promoted.rows == 400


def test_a_newer_version_ends_the_guard() -> None:
    deploying = Deploying().champion()
    deploying.give(version(2), outcomes(1, difference=BETTER, version=1, shadow=2))
    (shadowing,) = deploying.give(version(3))
    assert state(shadowing) == (Stage.SHADOW, 2, 3, "candidate")


def test_a_version_dealt_with_before_is_ignored() -> None:
    deploying = Deploying().champion()
    assert not deploying.give(version(1))


def test_windows_of_another_pair_do_not_count() -> None:
    deploying = Deploying()
    deploying.give(version(1))
    assert not deploying.give(
        outcomes(0, difference=BETTER, version=0, shadow=2),
        outcomes(0, difference=BETTER, version=1, shadow=0),
        outcomes(0, [0.1] * 10, version=0),
    )


def test_a_window_counts_once_whatever_its_revisions() -> None:
    deploying = Deploying(maximum_rows=401)
    deploying.give(version(1))
    first = outcomes(0, difference=EVEN, version=0, shadow=1)
    later = outcomes(0, difference=EVEN, version=0, shadow=1, revision=1)
    assert not deploying.give(first, first, later)
    assert deploying.give(outcomes(1, difference=EVEN, version=0, shadow=1))


def test_sequence_numbers_have_no_gaps() -> None:
    deploying = Deploying().champion()
    deploying.give(version(2), outcomes(1, difference=BETTER, version=1, shadow=2), version(3))
    assert [d.sequence for d in deploying.said] == [1, 2, 3, 4, 5]


def test_a_person_promotes_a_version() -> None:
    deploying = Deploying().champion()
    deploying.give(version(2))
    (promoted,) = deploying.give(command("a", CommandAction.PROMOTE, 2))
    assert state(promoted) == (Stage.GUARD, 2, 1, "promoted")


def test_a_person_rejects_the_candidate() -> None:
    deploying = Deploying()
    deploying.give(version(1))
    (rejected,) = deploying.give(command("a", CommandAction.REJECT))
    assert state(rejected) == (Stage.STEADY, 0, -1, "rejected")


def test_a_person_rolls_back_through_earlier_champions() -> None:
    deploying = Deploying(guard_rows=0).champion()
    deploying.give(version(2), outcomes(1, difference=BETTER, version=1, shadow=2))
    (once,) = deploying.give(command("a", CommandAction.ROLL_BACK))
    (twice,) = deploying.give(command("b", CommandAction.ROLL_BACK))
    assert (state(once), once.subject) == ((Stage.STEADY, 1, -1, "rolled_back"), 2)
    assert (state(twice), twice.subject) == ((Stage.STEADY, 0, -1, "rolled_back"), 1)


def test_a_command_acts_once() -> None:
    deploying = Deploying(guard_rows=0).champion()
    assert deploying.give(command("a", CommandAction.ROLL_BACK))
    assert not deploying.give(command("a", CommandAction.ROLL_BACK))
    assert not deploying.letters


@pytest.mark.parametrize(
    ("action", "number", "why"),
    [
        (CommandAction.PROMOTE, 7, "not published"),
        (CommandAction.PROMOTE, 1, "champion already"),
        (CommandAction.REJECT, 1, "no candidate"),
    ],
)
def test_a_command_that_cannot_be_followed_becomes_a_dead_letter(
    action: CommandAction, number: int, why: str
) -> None:
    deploying = Deploying().champion()
    assert not deploying.give(command("a", action, number))
    (letter,) = deploying.letters
    assert letter.reason == Reason.OUT_OF_LIMITS
    assert why in letter.detail


def test_a_command_before_any_version_becomes_a_dead_letter() -> None:
    deploying = Deploying()
    deploying.give(command("a", CommandAction.ROLL_BACK))
    assert "no trained version" in deploying.letters[0].detail


def test_garbage_becomes_a_dead_letter_and_the_rest_counts() -> None:
    core = DeployerCore(catalog(declaration()))
    outputs = core.process(batch(TOPICS.versions, b"garbage", version(1), first=7))
    assert [letter.offset for letter in outputs.dead_letters] == [7]
    assert len(sent(outputs)) == 1


def test_a_window_of_an_undeclared_model_waits_for_the_control_topics() -> None:
    empty = Catalog(TOPICS, lambda record: declaration())
    core = DeployerCore(empty)
    with pytest.raises(ControlBehindError):
        core.process(batch(TOPICS.windows, outcomes(0, difference=EVEN)))
    assert core.snapshot() == {}


def test_a_snapshot_holds_only_what_changed() -> None:
    deploying = Deploying()
    deploying.give(version(1))
    assert list(deploying.core.snapshot()) == ["flights/state"]
    assert deploying.core.snapshot() == {}


def test_a_dropped_partition_is_forgotten_and_others_are_not() -> None:
    deploying = Deploying().champion()
    deploying.core.drop(TopicPartition(TOPICS.versions, LEAD.partition))
    assert deploying.core.deployed()
    deploying.core.drop(LEAD)
    assert not deploying.core.deployed()
    assert deploying.core.snapshot() == {}


def test_a_restart_keeps_the_test() -> None:
    known = catalog(declaration(promotion={"maximum_rows": 800}))
    core = DeployerCore(known)
    core.process(batch(TOPICS.versions, version(1)))
    core.process(batch(TOPICS.windows, outcomes(0, difference=EVEN, version=0, shadow=1)))
    again = restarted(core, {}, lambda: DeployerCore(known))
    window = batch(TOPICS.windows, outcomes(1, difference=EVEN, version=0, shadow=1))
    assert sent(again.process(window)) == sent(core.process(window)) != []

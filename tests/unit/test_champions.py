"""Which versions may answer in the place of one that cannot be loaded."""

from __future__ import annotations

from driftloop.inference.champions import Champions
from driftloop.kernel.records import Deployment, Stage


def deployment(
    champion: int,
    shadow: int = -1,
    stage: Stage = Stage.STEADY,
    reason: str = "promoted",
    subject: int = -1,
) -> Deployment:
    return Deployment("m", 1, stage, champion, shadow, 0, reason, subject, 0.0, 0.0, 0, ())


def test_the_champion_alone_then_the_ones_before_it_newest_first_then_older_ones() -> None:
    champions = Champions()
    for version in (2, 6, 6, 4, 2, 5):
        champions.note(deployment(version))
    assert champions.instead(deployment(5), range(1, 8)) == [5, 2, 4, 6, 3, 1]


def test_the_shadow_of_a_guard_was_the_champion_before_and_other_shadows_were_not() -> None:
    champions = Champions()
    assert champions.instead(deployment(5, 2, Stage.GUARD), range(1, 8)) == [5, 2, 4, 3, 1]
    assert champions.instead(deployment(5, 6, Stage.SHADOW), range(1, 8)) == [5, 4, 3, 2, 1]


def test_what_was_turned_down_does_not_come_back() -> None:
    champions = Champions()
    for one in (deployment(3), deployment(5), deployment(3, reason="rolled_back", subject=5)):
        champions.note(one)
    assert champions.instead(deployment(6), range(1, 5)) == [6, 3, 4, 2, 1]
    rejected = deployment(6, reason="rejected", subject=4)
    assert champions.instead(rejected, range(1, 5)) == [6, 3, 2, 1]


def test_nothing_comes_after_the_prior() -> None:
    champions = Champions()
    champions.note(deployment(0))
    assert champions.instead(deployment(0, 1, Stage.SHADOW), [1]) == []
    champions.note(deployment(3))
    assert champions.instead(deployment(3), range(1, 4)) == [3]


def test_models_are_kept_apart_and_no_more_than_a_bound() -> None:
    champions = Champions()
    for version in range(1, 1000):
        champions.note(deployment(version))
    assert len(champions.instead(deployment(999), [])) == 16
    other = Deployment("n", 1, Stage.STEADY, 2, -1, 0, "promoted", 2, 0.0, 0.0, 0, ())
    assert champions.instead(other, [1]) == [2, 1]

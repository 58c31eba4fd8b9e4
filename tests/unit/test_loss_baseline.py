"""The loss baseline of each task: bins of losses, errors and losses by bin of the score."""

from __future__ import annotations

import numpy as np
import pytest

from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.declaration import Task
from driftloop.kernel.records import Profile
from driftloop.kernel.statistics.criterion import BINARY, Criterion
from driftloop.models.profile import MAX_BINS, make_profile

COLOURS = Criterion(Task.MULTICLASS, ("red", "green", "blue"))
METRES = Criterion(Task.REGRESSION, bound=3.0)
ROWS = 500


def scores_of(criterion: Criterion) -> np.ndarray:
    random = np.random.default_rng(5)
    match criterion.task:
        case Task.BINARY:
            return random.random((ROWS, 1))
        case Task.MULTICLASS:
            return random.dirichlet((3.0, 1.0, 0.01), ROWS)
        case Task.REGRESSION:
            return random.normal(size=(ROWS, 1))


def made(criterion: Criterion) -> tuple[Profile, np.ndarray, np.ndarray]:
    """The profile, the scores and the labels."""
    random = np.random.default_rng(6)
    scores = scores_of(criterion)
    labels = random.integers(0, criterion.label_classes or 9, ROWS).astype(np.float64)
    features = Features(np.zeros((ROWS, 1)), Categories(np.zeros((ROWS, 0), np.int32), ()))
    return make_profile(["x"], [], features, scores, labels, criterion), scores, labels


@pytest.mark.parametrize("criterion", [BINARY, COLOURS, METRES])
def test_losses_are_counted_on_few_bins_of_their_own(criterion: Criterion) -> None:
    profile, scores, labels = made(criterion)
    loss, judged = profile.loss, criterion.judge(scores, labels)
    assert len(loss.counts) == len(loss.edges) + 1 == len(loss.means) <= MAX_BINS
    bins = np.searchsorted(loss.edges, judged.loss)
    assert loss.counts == tuple(np.bincount(bins, minlength=len(loss.counts)))
    for at, (count, mean) in enumerate(zip(loss.counts, loss.means, strict=True)):
        assert mean == (pytest.approx(judged.loss[bins == at].mean()) if count else 0.0)
    assert loss.bound == criterion.bound
    assert loss.mean == pytest.approx(judged.loss.mean())
    assert loss.mean < loss.upper <= loss.bound
    assert loss.errors == int(judged.wrong.sum())


@pytest.mark.parametrize("criterion", [BINARY, COLOURS, METRES])
def test_errors_and_losses_are_counted_by_score_too(criterion: Criterion) -> None:
    profile, scores, labels = made(criterion)
    loss, score = profile.loss, profile.numeric[-1]
    judged = criterion.judge(scores, labels)
    bins = np.searchsorted(score.edges, criterion.watched(scores)[:, 0])
    assert len(loss.score_errors) == len(loss.score_losses) == len(score.counts)
    assert sum(loss.score_errors) == loss.errors
    for at, total in enumerate(loss.score_losses):
        assert total == pytest.approx(judged.loss[bins == at].sum())
        assert loss.score_errors[at] == int(judged.wrong[bins == at].sum())


def test_every_class_is_a_level_of_the_predicted_one() -> None:
    profile, scores, _ = made(COLOURS)
    predicted = profile.categorical[-1]
    assert (predicted.name, predicted.levels) == ("predicted", COLOURS.classes)
    assert predicted.counts == tuple(np.bincount(scores.argmax(axis=1), minlength=3))
    assert predicted.counts[2] == 0
    assert made(METRES)[0].categorical == ()


def test_one_loss_for_all_is_one_bin() -> None:
    features = Features(np.zeros((4, 0)), Categories(np.zeros((4, 0), np.int32), ()))
    loss = make_profile([], [], features, np.full((4, 1), 9.0), np.zeros(4), METRES).loss
    assert (loss.edges, loss.counts, loss.means) == ((), (4,), (3.0,))

"""Windows of tasks with several classes and of numbers: free of order, and what they count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.kernel.codec.blocks import OutcomeBlock
from driftloop.kernel.declaration import Declaration, Task
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.records import (
    CategoricalProfile,
    LossBaseline,
    Profile,
    ReferenceCounts,
    Stream,
    WindowStatistics,
)
from driftloop.kernel.statistics.checks import check_statistics, shape_of
from driftloop.kernel.statistics.criterion import Criterion
from driftloop.kernel.statistics.exact import exact_sum
from driftloop.kernel.statistics.layout import Layout
from driftloop.kernel.statistics.losses import BETS, LOSS_BOUND
from driftloop.kernel.statistics.merge import merge_all, merge_statistics, statistics_digest
from driftloop.kernel.statistics.sketch import Sketch
from window_builders import declaration, outcomes, predictions, profile

ROWS = 200
CLASSES = ("red", "green", "blue")
BOUND = 10.0
EDGES = (0.5, 1.0, 2.0)


def declared(task: Task) -> Declaration:
    if task is Task.MULTICLASS:
        return replace(declaration(), task=task, classes=CLASSES, prior=(0.2, 0.3, 0.5))
    return replace(declaration(), task=task, error_bound=BOUND, prior=0.0)


def reference(task: Task) -> Profile:
    made = profile()
    bound = LOSS_BOUND if task is Task.MULTICLASS else BOUND
    loss = LossBaseline(10, 0.5, 0.6, bound, EDGES, (4, 3, 2, 1), (0.2, 0.7, 1.5, 3.0), 2)
    if task is Task.MULTICLASS:
        predicted = CategoricalProfile("predicted", CLASSES, (6, 4, 0), 0)
        made = replace(made, categorical=(*made.categorical, predicted))
    return replace(made, loss=loss)


def block(task: Task) -> OutcomeBlock:
    random = np.random.default_rng(3)
    plain = outcomes([0] * ROWS, shadows=2)
    if task is Task.MULTICLASS:
        return replace(
            plain,
            scores=random.dirichlet((1.0, 1.0, 0.2), ROWS),
            shadow_scores=random.dirichlet((1.0, 1.0, 1.0), ROWS),
            label=random.integers(0, 3, ROWS).astype(np.float64),
        )
    return replace(
        plain,
        scores=random.normal(size=(ROWS, 1)) * 8,
        shadow_scores=random.normal(size=(ROWS, 1)) * 8,
        label=random.normal(size=ROWS) * 8,
    )


TASKS = [Task.MULTICLASS, Task.REGRESSION]
BLOCKS = {task: block(task) for task in TASKS}


def sketch(task: Task, known: Profile | None, stream: Stream = Stream.OUTCOMES) -> Sketch:
    return Sketch(declared(task), known, stream, shadow=stream is Stream.OUTCOMES)


def of_rows(task: Task, rows: list[int] | np.ndarray, known: Profile | None) -> WindowStatistics:
    made = sketch(task, known)
    made.update_outcomes(BLOCKS[task], np.asarray(rows, dtype=np.int64))
    return made.statistics()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("trained", [False, True])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_order_and_split_gives_the_same_digest(
    task: Task, trained: bool, data: st.DataObject
) -> None:
    known = reference(task) if trained else None
    order = np.array(data.draw(st.permutations(range(ROWS))))
    cuts = sorted(data.draw(st.lists(st.integers(0, ROWS), max_size=4)))
    whole = statistics_digest(of_rows(task, np.arange(ROWS), known))

    parts = [of_rows(task, part, known) for part in np.split(order, cuts)]
    assert statistics_digest(merge_all(parts)) == whole

    stepwise = sketch(task, known)
    for part in np.split(order, cuts):
        stepwise.update_outcomes(BLOCKS[task], part)
        stepwise = Sketch.from_statistics(
            declared(task), known, Stream.OUTCOMES, stepwise.statistics(), shadow=True
        )
    assert statistics_digest(stepwise.statistics()) == whole


PARTS = st.lists(st.integers(0, ROWS - 1), max_size=20)


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=10, deadline=None)
@given(a=PARTS, b=PARTS, c=PARTS)
def test_merging_is_associative_and_commutative(
    task: Task, a: list[int], b: list[int], c: list[int]
) -> None:
    x, y, z = (of_rows(task, rows, reference(task)) for rows in (a, b, c))
    left = merge_statistics(merge_statistics(x, y), z)
    right = merge_statistics(x, merge_statistics(z, y))
    assert statistics_digest(left) == statistics_digest(right)
    check_statistics(left)
    assert shape_of(left) == shape_of(x)


def test_losses_of_classes_agree_with_their_definition() -> None:
    rows = BLOCKS[Task.MULTICLASS]
    loss = of_rows(Task.MULTICLASS, np.arange(ROWS), reference(Task.MULTICLASS)).loss
    assert loss is not None
    assert loss.paired is not None
    truth = rows.label.astype(int)
    expected = [-np.log(np.clip(rows.scores[i, c], 0.01, 0.99)) for i, c in enumerate(truth)]
    theirs = [-np.log(np.clip(rows.shadow_scores[i, c], 0.01, 0.99)) for i, c in enumerate(truth)]
    assert exact_sum(loss.loss) == pytest.approx(sum(expected))
    assert exact_sum(loss.loss_squares) == pytest.approx(sum(x * x for x in expected))
    assert loss.labels == tuple(int(np.sum(truth == c)) for c in range(3))
    top = rows.scores.max(axis=1)
    right = rows.scores.argmax(axis=1) == truth
    assert loss.errors == int(np.sum(~right))
    by_bin = np.zeros((64, 2), dtype=int)
    for score, hit in zip(top, right, strict=True):
        by_bin[min(int(score * 64), 63), int(hit)] += 1
    assert loss.histogram == tuple(by_bin.ravel().tolist())
    assert loss.bins == tuple(np.bincount(np.searchsorted(EDGES, expected), minlength=4))
    assert loss.bets == ()
    better = sum(
        np.log1p(BETS[2] * (a - b) / LOSS_BOUND) for a, b in zip(expected, theirs, strict=True)
    )
    assert exact_sum(loss.paired.better[2]) == pytest.approx(better)
    assert exact_sum(loss.paired.shadow_loss) == pytest.approx(sum(theirs))


def test_losses_of_numbers_agree_with_their_definition() -> None:
    rows = BLOCKS[Task.REGRESSION]
    loss = of_rows(Task.REGRESSION, np.arange(ROWS), reference(Task.REGRESSION)).loss
    assert loss is not None
    assert loss.paired is not None
    expected = np.minimum(np.abs(rows.label - rows.scores[:, 0]), BOUND)
    theirs = np.minimum(np.abs(rows.label - rows.shadow_scores[:, 0]), BOUND)
    assert expected.max() == BOUND
    assert exact_sum(loss.loss) == pytest.approx(expected.sum())
    assert (loss.rows, loss.labels, loss.errors, loss.histogram) == (ROWS, (), 0, ())
    assert loss.bins == tuple(np.bincount(np.searchsorted(EDGES, expected), minlength=4))
    worse = np.log1p(-BETS[5] * (expected - theirs) / BOUND).sum()
    assert exact_sum(loss.paired.worse[5]) == pytest.approx(worse)
    assert loss.paired.wins == int(np.sum(expected > theirs))
    assert loss.paired.ties == int(np.sum(expected == theirs)) > 0


def test_the_columns_of_the_answer() -> None:
    rows = BLOCKS[Task.MULTICLASS]
    statistics = of_rows(Task.MULTICLASS, np.arange(ROWS), reference(Task.MULTICLASS))
    score, predicted = statistics.numeric[-1], statistics.categorical[-1]
    assert (score.name, predicted.name) == ("score", "predicted")
    assert exact_sum(score.sum) == pytest.approx(rows.scores.max(axis=1).sum())
    assert predicted.levels == tuple(np.bincount(rows.scores.argmax(axis=1), minlength=3))
    (kind,) = of_rows(Task.REGRESSION, [0], reference(Task.REGRESSION)).categorical
    assert kind.name == "kind"
    values = of_rows(Task.REGRESSION, np.arange(ROWS), None).numeric[-1]
    assert exact_sum(values.sum) == pytest.approx(BLOCKS[Task.REGRESSION].scores.sum())


def test_before_a_version_classes_are_counted_by_label_only() -> None:
    statistics = of_rows(Task.MULTICLASS, np.arange(ROWS), None)
    predicted = statistics.categorical[-1]
    assert (predicted.count, predicted.levels, predicted.unseen) == (ROWS, (), 0)
    assert statistics.loss is not None
    assert len(statistics.loss.labels) == 3
    assert statistics.loss.bins == ()


def test_windows_fit_the_layout_of_their_profile() -> None:
    known = reference(Task.MULTICLASS)
    statistics = of_rows(Task.MULTICLASS, np.arange(ROWS), known)
    places = Layout(known, Stream.PREDICTIONS).places
    assert [place.name for place in places] == [
        *(column.name for column in statistics.numeric),
        *(column.name for column in statistics.categorical),
    ]


def test_rows_that_cannot_be_judged_count_in_no_loss() -> None:
    rows = BLOCKS[Task.MULTICLASS]
    scores, labels = rows.scores.copy(), rows.label.copy()
    scores[0, 1] = np.nan
    labels[1], labels[2], labels[3] = np.nan, 3.0, 0.5
    made = sketch(Task.MULTICLASS, reference(Task.MULTICLASS))
    made.update_outcomes(replace(rows, scores=scores, label=labels), np.arange(5))
    statistics = made.statistics()
    assert statistics.rows == 5
    assert statistics.loss is not None
    assert statistics.loss.rows == sum(statistics.loss.labels) == 1
    assert statistics.categorical[-1].missing == 1
    assert statistics.numeric[-1].missing == 1


def test_segments_of_predictions_count_the_predicted_class() -> None:
    known = reference(Task.MULTICLASS)
    parts = [
        ReferenceCounts(stream, -1, level, 5, (0,) * Layout(known, stream).length)
        for stream in Stream
        for level in ("a", "b")
    ]
    known = replace(known, references=tuple(parts))
    rows = BLOCKS[Task.MULTICLASS]
    made = sketch(Task.MULTICLASS, known, Stream.PREDICTIONS)
    as_predictions = replace(predictions([0] * ROWS), features=rows.features, scores=rows.scores)
    made.update_predictions(as_predictions, np.arange(ROWS))
    place = Layout(known, Stream.PREDICTIONS).places[-1]
    kinds = np.array([*rows.features.categories.levels[0], ""])
    kind = kinds[rows.features.categories.codes[:, 0]]
    for segment in made.statistics().segments:
        inside = kind == segment.level
        expected = np.bincount(rows.scores[inside].argmax(axis=1), minlength=3)
        assert segment.rows == inside.sum() > 0
        assert segment.counts[place.bins] == tuple(expected)


@pytest.mark.parametrize("task", TASKS)
def test_segments_of_outcomes_count_losses_and_errors(task: Task) -> None:
    known = reference(task)
    parts = [
        ReferenceCounts(stream, -1, level, 5, (0,) * Layout(known, stream).length)
        for stream in Stream
        for level in ("a", "b")
    ]
    known = replace(known, references=tuple(parts))
    statistics = of_rows(task, np.arange(ROWS), known)
    rows, criterion = BLOCKS[task], Criterion.of(declared(task))
    judged = criterion.judge(rows.scores, rows.label)
    kinds = np.array([*rows.features.categories.levels[0], ""])
    kind = kinds[rows.features.categories.codes[:, 0]]
    assert [segment.level for segment in statistics.segments] == ["a", "b"]
    for segment in statistics.segments:
        inside = kind == segment.level
        bins = np.bincount(np.searchsorted(EDGES, judged.loss[inside]), minlength=4)
        assert segment.counts == (*bins, judged.wrong[inside].sum())


@pytest.mark.parametrize("task", TASKS)
def test_losses_of_another_task_are_not_gone_on_with(task: Task) -> None:
    other = TASKS[1 - TASKS.index(task)]
    with pytest.raises(DecodeError):
        Sketch.from_statistics(
            declared(other), None, Stream.OUTCOMES, of_rows(task, [1], None), shadow=True
        )


def test_losses_on_other_bins_do_not_merge() -> None:
    known = reference(Task.REGRESSION)
    fewer = replace(known, loss=replace(known.loss, edges=(1.0,), counts=(7, 3)))
    with pytest.raises(DecodeError):
        merge_statistics(of_rows(Task.REGRESSION, [1], known), of_rows(Task.REGRESSION, [1], fewer))

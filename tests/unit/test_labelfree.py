"""Estimates without labels: what they say, what their interval covers, what they cannot see.

Seeds are fixed; a share of 400 windows within four standard errors of what is claimed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from driftloop.drift.labelfree import CAVEAT, CONFIDENCE, Estimator
from driftloop.kernel.codec.blocks import F64, Categories, Features, OutcomeBlock, PredictionBlock
from driftloop.kernel.declaration import Declaration, Task
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.records import Estimate, Profile, Stream, Window
from driftloop.kernel.statistics.losses import bounded_log_loss
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.models.profile import make_profile
from driftloop.models.reference_rows import ReferencePolicy, ReferenceRows
from driftloop.models.references import with_references
from driftloop.models.shifts import ERROR_SHIFT, LOSS_SHIFT, own_key, shift_metrics
from window_builders import declaration, outcomes, predictions

HELD_OUT = 4000
ROWS = 1000
LEVELS = ("a", "b")


class World:
    """The label's chance is the score's, but for what a category adds unseen by the model."""

    def __init__(self, seed: int, *, hidden: float = 0.0) -> None:
        self.random = np.random.default_rng(seed)
        self.hidden = hidden

    def rows(self, n: int, *, moved: float = 0.0, share: float = 0.5) -> tuple[Features, F64, F64]:
        """Features, scores and labels; ``share``: of level b."""
        x = self.random.normal(moved, 1.0, size=(n, 2))
        codes = (self.random.random((n, 1)) < share).astype(np.int32)
        score = 1 / (1 + np.exp(-1.5 * x[:, 0]))
        logit = 1.5 * x[:, 0] * (1 - self.hidden * codes[:, 0])
        labels = (self.random.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
        return Features(x, Categories(codes, (LEVELS,))), score, labels

    def reference(self, segment: str = "") -> tuple[Profile, dict[str, float]]:
        features, score, labels = self.rows(HELD_OUT)
        profile = make_profile(["x", "y"], ["kind"], features, score[:, None], labels)
        times = np.arange(HELD_OUT, dtype=np.int64) * 1000
        seen = ReferenceRows(
            features,
            times,
            times,
            score,
            bounded_log_loss(score, labels),
            (score > 0.5) != (labels > 0.5),
            Categories(np.zeros((HELD_OUT, 0), dtype=np.int32), ()),
        )
        made = with_references(profile, seen, ReferencePolicy(100_000, (), segment))
        return made, shift_metrics(made, seen, segment)


def windows(
    profile: Profile, rows: tuple[Features, F64, F64], declared: Declaration | None = None
) -> tuple[Window, Window]:
    """Of predictions and of outcomes of the same rows."""
    features, score, labels = rows
    n = len(score)
    model = declared or declaration()
    found = []
    for stream in Stream:
        sketch = Sketch(model, profile, stream)
        block: PredictionBlock | OutcomeBlock
        if stream is Stream.PREDICTIONS:
            block = replace(predictions([0] * n), features=features, scores=score[:, None])
            sketch.update_predictions(block, np.arange(n))
        else:
            block = replace(
                outcomes([0] * n), features=features, scores=score[:, None], label=labels
            )
            sketch.update_outcomes(block, np.arange(n))
        found.append(Window("m", stream, 0, 100, 1, -1, 0, n, 0, (), 0, sketch.statistics(), ""))
    before, after = found
    return before, after


def estimates(window: Window, profile: Profile, task: Task) -> list[Estimate]:
    """Of a version that has no metrics."""
    return Estimator(profile, task, {}).estimates(window)


def said(
    profile: Profile, metrics: dict[str, float], rows: tuple[Features, F64, F64]
) -> tuple[list[Estimate], list[Estimate]]:
    before, after = windows(profile, rows)
    estimator = Estimator(profile, Task.BINARY, metrics)
    return estimator.estimates(before), estimator.estimates(after)


def test_a_window_of_predictions_has_accuracy_and_loss_without_what_is_realised() -> None:
    world = World(0)
    profile, _ = world.reference()
    before, _ = windows(profile, world.rows(ROWS))
    accuracy, loss = estimates(before, profile, Task.BINARY)
    assert (accuracy.metric, accuracy.method, loss.metric, loss.method) == (
        "accuracy",
        "cbpe",
        "loss",
        "dle",
    )
    for found in (accuracy, loss):
        assert (found.window, found.rows, found.confidence) == (before.id, ROWS, CONFIDENCE)
        assert found.lower < found.estimate < found.upper
        assert math.isnan(found.realised)
        assert found.caveat == CAVEAT
    assert "concept drift" in CAVEAT


def test_a_window_of_outcomes_compares_with_the_labels() -> None:
    world = World(1)
    profile, metrics = world.reference()
    rows = world.rows(ROWS)
    before, after = said(profile, metrics, rows)
    _, score, labels = rows
    assert after[0].realised == pytest.approx(np.mean((score > 0.5) == (labels > 0.5)))
    assert after[1].realised == pytest.approx(bounded_log_loss(score, labels).mean())
    for first, second in zip(before, after, strict=True):
        assert second.estimate == pytest.approx(first.estimate)


def test_of_a_regression_only_the_loss_is_estimated() -> None:
    world = World(2)
    profile, _ = world.reference()
    before, _ = windows(profile, world.rows(ROWS))
    assert [e.metric for e in estimates(before, profile, Task.REGRESSION)] == ["loss"]


@pytest.mark.parametrize("segment", ["", "kind"])
def test_intervals_hold_as_often_as_they_claim_under_covariate_shift(segment: str) -> None:
    held: list[list[bool]] = []
    errors: list[float] = []
    for seed in range(40):
        world = World(100 + seed)
        profile, metrics = world.reference(segment)
        for _ in range(10):
            moved, share = world.random.normal(0, 0.7), world.random.random()
            before, after = said(profile, metrics, world.rows(ROWS, moved=moved, share=share))
            pairs = list(zip(before, after, strict=True))
            held.append([b.lower <= a.realised <= b.upper for b, a in pairs])
            errors.append(abs(before[0].estimate - after[0].realised))
    covered = np.mean(held, axis=0)
    # Windows of one version share its calibration: fewer independent ones than 400.
    slack = 4 * (CONFIDENCE * (1 - CONFIDENCE) / 200) ** 0.5
    assert (covered >= CONFIDENCE - slack).all()
    assert np.mean(errors) < 0.015


def test_a_segment_s_own_errors_are_told_apart() -> None:
    """Of level b the labels hang less on the score: more rows of it are more errors."""
    errors: dict[str, list[float]] = {"": [], "kind": []}
    for seed in range(10):
        for segment, found in errors.items():
            world = World(seed, hidden=0.9)
            profile, metrics = world.reference(segment)
            before, after = said(profile, metrics, world.rows(4 * ROWS, share=1.0))
            found.append(before[0].estimate - after[0].realised)
    assert np.mean(errors[""]) > 0.05
    assert abs(np.mean(errors["kind"])) < 0.01


def test_intervals_are_wider_where_parts_of_the_held_out_rows_went_wrong() -> None:
    plain, hidden = World(5).reference()[1], World(5, hidden=0.9).reference()[1]
    assert hidden[ERROR_SHIFT] > 5 * plain[ERROR_SHIFT]
    assert hidden[LOSS_SHIFT] > plain[LOSS_SHIFT]
    world = World(6, hidden=0.9)
    profile, metrics = world.reference()
    before, after = said(profile, metrics, world.rows(ROWS, share=0.9))
    assert before[0].lower <= after[0].realised <= before[0].upper
    (narrow, *_), _ = said(profile, {}, world.rows(ROWS, share=0.9))
    assert before[0].upper - before[0].lower > 1.2 * (narrow.upper - narrow.lower)


def test_a_shift_of_one_feature_is_covered_and_others_are_no_wider_for_it() -> None:
    """Only the mix of the category shifts, which errors hang on beside the score."""
    shares = (0.65, 0.8, 0.95)
    held: list[list[bool]] = []
    for seed in range(20):
        world = World(seed, hidden=0.6)
        profile, metrics = world.reference()
        for share in shares:
            before, after = said(profile, metrics, world.rows(ROWS, share=share))
            held.append(
                [b.lower <= a.realised <= b.upper for b, a in zip(before, after, strict=True)]
            )
    # Without slopes of its own .77, .45 and .18 of them hold.
    assert (np.mean(held, axis=0) >= 0.93).all()
    world = World(3, hidden=0.6)
    profile, metrics = world.reference()
    plain = {name: metrics[name] for name in (ERROR_SHIFT, LOSS_SHIFT)}
    assert set(metrics) - set(plain) >= {own_key(ERROR_SHIFT, "kind"), own_key(LOSS_SHIFT, "kind")}
    rows = world.rows(ROWS, moved=0.7)
    for wide, narrow in zip(
        said(profile, metrics, rows)[0], said(profile, plain, rows)[0], strict=True
    ):
        assert wide.upper - wide.lower < 1.3 * (narrow.upper - narrow.lower)


def test_a_segment_that_is_calibrated_for_has_no_slope_of_its_own() -> None:
    _, metrics = World(3, hidden=0.6).reference("kind")
    assert own_key(ERROR_SHIFT, "kind") not in metrics
    _, plain = World(3).reference()
    assert own_key(ERROR_SHIFT, "kind") not in plain


def sure(random: np.random.Generator, rate: float, n: int) -> tuple[Features, F64, F64]:
    """Rows with scores near 0 or 1, of which ``rate`` are wrong."""
    features, _, _ = World(0).rows(n)
    score = np.where(random.random(n) < 0.5, 0.02, 0.98)
    wrong = random.random(n) < rate
    return features, score, np.where(wrong, score < 0.5, score > 0.5).astype(float)


def of_rows(rows: tuple[Features, F64, F64]) -> Profile:
    features, score, labels = rows
    return make_profile(["x", "y"], ["kind"], features, score[:, None], labels)


def test_intervals_hold_where_errors_are_rare() -> None:
    held: list[list[bool]] = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        profile = of_rows(sure(random, 0.0005, 2000))
        for _ in range(3):
            before, after = said(profile, {}, sure(random, 0.0005, ROWS))
            held.append(
                [b.lower <= a.realised <= b.upper for b, a in zip(before, after, strict=True)]
            )
    assert (np.mean(held, axis=0) >= 0.95).all()


def test_held_out_rows_without_an_error_do_not_exclude_one() -> None:
    random = np.random.default_rng(0)
    profile = of_rows(sure(random, 0.0, 2000))
    assert profile.loss.errors == 0
    before, _ = windows(profile, sure(random, 0.0, ROWS))
    accuracy, loss = estimates(before, profile, Task.BINARY)
    assert 1 - 5 / ROWS < accuracy.lower < 1 - 2 / ROWS
    assert accuracy.upper == 1.0
    # Two rows that are wrong.
    wrong = bounded_log_loss(np.array([0.98]), np.array([0.0])).item()
    assert profile.loss.mean + 1.5 * wrong / ROWS < loss.upper < profile.loss.mean + 0.02
    # The same of a regression whose losses were all 0.
    none = replace(
        profile.loss,
        mean=0.0,
        counts=(2000,),
        means=(0.0,),
        edges=(),
        score_losses=(0.0,) * len(profile.loss.score_losses),
    )
    (found,) = estimates(before, replace(profile, loss=none), Task.REGRESSION)
    assert 0.0 == found.lower <= found.estimate < found.upper < 0.05


@pytest.mark.parametrize("labels", [(0.0,), (0.0, 1.0), (1.0,)])
def test_one_or_two_held_out_rows_say_little(labels: tuple[float, ...]) -> None:
    features, _, _ = World(1).rows(len(labels))
    score = np.array([0.2, 0.8])[: len(labels)]
    profile = of_rows((features, score, np.array(labels)))
    before, _ = windows(profile, sure(np.random.default_rng(0), 0.0, ROWS))
    accuracy, loss = estimates(before, profile, Task.BINARY)
    assert accuracy.upper - accuracy.lower > 0.5
    assert loss.upper - loss.lower > 0.3
    assert 0.0 <= loss.lower <= loss.estimate <= loss.upper <= profile.loss.bound


def test_concept_drift_is_not_seen() -> None:
    world = World(7)
    profile, metrics = world.reference()
    features, score, labels = world.rows(ROWS)
    before, after = said(profile, metrics, (features, score, 1 - labels))
    assert before[0].estimate - after[0].realised > 0.3


def test_dispersion_widens_the_interval() -> None:
    world = World(8)
    profile, _ = world.reference()
    before, _ = windows(profile, world.rows(ROWS))
    loss = replace(profile.loss, error_dispersion=4.0, dispersion=4.0, window_rows=float(ROWS))
    spread = replace(profile, loss=loss)
    # Of windows a quarter as large a dispersion of 4 is some 13 in these.
    smaller = replace(profile, loss=replace(loss, window_rows=ROWS / 4))
    for plain, wide, wider in zip(
        *(estimates(before, given, Task.BINARY) for given in (profile, spread, smaller)),
        strict=True,
    ):
        # Of an accuracy half a row on either side is the labels' own.
        own = 1.0 / plain.rows if plain.metric == "accuracy" else 0.0
        width, narrow = wide.upper - wide.lower - own, plain.upper - plain.lower - own
        assert width == pytest.approx(2 * narrow)
        assert 1.2 < (wider.upper - wider.lower - own) / width < math.sqrt(13.1 / 4)


def test_a_window_without_rows_and_a_profile_without_errors_give_no_estimates() -> None:
    world = World(9)
    profile, _ = world.reference()
    empty, _ = windows(profile, world.rows(0))
    assert estimates(empty, profile, Task.BINARY) == []
    old = replace(profile, loss=replace(profile.loss, score_errors=(), score_losses=()))
    before, _ = windows(old, world.rows(ROWS))
    assert estimates(before, old, Task.BINARY) == []


def test_a_window_of_another_profile_is_refused() -> None:
    world = World(10)
    profile, _ = world.reference()
    before, _ = windows(profile, world.rows(ROWS))
    score = replace(profile.numeric[-1], edges=(0.5,), counts=(1, 1))
    loss = replace(profile.loss, score_errors=(1, 1), score_losses=(1.0, 1.0))
    other = replace(profile, numeric=(*profile.numeric[:-1], score), loss=loss)
    with pytest.raises(DecodeError, match="do not fit"):
        estimates(before, other, Task.BINARY)
    segmented, _ = World(10).reference("kind")
    with pytest.raises(DecodeError, match="do not fit"):
        estimates(before, segmented, Task.BINARY)
    shorter = replace(profile.numeric[0], edges=(0.5,), counts=(1, 1))
    with pytest.raises(DecodeError, match="do not fit"):
        estimates(before, replace(profile, numeric=(shorter, *profile.numeric[1:])), Task.BINARY)

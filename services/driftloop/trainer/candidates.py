"""Trains the candidates of a run and chooses one. Pure but for the clock it is given.

Prequential: every candidate is trained on the older rows and scores the newest, which it has not
seen, as it would have when they arrived. The best by log loss, of a regression by mean absolute
error, is then trained again **on all rows**, and that is the version: its metrics, score reference
and loss baseline are those of the held-out rows, scored by its twin that was trained without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.records.training import CandidateResult, Recipe
from driftloop.kernel.statistics.criterion import Criterion
from driftloop.models.evaluation import CHOSEN_BY, evaluate
from driftloop.models.ports import Target, TrainedModel
from driftloop.models.profile import make_profile
from driftloop.models.reference_rows import ReferenceRows
from driftloop.models.references import with_references
from driftloop.models.registry import freeze, trainer
from driftloop.models.shifts import shift_metrics
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import Trained, TrainingTask, Untrained, WorkerResult

Report = Callable[[Mapping[str, object]], None]
"""Takes progress: JSON-able, with the key ``step``."""

LEAST_ROWS = 2
"""In either part of the split."""


def train(
    rows: TrainingRows, task: TrainingTask, report: Report, clock: Callable[[], float]
) -> WorkerResult:
    """``clock`` gives seconds. A candidate that fails is a result with its reason; when all fail,
    so does the run."""
    problem = _unfit(rows, task)
    if problem:
        return Untrained(problem, ())
    target = Target.of(task.criterion)
    held_out = _held_out(len(rows), task.evaluation_share)
    older, newest = rows.part(0, len(rows) - held_out), rows.part(len(rows) - held_out, len(rows))
    results: list[CandidateResult] = []
    scores: dict[int, F64] = {}
    for index, recipe in enumerate(task.candidates):
        report({"step": "candidate", "index": index, "trainer": recipe.trainer})
        started = clock()
        try:
            score = freeze(_fit(recipe, older, target)).score(newest.features)
            if not np.isfinite(score).all():
                raise TrainingError("scores are not finite")
            metrics = evaluate(score, newest.labels, task.criterion)
            if not all(map(math.isfinite, metrics.values())):
                raise TrainingError("metrics are not finite: the scores are far from all labels")
        except Exception as error:  # a candidate may fail in any way; the others go on
            results.append(CandidateResult(recipe, {}, False, _reason(error)))
        else:
            scores[index] = score
            metrics["seconds"] = clock() - started
            results.append(CandidateResult(recipe, metrics, False, ""))
        last = results[-1]
        report({"step": "evaluated", "index": index, "metrics": last.metrics, "why": last.reason})

    # The order of the declaration decides between equals.
    chosen_by = CHOSEN_BY[task.criterion.task]
    for index in sorted(scores, key=lambda i: (results[i].metrics[chosen_by], i)):
        recipe = task.candidates[index]
        report({"step": "refit", "index": index, "trainer": recipe.trainer})
        try:
            model = _fit(recipe, rows, target)
            freeze(model)
        except Exception as error:  # the next best is still a version
            reason = f"on all rows: {_reason(error)}"
            results[index] = CandidateResult(recipe, {}, False, reason)
            continue
        metrics = {k: v for k, v in results[index].metrics.items() if k != "seconds"}
        results[index] = CandidateResult(recipe, results[index].metrics, True, "")
        seen = _reference_rows(rows, newest, scores[index], task.criterion)
        profile = with_references(
            make_profile(
                task.numeric,
                task.categorical,
                rows.features,
                scores[index],
                newest.labels,
                task.criterion,
            ),
            seen,
            task.reference,
        )
        metrics |= shift_metrics(profile, seen, task.reference.segment)
        return Trained(recipe, model, profile, metrics, tuple(results), len(rows))
    reasons = "; ".join(f"{r.recipe.trainer}: {r.reason}" for r in results)
    return Untrained(f"every candidate failed: {reasons}", tuple(results))


def _reference_rows(
    rows: TrainingRows, newest: TrainingRows, scores: F64, criterion: Criterion
) -> ReferenceRows:
    """``scores`` (m, C) are the newest rows'."""
    judged = criterion.judge(scores, newest.labels)
    return ReferenceRows(
        rows.features,
        rows.event_times,
        rows.times,
        criterion.watched(scores)[:, 0],
        judged.loss,
        judged.wrong,
        criterion.predicted(scores),
    )


def _fit(recipe: Recipe, rows: TrainingRows, target: Target) -> TrainedModel:
    return trainer(recipe.trainer).train(
        rows.features, rows.labels, recipe.parameters, recipe.seed, target
    )


def _held_out(rows: int, share: float) -> int:
    return min(max(round(rows * share), LEAST_ROWS), rows - LEAST_ROWS)


def _unfit(rows: TrainingRows, task: TrainingTask) -> str:
    """Why these rows cannot be trained on; empty when they can."""
    if not task.candidates:
        return "the declaration names no candidates"
    if len(rows) < 2 * LEAST_ROWS:
        return f"{len(rows)} labels are too few: training needs at least {2 * LEAST_ROWS}"
    features = rows.features
    found = (features.numeric.shape[1], features.categories.codes.shape[1])
    if found != (len(task.numeric), len(task.categorical)):
        return (
            f"the rows have {found[0]} numeric and {found[1]} categorical features, the "
            f"declaration {len(task.numeric)} and {len(task.categorical)}: they were predicted "
            "under another declaration"
        )
    if not np.isfinite(rows.labels).all():
        return "labels are not finite"
    classes = task.criterion.label_classes
    if classes and not np.isin(rows.labels, np.arange(classes)).all():
        known = "0 and 1" if classes == 2 else f"0 to {classes - 1}"
        return f"a {task.criterion.task} task has labels {known}, these rows have others"
    if np.isinf(features.numeric).any():
        return "a numeric feature is infinite; declare limits for it"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, TrainingError):
        return str(error)
    return f"{type(error).__name__}: {error}"[:500]

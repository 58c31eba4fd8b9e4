"""Accuracy estimated without labels, under covariate shift and under concept drift.

Each repetition trains a version as the trainer does, makes windows with the product's sketch, and
compares what ``drift.labelfree`` says of the windows' predictions with what their labels say:

- *synthetic*: a known law of the label given the features; each window has other means, spreads and
  another mix of categories. For windows of concept drift the law itself changes.
- *flights*: flights from New York drawn at random for training; each window is drawn from the
  others, tilted by weather, time or distance, so that the features shift and their law stays.
- *severe*, not counted: the same, with shifts such that few of a window's rows are usual ones;
- *alone*, not counted: the same, with shifts of one feature only;
- *blind*, not counted: a law of which a linear score misses what one feature does, without
  segments; only the mix of that feature's levels shifts;
- *forward*, not counted: days of flights after those trained on, as they came, with whatever
  happened to them.

Beside it, on the same windows: the accuracy of the held-out rows, told of every window; the mean of
the larger score of each row, its own word; PAPE, which needs rows where ours has windows' counts
(:mod:`loadtest.pape`); and what windowed tests of the score, Kolmogorov and
Smirnov's and the stability index, say of falls in accuracy when they alarm. (ADWIN, DDM and
PageHinkley need labels.)

Another seed draws everything anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from driftloop.drift.labelfree import CONFIDENCE, Estimator
from driftloop.kernel.declaration import CandidatePolicy, Declaration
from driftloop.kernel.records import Estimate, Profile, Stream
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.models.ports import FrozenModel
from driftloop.models.registry import freeze
from driftloop.trainer.candidates import train
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import Trained, TrainingTask
from loadtest.covariates import (
    ROWS,
    Labelled,
    Law,
    declared_flights,
    synthetic_declaration,
    tilted,
    tilted_alone,
)
from loadtest.feature_peers import INDEX, LEVEL, ks_critical, ks_distance, stability_index
from loadtest.labelled import outcomes, predictions, window_of
from loadtest.measure import setting
from loadtest.pape import pape

SEED = 1
REPETITIONS = 16
TRAINED = 60_000
"""Rows a version is trained on; a fifth of them is held out, as by default."""
WINDOWS = 20
"""Of each kind in a repetition."""
MODERATE, SEVERE = 0.4, 0.7
"""Strengths of a shift. What is wanted is of the moderate ones."""
ALONE = 1.0
"""Strength of a shift of one feature only."""
HIDDEN = 0.6
"""What a blind score misses of a feature."""
_SHARE = 0.2
_KNOWN = round(TRAINED * _SHARE)
"""Rows that the other ways compare with."""
_DAYS = 60
_SUMMED = (
    "mae_points",
    "bias_points",
    "half_width_points",
    "interval_coverage",
    "loss_coverage",
)
_PLAIN = ("synthetic", "flights", "synthetic_severe", "flights_severe")
_ALONE = ("synthetic_alone", "flights_alone", "blind")
_FALL = 0.02
"""In accuracy: what somebody would want to know of."""
_Z = 1.96
"""Of the confidence intervals over repetitions."""


class Version:
    """A trained version, and what it says of windows."""

    def __init__(
        self, declaration: Declaration, rows: Labelled, usual: Labelled, seed: int
    ) -> None:
        """``usual``: rows like those trained on, for the tests of the score to compare with."""
        self._declaration = declaration
        policy = declaration.training
        asked = replace(declaration, training=replace(policy, seed=seed, evaluation_share=_SHARE))
        times = np.arange(len(rows), dtype=np.int64) * 1000
        made = train(
            TrainingRows(rows.features, rows.labels, times, times),
            TrainingTask.of(asked),
            lambda _: None,
            time.perf_counter,
        )
        if not isinstance(made, Trained):
            raise RuntimeError(f"training failed: {made.reason}")
        self.profile: Profile = made.profile
        self._model: FrozenModel = freeze(made.model)
        self._estimator = Estimator(made.profile, declaration.task, made.metrics)
        self.seconds = 0.0
        self.windows = 0
        loss = made.profile.loss
        self._held_out = 1.0 - loss.errors / loss.rows
        self._usual = usual
        self._usual_scores = self._model.score(usual.features)[:, 0]

    def says(self, rows: Labelled, *, by_rows: bool = False) -> Said:
        """Of one window; ``by_rows``: PAPE too."""
        scores = self._model.score(rows.features)
        statistics = Sketch(self._declaration, self.profile, Stream.PREDICTIONS)
        statistics.update_predictions(predictions(rows, scores), np.arange(len(rows)))
        labelled = Sketch(self._declaration, self.profile, Stream.OUTCOMES)
        labelled.update_outcomes(outcomes(rows, scores), np.arange(len(rows)))
        before = window_of(self._declaration.name, Stream.PREDICTIONS, statistics)
        after = window_of(self._declaration.name, Stream.OUTCOMES, labelled)
        started = time.process_time()
        estimates = self._estimator.estimates(before)
        self.seconds += time.process_time() - started
        self.windows += 1
        positive = scores[:, 0] > 0.5
        true = float(np.where(positive, rows.chance, 1.0 - rows.chance).mean())
        score = scores[:, 0]
        (distance,) = ks_distance(np.sort(self._usual_scores), score[None, :])
        index = stability_index(
            np.array(self.profile.numeric[-1].counts), np.array(before.statistics.numeric[-1].bins)
        )
        return Said(
            before=estimates,
            after=self._estimator.estimates(after),
            true=true,
            held_out=self._held_out,
            own_word=float(np.maximum(score, 1.0 - score).mean()),
            ks=bool(distance > ks_critical(len(self._usual), len(score), LEVEL)),
            psi=index > INDEX,
            pape=pape(self._usual, self._usual_scores, rows, score) if by_rows else float("nan"),
        )


@dataclass(frozen=True, slots=True)
class Said:
    """Of one window."""

    before: Sequence[Estimate]
    """Accuracy and loss, from predictions alone."""
    after: Sequence[Estimate]
    """The same with labels."""
    true: float
    """Expected accuracy, NaN where the law is not known."""
    held_out: float
    """Accuracy of the version's held-out rows."""
    own_word: float
    """Mean of each row's larger score."""
    ks: bool
    psi: bool
    """Whether the score's distribution is told to be another."""
    pape: float
    """Accuracy; NaN where it was not asked for."""

    @property
    def accuracy(self) -> Mapping[str, float]:
        """By every way, without labels."""
        return {
            "driftloop": self.before[0].estimate,
            "held_out": self.held_out,
            "own_word": self.own_word,
            **({} if np.isnan(self.pape) else {"pape": self.pape}),
        }

    @property
    def fall(self) -> Mapping[str, bool]:
        """Whether accuracy is told to have fallen, by every way."""
        return {
            "driftloop": self.before[0].estimate < self.held_out - _FALL,
            "ks": self.ks,
            "psi": self.psi,
        }

    @property
    def fallen(self) -> bool:
        """What the labels say of it."""
        return self.after[0].realised < self.held_out - _FALL

    def error(self, metric: int = 0) -> float:
        return self.before[metric].estimate - self.after[metric].realised

    def half_width(self) -> float:
        """Of the accuracy's interval."""
        return (self.before[0].upper - self.before[0].lower) / 2

    def covered(self, metric: int = 0) -> bool:
        found = self.before[metric]
        return found.lower <= self.after[metric].realised <= found.upper


def run(seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """``scale``: of the number of repetitions."""
    repetitions = max(2, round(REPETITIONS * scale))
    flights_declared, flights = declared_flights()
    synthetic_declared = synthetic_declaration()
    blind_declared = _blind(synthetic_declared)
    found: dict[str, list[list[Said]]] = {name: [] for name in (*_PLAIN, "concept", *_ALONE)}
    seconds = 0.0
    windows = 0
    for repetition in range(repetitions):
        random = np.random.default_rng([seed, repetition])
        law = Law(random)
        rows = law.rows(TRAINED)
        version = Version(synthetic_declared, rows, law.aside().rows(_KNOWN), repetition)
        for name, strength in (("synthetic", MODERATE), ("synthetic_severe", SEVERE)):
            by_rows = strength == MODERATE
            found[name].append(
                [version.says(law.shifted(strength), by_rows=by_rows) for _ in range(WINDOWS)]
            )
        found["concept"].append([version.says(law.changed(), by_rows=True) for _ in range(WINDOWS)])
        order = random.permutation(len(flights))
        pool = flights.take(order[TRAINED:])
        usual = pool.take(random.spawn(1)[0].permutation(len(pool))[:_KNOWN])
        trained = Version(flights_declared, flights.take(order[:TRAINED]), usual, repetition)
        for name, strength in (("flights", MODERATE), ("flights_severe", SEVERE)):
            drawn = [tilted(pool.features, random, strength) for _ in range(WINDOWS)]
            by_rows = strength == MODERATE
            found[name].append([trained.says(pool.take(rows), by_rows=by_rows) for rows in drawn])
        # Drawn last and with random numbers of their own: the others are what they were without.
        aside, own = law.aside(), np.random.default_rng([seed, repetition, 1])
        lone = [pool.take(tilted_alone(pool.features, own, ALONE)) for _ in range(WINDOWS)]
        hiding = Law(own, HIDDEN)
        blind = Version(blind_declared, hiding.rows(TRAINED), hiding.aside().rows(_KNOWN), 0)
        found["synthetic_alone"].append([version.says(aside.alone(ALONE)) for _ in range(WINDOWS)])
        found["flights_alone"].append([trained.says(rows) for rows in lone])
        found["blind"].append([blind.says(hiding.mixed(ALONE)) for _ in range(WINDOWS)])
        seconds += version.seconds + trained.seconds
        windows += version.windows + trained.windows
        sys.stderr.write(f"repetition {repetition + 1} of {repetitions}\n")
    shifted = [a + b for a, b in zip(found["synthetic"], found["flights"], strict=True)]
    mae = _over(shifted, lambda said: 100 * abs(said.error()))
    coverage = _over(shifted, lambda said: float(said.covered()))
    by_data = {name: _summary(each) for name, each in found.items()}
    forward = _forward(flights_declared, flights, seed)
    return {
        "name": "labelfree",
        "mae_points": mae[0],
        "interval_coverage": coverage[0],
        "interval_claimed": CONFIDENCE,
        "coverage_gap_points": 100 * abs(coverage[0] - CONFIDENCE),
        "spread": {
            "mae_points": mae[1:],
            "interval_coverage": coverage[1:],
            "coverage_gap_points": sorted(100 * abs(end - CONFIDENCE) for end in coverage[1:]),
        },
        "mae_points_by_way": {
            name: _by_way(each) for name, each in found.items() if name not in _ALONE
        },
        "falls_by_way": _falls([s for name in _PLAIN for each in found[name] for s in each]),
        "by_data": by_data,
        "forward": forward,
        "summary": {
            name: {
                key: value[0] if isinstance(value, list) else value
                for key, value in one.items()
                if key in _SUMMED
            }
            for name, one in {**by_data, "flights_forward": forward}.items()
        },
        "cpu_us_per_window": seconds / windows * 1e6,
        "seed": seed,
        "repetitions": repetitions,
        "windows": WINDOWS,
        "rows": {"trained": TRAINED, "held_out": round(TRAINED * _SHARE), "window": ROWS},
        "setting": setting("numpy", "lightgbm"),
    }


def _blind(declaration: Declaration) -> Declaration:
    """With a linear score, and without segments."""
    policy = replace(
        declaration.training, candidates=(CandidatePolicy("river_logistic", {"average": 0.0}),)
    )
    return replace(declaration, training=policy, alerts=replace(declaration.alerts, segment=""))


def _by_way(repetitions: Sequence[Sequence[Said]]) -> dict[str, float]:
    """Mean absolute error of the accuracy, in points."""
    every = [said for each in repetitions for said in each]
    return {
        way: 100
        * float(np.mean([abs(said.accuracy[way] - said.after[0].realised) for said in every]))
        for way in every[0].accuracy
    }


def _falls(every: Sequence[Said]) -> dict[str, dict[str, float]]:
    """Of windows whose accuracy has fallen, and of the others: the share that each way tells."""
    told: dict[str, dict[str, float]] = {}
    for fallen, name in ((True, "found"), (False, "false")):
        windows = [said.fall for said in every if said.fallen is fallen]
        told[name] = {
            way: float(np.mean([one[way] for one in windows])) if windows else float("nan")
            for way in every[0].fall
        }
    return told


def _summary(repetitions: Sequence[Sequence[Said]]) -> dict[str, Any]:
    """Each with its confidence interval over repetitions."""
    every = [said for each in repetitions for said in each]
    realised = np.array([said.after[0].realised for said in every])
    found: dict[str, Any] = {
        "mae_points": _over(repetitions, lambda said: 100 * abs(said.error())),
        "bias_points": _over(repetitions, lambda said: 100 * said.error()),
        "half_width_points": _over(repetitions, lambda said: 100 * said.half_width()),
        "interval_coverage": _over(repetitions, lambda said: float(said.covered())),
        "loss_coverage": _over(repetitions, lambda said: float(said.covered(1))),
        "loss_mae": _over(repetitions, lambda said: abs(said.error(1))),
        "realised_accuracy": [float(realised.min()), float(realised.max())],
        "label_noise_points": float(
            np.mean(
                [
                    79.8 * (r * (1 - r) / s.after[0].rows) ** 0.5
                    for r, s in zip(realised, every, strict=True)
                ]
            )
        ),
    }
    if not np.isnan(every[0].true):
        found["mae_of_expectation_points"] = _over(
            repetitions, lambda said: 100 * abs(said.before[0].estimate - said.true)
        )
    return found


def _over(repetitions: Sequence[Sequence[Said]], value: Callable[[Said], float]) -> list[float]:
    """Mean, and its confidence interval: repetitions are independent, their windows are not."""
    means = np.array([np.mean([value(said) for said in each]) for each in repetitions])
    mean = float(means.mean())
    spread = _Z * float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else float("nan")
    return [mean, mean - spread, mean + spread]


def _forward(declaration: Declaration, flights: Labelled, seed: int) -> dict[str, Any]:
    """A version of the first flights of the year, and the days after them."""
    first, day = flights.take(np.arange(TRAINED)), 920
    starts = range(TRAINED, TRAINED + _DAYS * day, day)
    version = Version(declaration, first, first.take(np.arange(TRAINED - _KNOWN, TRAINED)), seed)
    said = [version.says(flights.take(np.arange(at, at + day))) for at in starts]
    errors = np.array([each.error() for each in said])
    return {
        "mae_points": 100 * float(np.abs(errors).mean()),
        "bias_points": 100 * float(errors.mean()),
        "half_width_points": 100 * float(np.mean([each.half_width() for each in said])),
        "interval_coverage": float(np.mean([each.covered() for each in said])),
        "error_dispersion": version.profile.loss.error_dispersion,
        "windows": len(said),
    }

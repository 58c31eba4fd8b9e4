"""Accuracy estimated without labels, under covariate shift and under concept drift.

Each repetition trains a version as the trainer does, makes windows with the product's sketch, and
compares what ``drift.labelfree`` says of the windows' predictions with what their labels say:

- *synthetic*: a known law of the label given the features; each window has other means, spreads and
  another mix of categories. For windows of concept drift the law itself changes.
- *flights*: flights from New York drawn at random for training; each window is drawn from the
  others, tilted by weather, time or distance, so that the features shift and their law stays.
- *severe*, not counted: the same, with shifts such that few of a window's rows are usual ones;
- *forward*, not counted: days of flights after those trained on, as they came, with whatever
  happened to them.

Another seed draws everything anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from driftloop.cli.flights import data_directory, event_schema_text, load_flights
from driftloop.drift.labelfree import CONFIDENCE, Estimator
from driftloop.kernel.codec.blocks import (
    F64,
    I64,
    Categories,
    Features,
    OutcomeBlock,
    PredictionBlock,
)
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.records import Estimate, Profile, Stream, Window
from driftloop.kernel.statistics.sketch import Sketch
from driftloop.models.parameters import check_parameters
from driftloop.models.ports import FrozenModel
from driftloop.models.registry import freeze
from driftloop.trainer.candidates import train
from driftloop.trainer.rows import TrainingRows
from driftloop.trainer.task import Trained, TrainingTask
from loadtest.measure import setting
from loadtest.results import ROOT

SEED = 1
REPETITIONS = 16
TRAINED = 60_000
"""Rows a version is trained on; a fifth of them is held out, as by default."""
WINDOWS = 20
"""Of each kind in a repetition."""
ROWS = 4000
"""Of a window."""
MODERATE, SEVERE = 0.4, 0.7
"""Strengths of a shift. What is wanted is of the moderate ones."""
_SHARE = 0.2
_DAYS = 60
_MINUTE = 60_000
_SUMMED = ("mae_points", "bias_points", "interval_coverage", "loss_coverage")
_Z = 1.96
"""Of the confidence intervals over repetitions."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """n rows with their labels, and the chance of label 1 where it is known (else NaN)."""

    features: Features
    labels: F64
    chance: F64

    def take(self, rows: I64) -> Labelled:
        categories = self.features.categories
        features = Features(
            np.ascontiguousarray(self.features.numeric[rows]),
            Categories(np.ascontiguousarray(categories.codes[rows]), categories.levels),
        )
        return Labelled(features, self.labels[rows], self.chance[rows])

    def __len__(self) -> int:
        return len(self.labels)


class Version:
    """A trained version, and what it says of windows."""

    def __init__(self, declaration: Declaration, rows: Labelled, seed: int) -> None:
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

        self.shift = made.metrics["error_shift"]

    def says(self, rows: Labelled) -> Said:
        """Of one window."""
        scores = self._model.score(rows.features)
        statistics = Sketch(self._declaration, self.profile, Stream.PREDICTIONS)
        statistics.update_predictions(_predictions(rows, scores), np.arange(len(rows)))
        labelled = Sketch(self._declaration, self.profile, Stream.OUTCOMES)
        labelled.update_outcomes(_outcomes(rows, scores), np.arange(len(rows)))
        before = _window(self._declaration.name, Stream.PREDICTIONS, statistics)
        after = _window(self._declaration.name, Stream.OUTCOMES, labelled)
        started = time.process_time()
        estimates = self._estimator.estimates(before)
        self.seconds += time.process_time() - started
        self.windows += 1
        positive = scores[:, 0] > 0.5
        true = float(np.where(positive, rows.chance, 1.0 - rows.chance).mean())
        return Said(estimates, self._estimator.estimates(after), true)


@dataclass(frozen=True, slots=True)
class Said:
    """Of one window."""

    before: Sequence[Estimate]
    """Accuracy and loss, from predictions alone."""
    after: Sequence[Estimate]
    """The same with labels."""
    true: float
    """Expected accuracy, NaN where the law is not known."""

    def error(self, metric: int = 0) -> float:
        return self.before[metric].estimate - self.after[metric].realised

    def covered(self, metric: int = 0) -> bool:
        found = self.before[metric]
        return found.lower <= self.after[metric].realised <= found.upper


def run(seed: int = SEED, scale: float = 1.0) -> dict[str, Any]:
    """``scale``: of the number of repetitions."""
    repetitions = max(2, round(REPETITIONS * scale))
    flights_declared, flights = _flights()
    synthetic_declared = _synthetic_declaration()
    found: dict[str, list[list[Said]]] = {
        name: []
        for name in ("synthetic", "flights", "synthetic_severe", "flights_severe", "concept")
    }
    seconds = 0.0
    windows = 0
    for repetition in range(repetitions):
        random = np.random.default_rng([seed, repetition])
        law = Law(random)
        version = Version(synthetic_declared, law.rows(TRAINED), repetition)
        for name, strength in (("synthetic", MODERATE), ("synthetic_severe", SEVERE)):
            found[name].append([version.says(law.shifted(strength)) for _ in range(WINDOWS)])
        found["concept"].append([version.says(law.changed()) for _ in range(WINDOWS)])
        order = random.permutation(len(flights))
        trained = Version(flights_declared, flights.take(order[:TRAINED]), repetition)
        pool = flights.take(order[TRAINED:])
        for name, strength in (("flights", MODERATE), ("flights_severe", SEVERE)):
            drawn = [_tilted(pool.features, random, strength) for _ in range(WINDOWS)]
            found[name].append([trained.says(pool.take(rows)) for rows in drawn])
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


def _summary(repetitions: Sequence[Sequence[Said]]) -> dict[str, Any]:
    """Each with its confidence interval over repetitions."""
    every = [said for each in repetitions for said in each]
    realised = np.array([said.after[0].realised for said in every])
    found: dict[str, Any] = {
        "mae_points": _over(repetitions, lambda said: 100 * abs(said.error())),
        "bias_points": _over(repetitions, lambda said: 100 * said.error()),
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


class Law:
    """A law of labels: not linear, with interactions, and another level per category."""

    KINDS = ("a", "b", "c", "d")

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._weights = random.normal(size=6)
        self._kinds = random.normal(size=len(self.KINDS))
        self._pair = random.normal()

    def rows(self, count: int) -> Labelled:
        """As the version is trained on."""
        return self._labelled(*self._plain(count), self._weights)

    def shifted(self, strength: float) -> Labelled:
        """A window of other features, the same law. ``strength``: standard deviation of the shifts
        of each mean, in its own."""
        random = self._random
        numeric, _ = self._plain(ROWS)
        wide = 1.0 + random.uniform(-0.4, 0.4, 6) * strength
        numeric = numeric * wide + random.normal(0, strength, 6)
        mix = random.dirichlet(np.full(len(self.KINDS), 1.0 / strength))
        kinds = random.choice(len(self.KINDS), ROWS, p=mix)
        return self._labelled(numeric, kinds, self._weights)

    def changed(self) -> Labelled:
        """A window of the same features, another law: the strongest feature means the opposite."""
        weights = self._weights.copy()
        strongest = int(np.argmax(np.abs(weights)))
        weights[strongest] = -weights[strongest]
        return self._labelled(*self._plain(ROWS), weights)

    def _plain(self, count: int) -> tuple[F64, I64]:
        numeric = self._random.normal(size=(count, 6))
        return numeric, self._random.integers(0, len(self.KINDS), count)

    def _labelled(self, numeric: F64, kinds: I64, weights: F64) -> Labelled:
        logit = numeric @ weights + self._kinds[kinds] + self._pair * numeric[:, 0] * numeric[:, 1]
        chance = 1.0 / (1.0 + np.exp(-logit))
        labels = (self._random.random(len(chance)) < chance).astype(np.float64)
        codes = kinds.astype(np.int32).reshape(-1, 1)
        return Labelled(Features(numeric, Categories(codes, (self.KINDS,))), labels, chance)


def _tilted(features: Features, random: np.random.Generator, strength: float) -> I64:
    """Rows drawn with odds that grow with two of the numbers and differ among two categories'
    levels; each row at most once. ``strength``: standard deviation of the log odds, of each."""
    log_odds = np.zeros(len(features.numeric))
    for column in random.choice(features.numeric.shape[1], 2, replace=False):
        values = features.numeric[:, column]
        centre, spread = np.nanmean(values), np.nanstd(values) + 1e-9
        log_odds += random.normal(0, strength) * np.clip(
            np.nan_to_num((values - centre) / spread), -3, 3
        )
    for column in random.choice(features.categories.codes.shape[1], 2, replace=False):
        levels = random.normal(0, strength, len(features.categories.levels[column]) + 1)
        log_odds += levels[features.categories.codes[:, column]]
    # The largest of perturbed log odds are a draw without replacement (Gumbel).
    keys = log_odds + random.gumbel(size=len(log_odds))
    return np.argpartition(keys, -ROWS)[-ROWS:].astype(np.int64)


def _forward(declaration: Declaration, flights: Labelled, seed: int) -> dict[str, Any]:
    """A version of the first flights of the year, and the days after them."""
    version = Version(declaration, flights.take(np.arange(TRAINED)), seed)
    day = 920
    starts = range(TRAINED, TRAINED + _DAYS * day, day)
    said = [version.says(flights.take(np.arange(at, at + day))) for at in starts]
    errors = np.array([each.error() for each in said])
    return {
        "mae_points": 100 * float(np.abs(errors).mean()),
        "bias_points": 100 * float(errors.mean()),
        "interval_coverage": float(np.mean([each.covered() for each in said])),
        "error_dispersion": version.profile.loss.error_dispersion,
        "windows": len(said),
    }


def _flights() -> tuple[Declaration, Labelled]:
    """All flights in event-time order."""
    data_directory()
    schema = event_schema_text()
    text = (ROOT / "infra" / "models" / "flights.toml").read_text(encoding="utf-8")
    declared = parse_declaration(
        text, source="flights", event_schema=schema, check_candidate=check_parameters
    )
    declared = replace(declared, alerts=replace(declared.alerts, segment="carrier"))
    flights = load_flights()
    block, rejected = EventDecoder(declared).decode(flights.events)
    if rejected:
        raise RuntimeError(f"{len(rejected)} flights cannot be read")
    label = dict(zip(flights.label_ids, flights.labels.tolist(), strict=True))
    labels = np.array([label[bytes(event)] for event in block.ids])
    return declared, Labelled(block.features, labels, np.full(len(labels), np.nan))


def _synthetic_declaration() -> Declaration:
    names = [f"x{k}" for k in range(6)]
    fields = [
        '{"name": "id", "type": "string"}',
        '{"name": "at", "type": "long"}',
        '{"name": "kind", "type": "string"}',
        *(f'{{"name": "{name}", "type": "double"}}' for name in names),
    ]
    schema = f'{{"type": "record", "name": "Synthetic", "fields": [{", ".join(fields)}]}}'
    lines = [
        '[model]\nname = "synthetic"',
        '[events]\nschema = "synthetic.avsc"\nid = "id"\ntime = "at"',
        '[labels]\nhorizon = "1h"',
        '[windows]\nsize = "10m"',
        '[alerts]\nsegment = "kind"',
        '[[features]]\nname = "kind"\nkind = "categorical"',
        *(
            f'[[features]]\nname = "{name}"\nkind = "numeric"\nlimits = [-100, 100]'
            for name in names
        ),
    ]
    return parse_declaration(
        "\n".join(lines),
        source="synthetic",
        event_schema=schema,
        check_candidate=check_parameters,
    )


def _predictions(rows: Labelled, scores: F64) -> PredictionBlock:
    n = len(rows)
    times = np.zeros(n, dtype=np.int64)
    return PredictionBlock(
        ids=[b""] * n,
        event_time=times,
        version=np.ones(n, dtype=np.int32),
        scores=scores,
        features=rows.features,
        shadow_version=np.full(n, -1, dtype=np.int32),
        shadow_scores=np.full((n, 1), np.nan),
        source_partition=np.zeros(n, dtype=np.int32),
        source_offset=times,
    )


def _outcomes(rows: Labelled, scores: F64) -> OutcomeBlock:
    n = len(rows)
    zeros, none = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int32)
    return OutcomeBlock(
        ids=[b""] * n,
        event_time=zeros,
        outcome_time=zeros,
        version=none + 1,
        scores=scores,
        features=rows.features,
        shadow_version=none - 1,
        shadow_scores=np.full((n, 1), np.nan),
        label=rows.labels,
        label_delay=zeros,
        prediction_partition=none,
        prediction_offset=zeros,
        label_partition=none,
        label_offset=zeros,
    )


def _window(model: str, stream: Stream, sketch: Sketch) -> Window:
    statistics = sketch.statistics()
    rows = statistics.rows
    return Window(model, stream, 0, _MINUTE, 1, -1, 0, rows, 0, (), 0, statistics, "")

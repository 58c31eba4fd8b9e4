"""What a worker is asked to do and what it answers, and both as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors import numpy as safetensors

from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import TrainingError
from driftloop.kernel.records.training import CandidateResult, Profile, Recipe
from driftloop.kernel.statistics.criterion import BINARY, Criterion
from driftloop.models.ports import TrainedModel
from driftloop.models.reference_rows import ReferencePolicy

_RESULT = "result.json"
_ARRAYS = "arrays.safetensors"


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What a run needs to know of the declaration."""

    numeric: tuple[str, ...]
    """Names of the numeric columns."""
    categorical: tuple[str, ...]
    candidates: tuple[Recipe, ...]
    evaluation_share: float
    """Newest share of the rows, held out for the choice among the candidates."""
    reference: ReferencePolicy = field(default_factory=ReferencePolicy)
    criterion: Criterion = BINARY

    @classmethod
    def of(cls, declaration: Declaration) -> TrainingTask:
        """All declared candidates."""
        training = declaration.training
        return cls(
            tuple(feature.name for feature in declaration.numeric),
            tuple(feature.name for feature in declaration.categorical),
            tuple(
                Recipe(candidate.trainer, dict(candidate.parameters), training.seed)
                for candidate in training.candidates
            ),
            training.evaluation_share,
            ReferencePolicy.of(declaration),
            Criterion.of(declaration),
        )

    @classmethod
    def again(cls, declaration: Declaration, recipe: Recipe) -> TrainingTask:
        """One recipe, to make a version's bytes again."""
        return replace(cls.of(declaration), candidates=(recipe,))


@dataclass(frozen=True, slots=True)
class Trained:
    """A version's content. Deterministic but for the ``seconds`` of the candidates' metrics."""

    recipe: Recipe
    model: TrainedModel
    profile: Profile
    metrics: Mapping[str, float]
    """Of the recipe on the held-out rows."""
    candidates: tuple[CandidateResult, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Untrained:
    """Why there is no version."""

    reason: str
    candidates: tuple[CandidateResult, ...]


WorkerResult = Trained | Untrained


def write_result(directory: Path, result: WorkerResult) -> None:
    """The JSON comes last: where it is, the result is whole."""
    content: dict[str, Any]
    match result:
        case Trained():
            safetensors.save_file(dict(result.model.arrays), directory / _ARRAYS)
            content = {
                "recipe": to_plain(result.recipe),
                "family": result.model.family,
                "attributes": dict(result.model.attributes),
                "profile": to_plain(result.profile),
                "metrics": dict(result.metrics),
                "rows": result.rows,
            }
        case Untrained():
            content = {"reason": result.reason}
    content["candidates"] = to_plain(result.candidates)
    text = json.dumps(content, allow_nan=False)
    aside = directory / f"{_RESULT}.part"
    aside.write_text(text)
    aside.rename(directory / _RESULT)


def read_result(directory: Path) -> WorkerResult:
    """Raises ``TrainingError``."""
    try:
        content = json.loads((directory / _RESULT).read_text())
        candidates = tuple(from_plain(CandidateResult, part) for part in content["candidates"])
        if "reason" in content:
            return Untrained(content["reason"], candidates)
        arrays = safetensors.load_file(directory / _ARRAYS)
        return Trained(
            from_plain(Recipe, content["recipe"]),
            TrainedModel(content["family"], arrays, content["attributes"]),
            from_plain(Profile, content["profile"]),
            content["metrics"],
            candidates,
            content["rows"],
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"the worker left no readable result: {error!r}") from error

"""The rows of a training run, in one order whatever the order they were read in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from driftloop.kernel.codec.blocks import F64, I32, I64, Categories, Features, OutcomeBlock
from driftloop.kernel.errors import TrainingError
from driftloop.models.encoding import level_counts

_ARRAYS = "rows.safetensors"
_LEVELS = "levels.json"


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """n outcomes by (outcome time, event id)."""

    features: Features
    """Levels ascend per column, and occur."""
    labels: F64
    """Shape (n,)."""
    times: I64
    """Outcome times, ms, ascending."""
    event_times: I64
    """ms."""

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_outcomes(cls, blocks: Iterable[OutcomeBlock]) -> TrainingRows:
        """Raises ``TrainingError`` without rows, or when blocks have different columns."""
        used = [block for block in blocks if len(block.ids)]
        if not used:
            raise TrainingError("there are no outcomes to train on: no label found its prediction")
        shapes = {(b.features.numeric.shape[1], b.features.categories.codes.shape[1]) for b in used}
        if len(shapes) > 1:
            raise TrainingError(
                f"the outcomes have different numbers of (numeric, categorical) features: "
                f"{sorted(shapes)}; train on outcomes since the declaration last changed"
            )
        times = np.concatenate([block.outcome_time for block in used])
        # The place in the log decides between outcomes of one id at one time.
        keys = zip(
            times.tolist(),
            (bytes(event) for block in used for event in block.ids),
            np.concatenate([block.prediction_partition for block in used]).tolist(),
            np.concatenate([block.prediction_offset for block in used]).tolist(),
            range(len(times)),
            strict=True,
        )
        order = np.array([key[-1] for key in sorted(keys)], dtype=np.int64)
        categories = _merge([block.features.categories for block in used])
        return cls(
            Features(
                np.ascontiguousarray(
                    np.concatenate([block.features.numeric for block in used])[order],
                    dtype=np.float64,
                ),
                Categories(np.ascontiguousarray(categories.codes[order]), categories.levels),
            ),
            np.concatenate([block.label for block in used])[order].astype(np.float64),
            times[order].astype(np.int64),
            np.concatenate([block.event_time for block in used])[order].astype(np.int64),
        )

    def part(self, start: int, stop: int) -> TrainingRows:
        """Rows [start, stop), views."""
        categories = self.features.categories
        features = Features(
            self.features.numeric[start:stop],
            Categories(categories.codes[start:stop], categories.levels),
        )
        chosen = slice(start, stop)
        return TrainingRows(
            features, self.labels[chosen], self.times[chosen], self.event_times[chosen]
        )

    def save(self, directory: Path) -> None:
        """Two files: arrays, and the levels as JSON."""
        arrays = {
            "numeric": self.features.numeric,
            "codes": self.features.categories.codes,
            "labels": self.labels,
            "times": self.times,
            "event_times": self.event_times,
        }
        packed = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        safetensors.save_file(packed, directory / _ARRAYS)
        (directory / _LEVELS).write_text(json.dumps(self.features.categories.levels))

    @classmethod
    def load(cls, directory: Path) -> TrainingRows:
        """Raises ``TrainingError``."""
        try:
            arrays = safetensors.load_file(directory / _ARRAYS)
            levels = json.loads((directory / _LEVELS).read_text())
            features = Features(
                arrays["numeric"],
                Categories(arrays["codes"], tuple(tuple(column) for column in levels)),
            )
            return cls(features, arrays["labels"], arrays["times"], arrays["event_times"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{directory} holds no training rows: {error!r}") from error


def _merge(parts: list[Categories]) -> Categories:
    """One dictionary per column: the levels that occur, ascending."""
    count = parts[0].codes.shape[1]
    merged: list[tuple[str, ...]] = []
    codes: I32 = np.empty((sum(len(part.codes) for part in parts), count), dtype=np.int32)
    for column in range(count):
        occurring: set[str] = set()
        for part in parts:
            counts = level_counts(part, column)
            occurring.update(part.levels[column][i] for i in np.flatnonzero(counts))
        levels = sorted(occurring)
        index = {level: i for i, level in enumerate(levels)}
        # The last element answers code -1, which is missing.
        codes[:, column] = np.concatenate(
            [
                np.array([*(index.get(level, -1) for level in part.levels[column]), -1])[
                    part.codes[:, column]
                ]
                for part in parts
            ]
        )
        merged.append(tuple(levels))
    return Categories(codes, tuple(merged))

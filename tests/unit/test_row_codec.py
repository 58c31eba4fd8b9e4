"""Predictions and outcomes as blocks, against the codec of single records."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from driftloop.kernel.codec import kernels, slice_kernels, warm
from driftloop.kernel.codec.blocks import (
    Categories,
    Features,
    OutcomeBlock,
    PredictionBlock,
)
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.reshape import concat, owned, take
from driftloop.kernel.codec.rows import (
    decode_outcomes,
    decode_predictions,
    encode_outcomes,
    encode_predictions,
)
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Outcome, Prediction

N = 5
SHAPE = {"scores": 2, "numeric": 3, "categorical": 2}
SHADOWS = np.array([-1, 4, -1, 4, 7], np.int32)


def shared() -> dict[str, Any]:
    grid = np.arange(N * 3, dtype=np.float64).reshape(N, 3) / 7
    grid[1, 2] = np.nan
    scores = np.arange(N * 2, dtype=np.float64).reshape(N, 2) / 11
    codes = np.array([[0, 0], [1, -1], [-1, 0], [0, 1], [1, 1]], np.int32)
    return {
        "ids": ["a", "é", "", "long" * 40, "e"],
        "event_time": np.array([0, 1, -1, 2**40, -(2**63)]),
        "version": np.array([0, 1, 2, 3, 2**31 - 1], np.int32),
        "scores": scores,
        "features": Features(grid, Categories(codes, (("x", "Zürich"), ("", "q")))),
        "shadow_version": SHADOWS,
        "shadow_scores": np.where((SHADOWS == -1)[:, None], np.nan, scores + 1),
    }


def predictions() -> PredictionBlock:
    fields = shared()
    fields["ids"] = [text.encode() for text in fields["ids"]]
    return PredictionBlock(
        **fields,
        source_partition=np.arange(N, dtype=np.int32),
        source_offset=np.arange(N) - 1,
    )


def outcomes() -> OutcomeBlock:
    fields = shared()
    fields["ids"] = [text.encode() for text in fields["ids"]]
    return OutcomeBlock(
        **fields,
        outcome_time=np.arange(N) * 1000,
        label=np.array([0.0, 1.0, 1.0, 0.0, 1.0]),
        label_delay=np.arange(N) * 10,
        prediction_partition=np.arange(N, dtype=np.int32),
        prediction_offset=np.arange(N) + 2**33,
        label_partition=np.zeros(N, np.int32),
        label_offset=np.arange(N),
    )


def records(kind: type[Any], block: Any) -> list[Any]:
    """The block's rows as records."""
    rows = []
    levels = block.features.categories.levels
    for row in range(len(block.ids)):
        shadowed = block.shadow_version[row] != -1
        values: dict[str, Any] = {
            "event_id": block.ids[row].decode(),
            "scores": tuple(block.scores[row].tolist()),
            "numeric": tuple(block.features.numeric[row].tolist()),
            "categories": tuple(
                None if code < 0 else levels[k][code]
                for k, code in enumerate(block.features.categories.codes[row].tolist())
            ),
            "shadow_scores": tuple(block.shadow_scores[row].tolist()) if shadowed else (),
        }
        for field in dataclasses.fields(kind):
            if field.name not in values:
                values[field.name] = getattr(block, field.name)[row].item()
        rows.append(kind(**values))
    return rows


def assert_same(left: Any, right: Any, kind: type[Any]) -> None:
    assert list(map(repr, records(kind, left))) == list(map(repr, records(kind, right)))
    np.testing.assert_array_equal(left.shadow_scores, right.shadow_scores)


def test_predictions_are_byte_identical_with_the_record_codec() -> None:
    block = predictions()
    expected = [codec(Prediction).encode(record) for record in records(Prediction, block)]
    assert encode_predictions(block) == expected


def test_outcomes_are_byte_identical_with_the_record_codec() -> None:
    block = outcomes()
    expected = [codec(Outcome).encode(record) for record in records(Outcome, block)]
    assert encode_outcomes(block) == expected


def test_predictions_come_back() -> None:
    block = predictions()
    decoded, rows, rejected = decode_predictions(encode_predictions(block), **SHAPE)
    assert (rows.tolist(), rejected) == ([0, 1, 2, 3, 4], [])
    assert_same(decoded, block, Prediction)


def test_outcomes_come_back() -> None:
    block = outcomes()
    decoded, rows, rejected = decode_outcomes(encode_outcomes(block), **SHAPE)
    assert (rows.tolist(), rejected) == ([0, 1, 2, 3, 4], [])
    assert_same(decoded, block, Outcome)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": (0.5,)},
        {"numeric": ()},
        {"numeric": (1.0,) * 4},
        {"categories": ("x",)},
        {"shadow_version": 3},
        {"shadow_scores": (0.1, 0.2)},
    ],
)
def test_a_wrong_number_of_entries_is_malformed(change: dict[str, Any]) -> None:
    good = records(Prediction, predictions())[0]
    wrong = dataclasses.replace(good, **change)
    values = [codec(Prediction).encode(record) for record in (good, wrong, good)]
    block, rows, rejected = decode_predictions(values, **SHAPE)
    assert (rows.tolist(), len(block.ids)) == ([0, 2], 2)
    assert [(r.row, r.error.reason) for r in rejected] == [(1, Reason.MALFORMED)]


def test_an_outcome_is_no_prediction() -> None:
    _, _, rejected = decode_predictions([*encode_outcomes(outcomes()), None, b"?"], **SHAPE)
    expected = [Reason.WRONG_SCHEMA] * N + [Reason.EMPTY, Reason.TRUNCATED]
    assert [r.error.reason for r in rejected] == expected


def test_no_rows_are_no_bytes_and_no_bytes_no_rows() -> None:
    block, rows, rejected = decode_predictions([], **SHAPE)
    assert (len(block.ids), len(rows), rejected) == (0, 0, [])
    assert block.scores.shape == (0, 2)
    assert encode_predictions(block) == []


def test_a_model_without_features_has_rows() -> None:
    none = Features(np.zeros((N, 0)), Categories(np.zeros((N, 0), np.int32), ()))
    block = dataclasses.replace(predictions(), features=none)
    values = encode_predictions(block)
    decoded, _, rejected = decode_predictions(values, scores=2, numeric=0, categorical=0)
    assert rejected == []
    assert_same(decoded, block, Prediction)


def test_arrays_in_another_order_in_memory_encode_alike() -> None:
    block = predictions()
    features = Features(np.asfortranarray(block.features.numeric), block.features.categories)
    turned = dataclasses.replace(block, features=features, scores=np.asfortranarray(block.scores))
    assert encode_predictions(turned) == encode_predictions(block)


def test_take_and_concat_are_inverse() -> None:
    block = predictions()
    parts = [
        take(block, np.array([0, 1])),
        take(block, np.array([2])),
        take(block, np.arange(3, 5)),
    ]
    assert_same(concat(parts), block, Prediction)


def test_concat_joins_different_dictionaries() -> None:
    left, _, _ = decode_predictions(encode_predictions(predictions()), **SHAPE)
    right = take(left, np.array([4, 1]))
    joined = concat([right, left])
    assert_same(take(joined, np.arange(2, N + 2)), left, Prediction)
    assert_same(take(joined, np.array([0])), take(left, np.array([4])), Prediction)


def test_every_loop_is_compiled_for_one_kind_of_arrays_only() -> None:
    warm()
    decode_outcomes(encode_outcomes(outcomes()), **SHAPE)
    loops: list[Any] = [
        kernels.decode,
        kernels.encode,
        kernels.encoded_bound,
        slice_kernels.code_slices,
        slice_kernels.first_outside,
        slice_kernels.gather,
        slice_kernels.partition_slices,
    ]
    assert [len(loop.signatures) for loop in loops] == [1] * len(loops)


def test_nan_is_missing_and_stays_so() -> None:
    block, _, _ = decode_predictions(encode_predictions(predictions()), **SHAPE)
    assert math.isnan(block.features.numeric[1, 2])


class _Counting(tuple[str, ...]):
    """Levels that count how many of them were looked at."""

    looked = 0

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        type(self).looked += 1
        return super().__getitem__(at)

    def __iter__(self):  # type: ignore[no-untyped-def]
        type(self).looked += len(self)
        return super().__iter__()


def test_joining_and_keeping_rows_looks_at_their_own_levels_alone() -> None:
    """A block has the levels of a thousand models, and a part of it a few rows of one."""
    parts = []
    for number in range(50):
        levels = _Counting(f"{number}-{k}" for k in range(1_000))
        codes = np.array([[-1], [number], [number + 1], [number], [-1]], np.int32)
        features = Features(np.zeros((N, 1)), Categories(codes, (levels,)))
        parts.append(dataclasses.replace(predictions(), features=features))
    _Counting.looked = 0
    whole = concat([*parts, *parts])
    kept = owned(parts[3], np.array([0, 2, 3]))
    assert _Counting.looked < 10 * len(whole.ids)
    (levels,) = whole.features.categories.levels
    codes = whole.features.categories.codes[:, 0].tolist()
    expected = [[None, f"{n}-{n}", f"{n}-{n + 1}", f"{n}-{n}", None] for n in range(50)]
    assert [None if code < 0 else levels[code] for code in codes] == [
        name for rows in [*expected, *expected] for name in rows
    ]
    assert kept.features.categories.levels == (("3-3", "3-4"),)
    assert kept.features.categories.codes[:, 0].tolist() == [-1, 1, 0]
    assert list(kept.ids) == [parts[3].ids[row] for row in (0, 2, 3)]

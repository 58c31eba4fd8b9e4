"""Outcomes to train on, and waiting for who does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import Categories, Features, OutcomeBlock
from driftloop.kernel.ports import Log, Send

WITHIN_S = 60.0


def block(count: int, seed: int, first: int = 0) -> OutcomeBlock:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(count, 2))
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    levels = tuple(f"l{i}" for i in rng.permutation(6))
    codes = rng.integers(-1, 6, size=(count, 1)).astype(np.int32)
    strength = np.array([*(level == "l3" for level in levels), False])[codes[:, 0]]
    signal_ = np.nan_to_num(numeric[:, 0]) + 2 * strength
    index = np.arange(first, first + count)
    zeros = np.zeros(count, dtype=np.int64)
    return OutcomeBlock(
        ids=[f"e{i}".encode() for i in index],
        event_time=index * 1000,
        outcome_time=index // 3 * 5000,
        version=zeros.astype(np.int32),
        scores=np.full((count, 1), 0.5),
        features=Features(numeric, Categories(codes, (levels,))),
        shadow_version=zeros.astype(np.int32) - 1,
        shadow_scores=np.full((count, 1), np.nan),
        label=(signal_ + rng.normal(size=count) > 0.5).astype(np.float64),
        label_delay=zeros,
        prediction_partition=zeros.astype(np.int32),
        prediction_offset=index,
        label_partition=zeros.astype(np.int32),
        label_offset=index,
    )


def write(log: Log, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    producer = log.producer("tests")
    producer.send(Send(topic, [b"k"] * len(values), list(values), partition))
    producer.flush(30.0)
    producer.close()


def eventually(holds: Callable[[], Any], turn: Callable[[], Any] | None = None) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s"
        if turn is None:
            pause.wait(0.02)
        else:
            turn()

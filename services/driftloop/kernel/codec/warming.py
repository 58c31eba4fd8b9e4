"""Compiles the codec's loops ahead of the first batch."""

from __future__ import annotations

import numpy as np

from driftloop.kernel.codec.blocks import Categories, Features, PredictionBlock
from driftloop.kernel.codec.murmur2 import partitions_of
from driftloop.kernel.codec.numbering import numbered
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import decode_predictions, encode_predictions
from driftloop.kernel.codec.slice_kernels import first_outside
from driftloop.kernel.records import Label
from driftloop.kernel.slices import Slices


def warm_codec() -> None:
    """Run every compiled loop once, on one row. Call it before a service says it is ready.

    Some 20 s of CPU where numba's cache on disk is cold, about 1 s where it is warm. Processes that
    start together on a cold cache each compile: start one of them first.
    """
    one, none = np.zeros(1, np.int32), np.full(1, -1, np.int32)
    block = PredictionBlock(
        ids=[b"warm"],
        event_time=np.zeros(1, np.int64),
        version=one,
        scores=np.zeros((1, 1)),
        features=Features(np.zeros((1, 1)), Categories(np.zeros((1, 1), np.int32), (("a",),))),
        shadow_version=none,
        shadow_scores=np.full((1, 1), np.nan),
        source_partition=one,
        source_offset=np.zeros(1, np.int64),
    )
    decode_predictions(encode_predictions(block), scores=1, numeric=1, categorical=1)
    limits = np.zeros(1)
    first_outside(np.zeros((1, 1)), limits, limits, np.zeros(1, np.int64))
    partitions_of([b"warm"], 1)
    numbered(Slices.of([b"warm"]), np.ones(1, np.int64))
    label = Label("warm", 0.0, 0)
    codec(Label).decode(codec(Label).encode(label), leaving_out={"none"})

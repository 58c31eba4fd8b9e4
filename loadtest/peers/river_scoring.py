"""What both peers with River do to one event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadtest.peers.asked import (
    Asked,
    event_reader,
    prediction_header,
    prediction_schema,
    reader,
    writer,
)
from loadtest.river_tree import trained
from loadtest.stream import event_schema

Scoring = Callable[[bytes, int, int], tuple[str, bytes]]


def scoring(asked: Asked) -> Scoring:
    """From an event's bytes, partition and offset to the prediction's key and bytes. The decoded
    record is what the tree is asked for: no other dict is made of it."""
    decode = reader(event_reader(event_schema(asked.width, asked.payload)))
    encode = writer(prediction_schema(), prediction_header())
    score = trained(asked.width, "x").predict_proba_one
    names = [f"x{k}" for k in range(asked.width)]

    def predict(value: bytes, partition: int, offset: int) -> tuple[str, bytes]:
        event: dict[str, Any] = decode(value)
        key: str = event.pop("id")
        time_ms = event.pop("at")
        prediction = {
            "event_id": key,
            "event_time": time_ms,
            "version": 1,
            "scores": [score(event).get(1, 0.0)],
            "numeric": [event[name] for name in names],
            "categories": [],
            "shadow_version": -1,
            "shadow_scores": [],
            "source_partition": partition,
            "source_offset": offset,
        }
        return key, encode(prediction)

    return predict

"""Measures control records as a core gives them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.processor import Core, Outputs

T = TypeVar("T")


class Observed:
    """A core whose outputs of one topic are shown to ``observe``, decoded; else the core itself."""

    def __init__(self, core: Core, topic: str, kind: type[T], observe: Callable[[T], None]) -> None:
        self._core = core
        self._topic = topic
        self._show: Callable[[bytes], None] = lambda value: observe(codec(kind).decode(value))

    def process(self, batch: RecordBatch) -> Outputs:
        return self._seen(self._core.process(batch))

    def on_time(self, now: int) -> Outputs:
        return self._seen(self._core.on_time(now))

    def commit_due(self, now: int) -> bool:
        return self._core.commit_due(now)

    def flush(self) -> Outputs:
        return self._seen(self._core.flush())

    def snapshot(self) -> Mapping[str, bytes | None]:
        return self._core.snapshot()

    def restore(self, source: TopicPartition, entries: Mapping[str, bytes]) -> None:
        self._core.restore(source, entries)

    def drop(self, source: TopicPartition) -> None:
        self._core.drop(source)

    def _seen(self, outputs: Outputs) -> Outputs:
        for send in outputs.sends:
            if send.topic == self._topic:
                for value in send.values:
                    if value is not None:
                        self._show(value)
        return outputs

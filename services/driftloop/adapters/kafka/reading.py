"""Reading outside any group: whole control topics, and ranges of a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from driftloop.adapters.kafka.batches import gather, unavailable
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Clock, RecordBatch, TopicPartition

_POLL_S = 0.1
_SILENCE_S = 30.0


class KafkaFollower:
    """See :class:`driftloop.kernel.ports.Follower`."""

    def __init__(
        self,
        configuration: Configuration,
        starts: Mapping[TopicPartition, int],
        ends: Callable[[], Mapping[TopicPartition, int]],
    ) -> None:
        self._consumer: Any = Consumer(configuration.reader())
        self._positions = dict(starts)
        self._ends = ends
        self._consumer.assign([KafkaPartition(s.topic, s.partition, o) for s, o in starts.items()])

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        return _poll(self._consumer, self._positions, limit, timeout_s)

    def caught_up(self) -> bool:
        return all(self._positions.get(s, 0) >= end for s, end in self._ends().items())

    def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def close(self) -> None:
        self._consumer.close()


def read_range(
    configuration: Configuration,
    clock: Clock,
    source: TopicPartition,
    start: int,
    end: int,
    limit: int,
) -> Iterator[RecordBatch]:
    """Committed records with offsets in [start, end); ``end`` must not lie after the stable end.

    Raises :class:`LogUnavailableError` when nothing comes for 30 s.
    """
    consumer: Any = Consumer(configuration.reader())
    positions = {source: start}
    try:
        consumer.assign([KafkaPartition(source.topic, source.partition, start)])
        heard = clock.monotonic()
        while positions[source] < end:
            before = positions[source]
            for batch in _poll(consumer, positions, limit, _POLL_S):
                kept = _before(batch, end)
                if kept is not None:
                    yield kept
            if positions[source] > before:
                heard = clock.monotonic()
            elif clock.monotonic() - heard > _SILENCE_S:
                raise LogUnavailableError(
                    f"{source.topic}/{source.partition} gave nothing after offset {before} "
                    f"for {_SILENCE_S:g} s, though it should reach {end}"
                )
    finally:
        consumer.close()


def _before(batch: RecordBatch, end: int) -> RecordBatch | None:
    if batch.offsets[-1] < end:
        return batch
    n = sum(offset < end for offset in batch.offsets)
    if n == 0:
        return None
    return RecordBatch(
        batch.topic,
        batch.partition,
        batch.offsets[:n],
        batch.timestamps[:n],
        batch.keys[:n],
        batch.values[:n],
        None if batch.headers is None else batch.headers[:n],
    )


def _poll(
    consumer: Any, positions: dict[TopicPartition, int], limit: int, timeout_s: float
) -> list[RecordBatch]:
    try:
        first = consumer.poll(timeout_s)
        if first is None:
            return []
        rest = consumer.consume(limit - 1, 0) if limit > 1 else []
    except KafkaException as error:
        raise unavailable("reading", error) from error
    return gather((first, *rest), positions)

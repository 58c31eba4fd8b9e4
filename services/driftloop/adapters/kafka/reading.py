"""Reading outside any group: whole control topics, and ranges of a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.failures import PASSING
from driftloop.adapters.kafka.native.fetching import Fetcher
from driftloop.adapters.kafka.native.library import LibraryError
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
        self._fetcher = Fetcher(configuration.reader(), PASSING)
        self._positions = dict(starts)
        self._ends = ends
        self._fetcher.assign(starts)

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        return _poll(self._fetcher, self._positions, limit, timeout_s)

    def caught_up(self) -> bool:
        return all(self._positions.get(s, 0) >= end for s, end in self._ends().items())

    def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def close(self) -> None:
        self._fetcher.close()


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
    fetcher = Fetcher(configuration.range_reader(), PASSING)
    positions = {source: start}
    try:
        fetcher.assign(positions)
        heard = clock.monotonic()
        while positions[source] < end:
            before = positions[source]
            for batch in _poll(fetcher, positions, limit, _POLL_S):
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
    except MemoryError:
        # A client that could not start one of its threads waits for it for ever when it is closed.
        # Without memory this process ends, and the client with it.
        raise
    except BaseException:
        fetcher.close()
        raise
    fetcher.close()


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
    fetcher: Fetcher, positions: dict[TopicPartition, int], limit: int, timeout_s: float
) -> list[RecordBatch]:
    try:
        return fetcher.poll(limit, timeout_s, positions)
    except LibraryError as error:
        raise LogUnavailableError(f"reading: {error.text}") from error

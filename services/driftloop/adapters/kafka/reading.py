"""Reading outside any group: whole control topics, and ranges of a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock

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


class KafkaProbe:
    """Looks for the next record of a partition. One client serves all looks: making one takes
    threads and a connection, and far longer than to look."""

    def __init__(self, configuration: Configuration, clock: Clock) -> None:
        self._configuration = configuration
        self._clock = clock
        self._fetcher: Fetcher | None = None
        self._looking = Lock()
        self._closed = False

    def next_record(self, source: TopicPartition, start: int, end: int) -> int:
        """See :class:`driftloop.kernel.ports.Log`. From any thread."""
        with self._looking:
            if start >= end:
                return end
            if self._closed:
                raise LogUnavailableError(f"looking at {source.topic}: the log is closed")
            if self._fetcher is None:
                self._fetcher = Fetcher(self._configuration.probe(), PASSING)
            fetcher = self._fetcher
            try:
                return min(self._look(fetcher, source, start, end), end)
            except BaseException:
                self._fetcher = None
                fetcher.close()
                raise

    def close(self) -> None:
        """Let go of the client."""
        with self._looking:
            self._closed = True
            if self._fetcher is not None:
                self._fetcher.close()

    def _look(self, fetcher: Fetcher, source: TopicPartition, start: int, end: int) -> int:
        positions = {source: start}
        fetcher.assign(positions)
        until = self._clock.monotonic() + _SILENCE_S
        try:
            while positions[source] < end:
                for batch in _poll(fetcher, positions, 1, _POLL_S):
                    if batch.offsets[0] >= start:
                        return batch.offsets[0]
                if self._clock.monotonic() > until:
                    raise _silent(source, positions[source], end)
            return end
        finally:
            fetcher.unassign(positions)


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
                raise _silent(source, before, end)
    except MemoryError:
        # A client that could not start one of its threads waits for it for ever when it is closed.
        # Without memory this process ends, and the client with it.
        raise
    except BaseException:
        fetcher.close()
        raise
    fetcher.close()


def _silent(source: TopicPartition, offset: int, end: int) -> LogUnavailableError:
    return LogUnavailableError(
        f"{source.topic}/{source.partition} gave nothing after offset {offset} for "
        f"{_SILENCE_S:g} s, though it should reach {end}"
    )


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

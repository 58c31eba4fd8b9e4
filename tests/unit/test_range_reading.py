"""Reading a range of a partition lets go of its client, unless there is no memory for that."""

from __future__ import annotations

from typing import Any

import pytest

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import reading
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import RecordBatch, TopicPartition

SOURCE = TopicPartition("t", 0)


class Fetcher:
    """One record per poll, then an error."""

    error: BaseException
    closed = 0

    def __init__(self, *_: Any) -> None:
        self.polled = 0

    def assign(self, starts: Any) -> None:
        """Nothing is read for real."""

    def poll(self, limit: int, timeout_s: float, positions: Any) -> list[RecordBatch]:
        if self.polled:
            raise Fetcher.error
        self.polled += 1
        positions[SOURCE] = 1
        return [RecordBatch("t", 0, [0], [0], [b"k"], [b"v"])]

    def close(self) -> None:
        Fetcher.closed += 1


@pytest.fixture(autouse=True)
def fetcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "Fetcher", Fetcher)
    monkeypatch.setattr(Fetcher, "closed", 0)


def read(end: int) -> Any:
    return reading.read_range(Configuration("none:1", None), SystemClock(), SOURCE, 0, end, 10)


@pytest.mark.parametrize(
    ("error", "closed"), [(LogUnavailableError("gone"), 1), (MemoryError(), 0)]
)
def test_a_client_is_closed_unless_memory_is_out(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, closed: int
) -> None:
    """Closed without memory, it might wait for ever for a thread that it could not start."""
    monkeypatch.setattr(Fetcher, "error", error, raising=False)
    with pytest.raises(type(error)):
        list(read(2))
    assert Fetcher.closed == closed


def test_a_client_is_closed_at_the_end_and_when_nobody_reads_on() -> None:
    assert len(list(read(1))) == 1
    assert Fetcher.closed == 1
    batches = read(2)
    next(batches)
    batches.close()
    assert Fetcher.closed == 2

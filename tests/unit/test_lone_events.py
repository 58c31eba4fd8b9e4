"""What a lone event waits for between producing and its prediction: nothing that is a timer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loadtest.generator import due_by

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.native.producing import TransactionalProducer

NOWHERE = Configuration("127.0.0.1:1")


class Acknowledging:
    """A library whose queue empties by one record a look."""

    def __init__(self, queued: int) -> None:
        self.queued = queued
        self.committed_with: list[int] = []

    def outq_len(self, client: int) -> int:
        left, self.queued = self.queued, max(self.queued - 1, 0)
        return left

    def commit_transaction(self, client: int, milliseconds: int) -> None:
        self.committed_with.append(self.queued)

    def check(self, error: None) -> None:
        pass


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def producer(pauses: list[float]) -> Iterator[TransactionalProducer]:
    made = TransactionalProducer(NOWHERE.transactional("lone"), pause=pauses.append)
    yield made
    made.close()


@pytest.mark.parametrize("queued", [0, 1, 3])
def test_a_commit_begins_once_all_is_acknowledged(
    producer: TransactionalProducer,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    queued: int,
) -> None:
    library = Acknowledging(queued)
    with monkeypatch.context() as patched:
        patched.setattr(producer, "_library", library)
        producer.commit(1.0)
    assert library.committed_with == [0]
    assert len(pauses) == queued
    # librdkafka's own looks are 10 ms apart.
    assert all(pause <= 0.001 for pause in pauses)


def test_a_large_transaction_is_soon_left_to_the_commit(
    producer: TransactionalProducer, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Acknowledging(1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(producer, "_library", library)
        producer.commit(1.0)
    assert len(library.committed_with) == 1
    assert sum(pauses) <= 0.025


def test_no_timer_of_a_client_is_longer_than_a_transaction() -> None:
    transactional, reader = NOWHERE.transactional("lone"), NOWHERE.reader()
    # Only a commit would end a longer linger, and it waits for the offsets first.
    assert float(transactional["linger.ms"]) <= 5
    assert float(transactional["retry.backoff.ms"]) <= 5
    # Of a broker that has nothing; what comes is answered at once.
    assert float(reader["fetch.wait.max.ms"]) <= 50


def test_a_load_event_is_sent_when_it_is_due_and_not_an_interval_later() -> None:
    rate = 10.0
    assert due_by(0.0, rate) == 1
    assert [due_by((k + 0.01) / rate, rate) for k in range(5)] == [1, 2, 3, 4, 5]

"""A group member: cooperative consumer and transactional producer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka import TopicPartition as KafkaPartition

from driftloop.adapters.kafka.batches import gather, unavailable
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.producer import produce
from driftloop.kernel.errors import FencedError, LogError
from driftloop.kernel.ports import AssignmentListener, RecordBatch, Send, TopicPartition

_log = logging.getLogger(__name__)
_TIMEOUT_S = 30.0
_COMMIT_TRIES = 3


class KafkaSession:
    """See :class:`driftloop.kernel.ports.Session`."""

    def __init__(
        self,
        configuration: Configuration,
        group: str,
        topics: Sequence[str],
        instance: str,
        listener: AssignmentListener,
        companions: Callable[[str], Sequence[str]],
    ) -> None:
        self._listener = listener
        self._companions = companions
        self._positions: dict[TopicPartition, int] = {}
        self._in_transaction = False
        self._closed = False
        self._producer: Any = KafkaProducer(configuration.transactional(f"{group}.{instance}"))
        try:
            # Fences a predecessor of the same name and aborts what it left open.
            self._producer.init_transactions(_TIMEOUT_S)
        except KafkaException as error:
            raise unavailable(f"starting transactions of {group}", error) from error
        self._consumer: Any = Consumer(configuration.member(group))
        self.subscribe(topics)

    def subscribe(self, topics: Sequence[str]) -> None:
        if topics:
            self._consumer.subscribe(
                list(topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
        else:
            self._consumer.unsubscribe()

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        try:
            # The first message ends the waiting, and whatever else has come by then goes with it:
            # a lone record is answered at once, a backlog in large batches.
            first = self._consumer.poll(timeout_s)
            if first is None:
                return []
            rest = self._consumer.consume(limit - 1, 0) if limit > 1 else []
        except KafkaException as error:
            raise unavailable("polling", error) from error
        messages = [
            m
            for m in (first, *rest)
            # What was fetched for a partition that left in this very poll is not ours any more.
            if m.error() is not None or TopicPartition(m.topic(), m.partition()) in self._positions
        ]
        return gather(messages, self._positions)

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        ours = {source: offset for source, offset in positions.items() if source in self._positions}
        if not ours:
            return
        # Seeking a partition whose fetcher has not started fails; assigning it anew does not.
        partitions = [KafkaPartition(s.topic, s.partition, offset) for s, offset in ours.items()]
        self._consumer.incremental_unassign(
            [KafkaPartition(p.topic, p.partition) for p in partitions]
        )
        self._consumer.incremental_assign(partitions)
        self._positions.update(ours)

    def begin(self) -> None:
        if self._in_transaction:
            raise LogError("a transaction is open already")
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._failed("beginning a transaction", error) from error
        self._in_transaction = True

    def send(self, send: Send) -> None:
        if not self._in_transaction:
            raise LogError("no transaction is open")
        try:
            produce(self._producer, send)
        except KafkaException as error:
            raise self._failed(f"writing to {send.topic}", error) from error

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        offsets = [KafkaPartition(s.topic, s.partition, o) for s, o in positions.items()]
        try:
            if offsets:
                self._producer.send_offsets_to_transaction(
                    offsets, self._consumer.consumer_group_metadata(), _TIMEOUT_S
                )
            self._commit()
        except KafkaException as error:
            raise self._failed("committing", error) from error
        self._in_transaction = False

    def _commit(self) -> None:
        for tries_left in reversed(range(_COMMIT_TRIES)):
            try:
                self._producer.commit_transaction(_TIMEOUT_S)
            except KafkaException as error:
                # Whether it went through is open; the successor of this process will know.
                if not error.args[0].retriable() or not tries_left:
                    raise
                _log.warning("commit is tried again: %s", error.args[0].str())
            else:
                return

    def abort(self) -> None:
        if not self._in_transaction:
            return
        try:
            self._producer.abort_transaction(_TIMEOUT_S)
        except KafkaException as error:
            raise self._failed("aborting", error) from error
        finally:
            self._in_transaction = False

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            # Leaving gives the partitions back: the listener finishes or aborts what is open.
            self._consumer.close()
            self.abort()
            self._producer.close()
        except (KafkaException, LogError) as error:
            # A fenced producer says so once more; there is nothing left to do for it.
            _log.warning("leaving the group: %s", error)
        self._positions.clear()

    def _failed(self, doing: str, error: KafkaException) -> LogError:
        inner = error.args[0]
        if inner.fatal():
            self._in_transaction = False
            return FencedError(f"{doing}: {inner.str()}: another process took over; this one stops")
        if self._in_transaction and inner.txn_requires_abort():
            self.abort()
            return LogError(f"{doing}: {inner.str()}: the transaction was aborted")
        return unavailable(doing, error)

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        if self._closed:
            # They come while we leave; a closing consumer is answered nothing any more.
            consumer.incremental_assign(partitions)
            return
        gained = self._with_companions(partitions)
        starts = self._listener.on_assigned(gained)
        committed = {}
        asked = [KafkaPartition(s.topic, s.partition) for s in gained]
        for answer in consumer.committed(asked, _TIMEOUT_S) if asked else ():
            if answer.error is not None:
                # Taking it for "nothing committed" would read everything again.
                raise KafkaException(answer.error)
            committed[TopicPartition(answer.topic, answer.partition)] = answer.offset
        begin = []
        for source in gained:
            offset = starts.get(source, max(committed.get(source, 0), 0))
            self._positions[source] = offset
            begin.append(KafkaPartition(source.topic, source.partition, offset))
        consumer.incremental_assign(begin)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        leaving = self._with_companions(partitions)
        self._listener.on_revoked(leaving)
        self._leave(consumer, leaving)

    def _lost(self, consumer: Any, partitions: list[Any]) -> None:
        leaving = self._with_companions(partitions)
        self._listener.on_lost(leaving)
        self._leave(consumer, leaving)

    def _leave(self, consumer: Any, leaving: Sequence[TopicPartition]) -> None:
        consumer.incremental_unassign([KafkaPartition(s.topic, s.partition) for s in leaving])
        for source in leaving:
            self._positions.pop(source, None)

    def _with_companions(self, partitions: Sequence[Any]) -> list[TopicPartition]:
        found = [TopicPartition(p.topic, p.partition) for p in partitions]
        for lead in tuple(found):
            found += [TopicPartition(t, lead.partition) for t in self._companions(lead.topic)]
        return found

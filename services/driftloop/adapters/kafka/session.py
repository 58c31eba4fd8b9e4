"""A group member: cooperative consumer and transactional producer.

Membership and reading are two clients. The Python client joins the group and is told of rebalances;
it holds its partitions paused. What is assigned is read by a native one in columns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.failures import PASSING, unavailable
from driftloop.adapters.kafka.native.fetching import Fetcher
from driftloop.adapters.kafka.native.library import LibraryError
from driftloop.adapters.kafka.native.producing import TransactionalProducer
from driftloop.kernel.companions import Companions
from driftloop.kernel.errors import FencedError, LogError, LogUnavailableError
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
        self._companions = Companions(companions)
        self._positions: dict[TopicPartition, int] = {}
        self._in_transaction = False
        self._closed = False
        self._failure: BaseException | None = None
        """Of a callback of the poll under way."""
        self._membership = b""
        """Serialized metadata of the group, as the polling thread last saw it. The Python client
        serves one thread at a time: a commit on another one that asked it would wait for a poll to
        end, and a poll that hands partitions over waits for the commit."""
        with ExitStack() as opened:
            self._producer = TransactionalProducer(
                configuration.transactional(f"{group}.{instance}")
            )
            opened.callback(self._producer.close)
            try:
                # Fences a predecessor of the same name and aborts what it left open.
                self._producer.init(_TIMEOUT_S)
            except LibraryError as error:
                raise LogUnavailableError(
                    f"starting transactions of {group}: {error.text}"
                ) from error
            self._fetcher = Fetcher(configuration.session_reader(), PASSING)
            opened.callback(self._fetcher.close)
            self._member: Any = Consumer(configuration.member(group))
            self.subscribe(topics)
            opened.pop_all()

    def subscribe(self, topics: Sequence[str]) -> None:
        if topics:
            self._member.subscribe(
                list(topics),
                on_assign=self._kept(self._assigned),
                on_revoke=self._kept(self._revoked),
                on_lost=self._kept(self._lost),
            )
        else:
            self._member.unsubscribe()

    def _kept(self, callback: Callable[[Any, list[Any]], None]) -> Callable[[Any, list[Any]], None]:
        """What a callback raises is raised by the poll that called it: the client garbles it."""

        def call(consumer: Any, partitions: list[Any]) -> None:
            try:
                callback(consumer, partitions)
            except BaseException as error:
                self._failure = self._failure or error

        return call

    def _raise_kept(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def poll(self, limit: int, timeout_s: float) -> Sequence[RecordBatch]:
        try:
            # Rebalances happen in here. A record may slip through before its partition is paused:
            # it is read by the fetcher too.
            message = self._member.poll(0)
            if message is not None and message.error() is not None:
                code = message.error().code()
                if code not in PASSING and code != KafkaError._PARTITION_EOF:
                    raise LogUnavailableError(f"polling: {message.error().str()}")
            # Without a partition there is nothing to wait for but a rebalance.
            if not self._positions:
                self._member.poll(timeout_s)
            self._raise_kept()
            self._note_membership(self._member)
            batches = self._fetcher.poll(limit, timeout_s, self._positions)
            for source in sorted(self._fetcher.astray):
                self._go_on(source)
            return batches
        except KafkaException as error:
            raise unavailable("polling", error) from error
        except LibraryError as error:
            raise LogUnavailableError(f"polling: {error.text}") from error

    def _go_on(self, source: TopicPartition) -> None:
        """Where the log begins now: it does not have the record at the position."""
        asked = KafkaPartition(source.topic, source.partition)
        start, _ = self._member.get_watermark_offsets(asked, _TIMEOUT_S)
        position = self._positions[source]
        if position:
            self._listener.on_skipped(source, position, start)
        self.seek({source: start})

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._positions)

    def positions(self) -> Mapping[TopicPartition, int]:
        return dict(self._positions)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        ours = {source: offset for source, offset in positions.items() if source in self._positions}
        if not ours:
            return
        # Seeking a partition whose fetching has not started fails; assigning it anew does not.
        self._fetcher.unassign(ours)
        self._fetcher.assign(ours)
        self._positions.update(ours)

    def begin(self) -> None:
        if self._in_transaction:
            raise LogError("a transaction is open already")
        try:
            self._producer.begin()
        except LibraryError as error:
            raise self._failed("beginning a transaction", error) from error
        self._in_transaction = True

    def send(self, send: Send) -> None:
        if not self._in_transaction:
            raise LogError("no transaction is open")
        try:
            self._producer.send(send)
        except LibraryError as error:
            raise self._failed(f"writing to {send.topic}", error) from error

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        try:
            if positions:
                self._producer.send_offsets(positions, self._membership, _TIMEOUT_S)
            self._commit()
        except LibraryError as error:
            raise self._failed("committing", error) from error
        self._in_transaction = False

    def _commit(self) -> None:
        for tries_left in reversed(range(_COMMIT_TRIES)):
            try:
                self._producer.commit(_TIMEOUT_S)
            except LibraryError as error:
                # Whether it went through is open; the successor of this process will know.
                if not error.retriable or not tries_left:
                    raise
                _log.warning("commit is tried again: %s", error.text)
            else:
                return

    def abort(self) -> None:
        if not self._in_transaction:
            return
        # Before it is tried: an abort that fails must not be answered with another one.
        self._in_transaction = False
        try:
            self._producer.abort(_TIMEOUT_S)
        except LibraryError as error:
            raise self._failed("aborting", error) from error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            # Leaving gives the partitions back: the listener finishes or aborts what is open.
            self._closing(self._member.close)
            self._closing(self.abort)
        finally:
            self._fetcher.close()
            self._producer.close()
        self._positions.clear()

    def _closing(self, step: Callable[[], object]) -> None:
        try:
            step()
            self._raise_kept()
        except (KafkaException, LogError) as error:
            # A fenced producer says so once more; there is nothing left to do for it.
            _log.warning("leaving the group: %s", error)

    def _failed(self, doing: str, error: LibraryError) -> LogError:
        if error.fatal:
            self._in_transaction = False
            return FencedError(
                f"{doing}: {error.text}: another process took over, or the transaction lasted "
                "longer than Kafka lets it; this one stops"
            )
        if self._in_transaction and error.requires_abort:
            self.abort()
            return LogError(f"{doing}: {error.text}: the transaction was aborted")
        return LogUnavailableError(f"{doing}: {error.text}")

    def _note_membership(self, consumer: Any) -> None:
        # A consumer that is being closed has none to give; what it was last is what it is.
        with suppress(RuntimeError):
            self._membership = consumer.consumer_group_metadata()

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        if self._closed:
            # They come while we leave; a closing consumer is answered nothing any more.
            consumer.incremental_assign(partitions)
            return
        self._note_membership(consumer)
        gained = self._companions.gain(_sources(partitions))
        starts = self._listener.on_assigned(gained)
        committed = {}
        asked = [KafkaPartition(s.topic, s.partition) for s in gained]
        try:
            answers = consumer.committed(asked, _TIMEOUT_S) if asked else ()
        except KafkaException as error:
            raise unavailable("asking for committed offsets", error) from error
        for answer in answers:
            if answer.error is not None:
                # Taking it for "nothing committed" would read everything again.
                raise LogUnavailableError(f"asking for committed offsets: {answer.error.str()}")
            committed[TopicPartition(answer.topic, answer.partition)] = answer.offset
        begin = {}
        for source in gained:
            offset = starts.get(source, max(committed.get(source, 0), 0))
            self._positions[source] = offset
            begin[source] = offset
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self._fetcher.assign(begin)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        self._note_membership(consumer)
        leaving = self._companions.leave(_sources(partitions))
        self._listener.on_revoked(leaving)
        self._leave(consumer, partitions, leaving)

    def _lost(self, consumer: Any, partitions: list[Any]) -> None:
        leaving = self._companions.leave(_sources(partitions))
        self._listener.on_lost(leaving)
        self._leave(consumer, partitions, leaving)

    def _leave(
        self, consumer: Any, partitions: Sequence[Any], leaving: Sequence[TopicPartition]
    ) -> None:
        self._fetcher.unassign(leaving)
        try:
            consumer.incremental_unassign(partitions)
        except KafkaException as error:
            # After the session timed out the client has given them up by itself.
            _log.debug("giving partitions back: %s", error)
        for source in leaving:
            self._positions.pop(source, None)


def _sources(partitions: Sequence[Any]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]

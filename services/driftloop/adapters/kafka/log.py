"""The log's ports on Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.failures import passing, unavailable
from driftloop.adapters.kafka.outbox import KafkaOutbox
from driftloop.adapters.kafka.producer import KafkaProducer
from driftloop.adapters.kafka.reading import KafkaFollower, KafkaProbe, read_range
from driftloop.adapters.kafka.session import KafkaSession
from driftloop.kernel.errors import ConfigurationError, LogUnavailableError
from driftloop.kernel.ports import (
    AssignmentListener,
    Clock,
    RecordBatch,
    TopicPartition,
    TopicSpec,
)

_TIMEOUT_S = 30.0
_LOOK_EVERY_S = 0.02
_RETRY_S = 0.05
_CLOSING_S = 10.0
"""For what an outbox still holds when nobody has closed it."""

_NO_SUCH_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION)
"""Of topics that nobody made, and of names that no topic can have."""

_Client = TypeVar("_Client", bound=KafkaSession | KafkaFollower | KafkaProducer | KafkaOutbox)


class KafkaLog:
    """See :class:`driftloop.kernel.ports.Log`.

    ``common`` are librdkafka options for every client, such as ``security.protocol``.
    """

    def __init__(
        self,
        bootstrap: str,
        common: Mapping[str, str] | None = None,
        *,
        clock: Clock | None = None,
        replication: int = -1,
    ) -> None:
        self._configuration = Configuration(bootstrap, common)
        self._clock = clock or SystemClock()
        self._replication = replication
        self._admin: Any = AdminClient(self._configuration.admin())
        self._probe = KafkaProbe(self._configuration, self._clock)
        self._clients: WeakSet[KafkaSession | KafkaFollower | KafkaProducer | KafkaOutbox] = (
            WeakSet()
        )

    def session(
        self,
        group: str,
        topics: Sequence[str],
        *,
        instance: str,
        listener: AssignmentListener,
        companions: Callable[[str], Sequence[str]] = lambda topic: (),
    ) -> KafkaSession:
        return self._kept(
            KafkaSession(self._configuration, group, topics, instance, listener, companions)
        )

    def follow(self, topics: Sequence[str]) -> KafkaFollower:
        names = tuple(topics)
        return self._kept(
            KafkaFollower(
                self._configuration, self.start_offsets(names), lambda: self.end_offsets(names)
            )
        )

    def producer(self, name: str) -> KafkaProducer:
        return self._kept(KafkaProducer(self._configuration))

    def outbox(self, limit: int) -> KafkaOutbox:
        return self._kept(KafkaOutbox(self._configuration, limit))

    def read(
        self, source: TopicPartition, start: int, end: int, *, limit: int = 4096
    ) -> Iterator[RecordBatch]:
        return read_range(self._configuration, self._clock, source, start, end, limit)

    def next_record(self, source: TopicPartition, start: int, end: int) -> int:
        return self._probe.next_record(source, start, end)

    def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        wanted = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=self._replication,
                config=dict(spec.config),
            )
            for spec in specs
        ]
        if not wanted:
            return
        for spec, future in zip(
            specs,
            self._admin.create_topics(wanted, request_timeout=_TIMEOUT_S).values(),
            strict=True,
        ):
            try:
                future.result(_TIMEOUT_S)
            except TimeoutError as error:
                raise LogUnavailableError(
                    f"making topic {spec.name!r}: {self._silent()}"
                ) from error
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise unavailable(f"making topic {spec.name!r}", error) from error
                self._check_partitions(spec)
        self._wait_for([spec.name for spec in specs])

    def partitions(self, topic: str) -> int:
        return self._partitions([topic])[topic]

    def end_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return self._offsets(topics, OffsetSpec.latest())

    def high_watermarks(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return self._offsets(topics, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def start_offsets(self, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return self._offsets(topics, OffsetSpec.earliest())

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        client: Any = Consumer({**self._configuration.reader(), "group.id": group})
        try:
            asked = [KafkaPartition(s.topic, s.partition) for s in self._sources(topics)]
            answer = client.committed(asked, _TIMEOUT_S) if asked else []
        except KafkaException as error:
            raise unavailable(f"asking for the offsets of {group!r}", error) from error
        finally:
            client.close()
        return {TopicPartition(p.topic, p.partition): p.offset for p in answer if p.offset >= 0}

    def close(self) -> None:
        # Whoever failed while it was being built closed nothing: left to the interpreter's end, a
        # client in a group hangs there.
        self._probe.close()
        for client in list(self._clients):
            if isinstance(client, KafkaOutbox):
                client.close(_CLOSING_S)
            else:
                client.close()

    def _kept(self, client: _Client) -> _Client:
        self._clients.add(client)
        return client

    def _offsets(
        self,
        topics: Sequence[str],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> Mapping[TopicPartition, int]:
        asked = {KafkaPartition(s.topic, s.partition): spec for s in self._sources(topics)}
        if not asked:
            return {}
        deadline = self._clock.monotonic() + _TIMEOUT_S
        while True:
            futures = self._admin.list_offsets(
                asked, isolation_level=isolation, request_timeout=_TIMEOUT_S
            )
            try:
                return {
                    TopicPartition(p.topic, p.partition): future.result(_TIMEOUT_S).offset
                    for p, future in futures.items()
                }
            except TimeoutError as error:
                raise LogUnavailableError(f"asking for offsets: {self._silent()}") from error
            except KafkaException as error:
                # A topic just made, or a broker just started, has no leader for a moment.
                if not passing(error) or self._clock.monotonic() > deadline:
                    raise unavailable("asking for offsets", error) from error
                self._admin.poll(_RETRY_S)

    def _silent(self) -> str:
        return f"no answer from Kafka at {self._configuration.bootstrap} in {_TIMEOUT_S:g} s"

    def _sources(self, topics: Sequence[str]) -> list[TopicPartition]:
        counts = self._partitions(topics)
        return [TopicPartition(t, p) for t in topics for p in range(counts[t])]

    def _partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        """How many each topic has, 0 where there is none; one request, however many they are."""
        found = dict.fromkeys(topics, 0)
        names = [topic for topic in found if topic]
        if not names:
            return found
        asked = self._admin.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT_S)
        for topic, future in asked.items():
            try:
                found[topic] = len(future.result(_TIMEOUT_S).partitions)
            except TimeoutError as error:
                raise LogUnavailableError(
                    f"asking for topic {topic!r}: {self._silent()}"
                ) from error
            except KafkaException as error:
                if error.args[0].code() not in _NO_SUCH_TOPIC:
                    where = self._configuration.bootstrap
                    raise unavailable(f"asking Kafka at {where} for {topic!r}", error) from error
        return found

    def _check_partitions(self, spec: TopicSpec) -> None:
        have = self.partitions(spec.name)
        if have and have != spec.partitions:
            raise ConfigurationError(
                f"topic {spec.name!r} has {have} partitions, not {spec.partitions}: "
                "use another name, or declare the number it has"
            )

    def _wait_for(self, topics: Sequence[str]) -> None:
        """A made topic is known to every client only after a moment."""
        deadline = self._clock.monotonic() + _TIMEOUT_S
        while missing := [topic for topic, n in self._partitions(topics).items() if n == 0]:
            if self._clock.monotonic() > deadline:
                raise LogUnavailableError(f"topic {missing[0]!r} was made but does not appear")
            self._clock.pause(_LOOK_EVERY_S)

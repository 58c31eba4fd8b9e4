"""Every librdkafka setting driftloop sets, each with its reason, in one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from driftloop.kernel.topics import LARGEST_RECORD

Options = dict[str, str | int | float | bool | logging.Logger]

SESSION_TIMEOUT_MS = 6_000
"""A killed member's partitions come back after this: the broker's least value by default."""

TRANSACTION_TIMEOUT_MS = 30_000
"""A dead member's open transaction holds readers back for at most this."""


MOST_QUEUED = 500_000
"""Records a producer holds before it must wait for the broker."""


class Configuration:
    """Client options for one cluster. ``common`` holds the user's connection settings
    (``security.protocol``, ``sasl.*``, ...) and wins over the defaults."""

    def __init__(self, bootstrap: str, common: Mapping[str, str] | None = None) -> None:
        self.bootstrap = bootstrap
        self._common: Options = {
            "bootstrap.servers": bootstrap,
            # librdkafka's own lines go where ours go, and not to stderr past them.
            "logger": logging.getLogger("driftloop.librdkafka"),
            "log_level": 4,
            "socket.keepalive.enable": True,
            "topic.metadata.refresh.interval.ms": 10_000,
            **(common or {}),
        }

    def admin(self) -> Options:
        return dict(self._common)

    def reader(self) -> Options:
        """A consumer that assigns itself partitions and commits nothing."""
        return {
            "group.id": "driftloop.reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # End-of-partition events give positions past transaction markers, without which
            # nobody could tell "caught up" from "one record behind".
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            # With an empty queue librdkafka backs off this long before it fetches again.
            "fetch.queue.backoff.ms": 50,
            **self._common,
        }

    def session_reader(self) -> Options:
        """What reads for a member of a group."""
        return {
            **self.reader(),
            # Records that were deleted before they were read are told, not passed over.
            "auto.offset.reset": "error",
            **self._common,
        }

    def range_reader(self) -> Options:
        """A reader of one range of offsets."""
        return {
            **self.reader(),
            # librdkafka reads ahead, 64 MB by default, of what lies behind the range too: the
            # longer a topic, the more memory each reading would take.
            "queued.max.messages.kbytes": 8_192,
            **self._common,
        }

    def probe(self) -> Options:
        """What looks at one record at a time."""
        return {
            **self.range_reader(),
            "queued.min.messages": 1,
            # The batch that the record is in comes whole, however small this is.
            "fetch.message.max.bytes": 65_536,
            **self._common,
        }

    def member(self, group: str) -> Options:
        """A consumer that is a member of a group."""
        return {
            **self.reader(),
            "group.id": group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": 1_000,
            # A batch is processed between two polls; training happens elsewhere.
            "max.poll.interval.ms": 120_000,
            **self._common,
        }

    def producer(self) -> Options:
        """An idempotent producer."""
        return {
            "enable.idempotence": True,
            "linger.ms": 5,
            # Predictions of real events, with their categories and repeated numbers, become a
            # fourth to a fifth (flights); random doubles hardly shrink (a sixth off), and cost
            # some .3 us a record for nothing.
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": MOST_QUEUED,
            # A dead letter is larger than the record in it.
            "message.max.bytes": LARGEST_RECORD,
            # While the broker still finishes the transaction before, it answers
            # CONCURRENT_TRANSACTIONS; with librdkafka's 100 ms default back-off every transaction
            # takes that long.
            "retry.backoff.ms": 5,
            "retry.backoff.max.ms": 1_000,
            "delivery.timeout.ms": TRANSACTION_TIMEOUT_MS,
            # A topic that does not exist is an error soon; those driftloop makes exist before.
            "topic.metadata.propagation.max.ms": 5_000,
            **self._common,
        }

    def transactional(self, transactional_id: str) -> Options:
        return {
            **self.producer(),
            "transactional.id": transactional_id,
            # When no broker can be reached librdkafka (2.16) begins anew from the bootstrap servers
            # and forgets the brokers it knew. A transaction's offsets that wait for one of these
            # then wait for ever, whatever their timeout. Only here: an idle client that does not
            # begin anew may never connect again.
            "metadata.recovery.strategy": "none",
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            # The commit tells whether all records were taken; a report of each would be read by
            # nobody.
            "delivery.report.only.error": True,
            # Batches may fill while the partitions are registered with the transaction, some 6 ms
            # in which nothing is sent anyway. With a longer linger a lone record waits for the
            # commit to send it, and that for the offsets before it: it is written after both
            # answers instead of beside them.
            "linger.ms": 5,
            **self._common,
        }

"""Writing in batches of columns: in transactions, or idempotently without."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from driftloop.adapters.kafka.configuration import MOST_QUEUED
from driftloop.adapters.kafka.native import kernels
from driftloop.adapters.kafka.native.library import (
    POINTER,
    PRODUCER,
    PURGE_ALL,
    QUEUE_FULL,
    LibraryError,
    library,
)
from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.ports import Send, TopicPartition
from driftloop.kernel.slices import I64, U8, Slices

_UNASSIGNED = -1
_COPY = 2
_BACK_OFF_MS = 20
_CHUNK = 65_536
"""Records that go to the library in one call."""
_PURGE_S = 1.0
_LOOK_S = 0.0005
_LOOKS = 40


class NativeProducer:
    """One client; errors are :class:`LibraryError`. Not for several threads, but for
    :meth:`flush`."""

    def __init__(self, options: Mapping[str, Any], reported: tuple[int, int] | None = None) -> None:
        """``reported``: see :attr:`Tallies.callback`."""
        self._library = library()
        self._client = self._library.client(PRODUCER, options, reported)
        self._topics: dict[str, int] = {}

    def send(self, send: Send, tally: int = 0) -> None:
        """Queue the records; waits while the queue is full. ``tally``: the address of what counts
        their delivery reports."""
        topic = self._topic(send.topic)
        if len(send) == 1 and send.headers is None and send.timestamps is None:
            while code := self._produce_one(topic, send, tally):
                self._wait_for_room(code)
            self.poll()
            return
        batch = _Batch(send, tally)
        if batch.plain:
            for low in range(0, len(send), _CHUNK):
                # Waiting for room beforehand keeps the order: of a batch that fills the queue half
                # way later records may be taken while earlier ones are not.
                high = min(low + _CHUNK, len(send))
                while self._library.outq_len(self._client) + high - low > MOST_QUEUED:
                    self.poll(_BACK_OFF_MS)
                messages = batch.messages(low, high)
                while len(messages):
                    messages, code = self._produce(topic, batch.partition, messages)
                    if len(messages):
                        self._wait_for_room(code)
        else:
            row = 0
            while row < len(send):
                row, code = self._produce_each(topic, batch, row)
                if code:
                    self._wait_for_room(code)
        self.poll()

    def offer(self, send: Send, tally: int = 0) -> tuple[int, int]:
        """Queue the records for which there is room, without waiting. How many were not taken, and
        the code of why (of the first, if several)."""
        topic = self._topic(send.topic)
        batch = _Batch(send, tally)
        missing = why = 0
        if batch.plain:
            for low in range(0, len(send), _CHUNK):
                messages = batch.messages(low, min(low + _CHUNK, len(send)))
                refused, code = self._produce(topic, batch.partition, messages)
                missing += len(refused)
                why = why or code
        else:
            row = 0
            while row < len(send):
                row, code = self._produce_each(topic, batch, row)
                if code:
                    missing += 1
                    row += 1
                    why = why or code
        return missing, why

    def poll(self, milliseconds: int = 0) -> None:
        """Hear of deliveries."""
        self._library.poll(self._client, milliseconds)

    def flush(self, timeout_s: float) -> int:
        """Wait until all is acknowledged, or the time is over; how many records are not."""
        self._library.flush(self._client, _ms(timeout_s))
        return int(self._library.outq_len(self._client))

    def purge(self) -> None:
        """Give up all that is not acknowledged, and hear of it."""
        self._library.purge(self._client, PURGE_ALL)
        self._library.flush(self._client, _ms(_PURGE_S))

    def failed_for_good(self) -> bool:
        """Whether it takes nothing any more."""
        return bool(self._library.fatal_error(self._client, None, 0))

    def text_of(self, code: int) -> str:
        """An error code in words."""
        return self._library.text_of(code)

    def close(self) -> None:
        """Let go of the client, and of what is not acknowledged."""
        if self._client:
            for topic in self._topics.values():
                self._library.topic_destroy(topic)
            self._library.destroy(self._client)
            self._client = 0

    def _topic(self, name: str) -> int:
        found = self._topics.get(name)
        if found is None:
            found = self._library.topic_new(self._client, name.encode(), None)
            if not found:
                raise LibraryError(0, f"topic {name!r} cannot be written to")
            self._topics[name] = found
        return found

    def _produce_one(self, topic: int, send: Send, tally: int) -> int:
        """The error, or 0. Of a lone record most of the time would go into making columns."""
        key, value = send.keys[0], send.values[0]
        refused = self._library.produce(
            topic,
            _UNASSIGNED if send.partition is None else send.partition,
            _COPY,
            value,
            0 if value is None else len(value),
            key,
            0 if key is None else len(key),
            tally,
        )
        return int(self._library.last_error()) if refused else 0

    def _produce(self, topic: int, partition: int, messages: I64) -> tuple[I64, int]:
        """The messages that were not taken, and the error of the first."""
        at = messages.ctypes.data
        taken = self._library.produce_batch(topic, partition, _COPY, at, len(messages))
        if taken == len(messages):
            return messages[:0], 0
        errors = messages.view(np.int32)[:, 0]
        code = int(errors[np.flatnonzero(errors)[0]])
        left = np.ascontiguousarray(messages[errors != 0])
        left.view(np.int32)[:, 0] = 0
        return left, code

    def _produce_each(self, topic: int, batch: _Batch, row: int) -> tuple[int, int]:
        """The first row that was not taken, from ``row`` on, and its error; or (n, 0)."""
        row, error = kernels.produce_each(
            self._library.addresses["produceva"],
            self._client,
            topic,
            batch.partition,
            row,
            *batch.columns(),
            batch.times,
            *batch.headers(),
            batch.tally,
        )
        if not error:
            return row, 0
        code = int(self._library.error_code(error))
        self._library.error_destroy(error)
        return row, code

    def _wait_for_room(self, code: int) -> None:
        """A full queue empties while we wait; anything else is an error."""
        if code != QUEUE_FULL:
            text = self._library.text_of(code)
            raise LibraryError(code, text, fatal=self.failed_for_good())
        self.poll(_BACK_OFF_MS)


class TransactionalProducer(NativeProducer):
    """See :class:`driftloop.kernel.ports.Session`."""

    def __init__(
        self, options: Mapping[str, Any], *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        # The commit tells whether all records were taken.
        super().__init__(options)
        self._pause = pause

    def init(self, timeout_s: float) -> None:
        """Fence a predecessor of the same transactional id and abort what it left open."""
        self._library.check(self._library.init_transactions(self._client, _ms(timeout_s)))

    def begin(self) -> None:
        self._library.check(self._library.begin_transaction(self._client))

    def send_offsets(
        self, positions: Mapping[TopicPartition, int], group: bytes, timeout_s: float
    ) -> None:
        """``group``: the consumer's serialized group metadata."""
        metadata = POINTER()
        self._library.check(self._library.consumer_group_metadata_read(metadata, group, len(group)))
        offsets = self._library.partition_list(positions)
        try:
            self._library.check(
                self._library.send_offsets_to_transaction(
                    self._client, offsets, metadata, _ms(timeout_s)
                )
            )
        finally:
            self._library.topic_partition_list_destroy(offsets)
            self._library.consumer_group_metadata_destroy(metadata)

    def commit(self, timeout_s: float) -> None:
        # A commit first waits for what is not acknowledged, and without delivery reports to wake it
        # looks only every 10 ms, as long as a small transaction takes.
        for _ in range(_LOOKS):
            if not self._library.outq_len(self._client):
                break
            self._pause(_LOOK_S)
        self._library.check(self._library.commit_transaction(self._client, _ms(timeout_s)))

    def abort(self, timeout_s: float) -> None:
        self._library.check(self._library.abort_transaction(self._client, _ms(timeout_s)))


class _Batch:
    """The columns of a send, as compiled code takes them."""

    def __init__(self, send: Send, tally: int) -> None:
        self.plain = send.headers is None and send.timestamps is None
        """Nothing but keys and values: all go in one call."""
        self.partition = _UNASSIGNED if send.partition is None else send.partition
        self.tally = tally
        self._values, self._keys = Slices.of(send.values), Slices.of(send.keys)
        self.times: I64 = np.asarray(() if send.timestamps is None else send.timestamps, np.int64)
        self._table = None if send.headers is None else HeaderTable.of(send.headers)

    def columns(self, low: int = 0, high: int | None = None) -> tuple[Any, ...]:
        values, keys, part = self._values, self._keys, slice(low, high)
        return (
            _address(values.data),
            values.at[part],
            values.length[part],
            _address(keys.data),
            keys.at[part],
            keys.length[part],
        )

    def messages(self, low: int, high: int) -> I64:
        """For ``rd_kafka_produce_batch``."""
        found: I64 = np.zeros((high - low, kernels.MESSAGE_WORDS), np.int64)
        kernels.fill_messages(found, *self.columns(low, high), self.tally)
        return found

    def headers(self) -> tuple[Any, ...]:
        table = self._table
        if table is None:
            none: I64 = np.zeros(0, np.int64)
            return none, 0, none, 0, none, none
        return (
            table.starts,
            _address(table.names.data),
            table.names.at,
            _address(table.values.data),
            table.values.at,
            table.values.length,
        )


def _address(data: U8) -> int:
    return int(data.ctypes.data)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

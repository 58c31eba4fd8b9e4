"""Writing in transactions, in batches of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from driftloop.adapters.kafka.configuration import MOST_QUEUED
from driftloop.adapters.kafka.native import kernels
from driftloop.adapters.kafka.native.library import (
    POINTER,
    PRODUCER,
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


class TransactionalProducer:
    """See :class:`driftloop.kernel.ports.Session`; errors are :class:`LibraryError`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._library = library()
        self._client = self._library.client(PRODUCER, options)
        self._topics: dict[str, int] = {}

    def init(self, timeout_s: float) -> None:
        """Fence a predecessor of the same transactional id and abort what it left open."""
        self._library.check(self._library.init_transactions(self._client, _ms(timeout_s)))

    def flush(self, timeout_s: float) -> int:
        """Wait until all is acknowledged, or the time is over; how many records are not."""
        self._library.flush(self._client, _ms(timeout_s))
        return int(self._library.outq_len(self._client))

    def begin(self) -> None:
        self._library.check(self._library.begin_transaction(self._client))

    def send(self, send: Send) -> None:
        """Queue the records; waits while the queue is full."""
        values, keys = Slices.of(send.values), Slices.of(send.keys)
        topic = self._topic(send.topic)
        partition = _UNASSIGNED if send.partition is None else send.partition
        if send.headers is None and send.timestamps is None:
            self._send_batch(topic, partition, values, keys)
        else:
            self._send_each(topic, partition, values, keys, send)
        self._library.poll(self._client, 0)

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
        self._library.check(self._library.commit_transaction(self._client, _ms(timeout_s)))

    def abort(self, timeout_s: float) -> None:
        self._library.check(self._library.abort_transaction(self._client, _ms(timeout_s)))

    def close(self) -> None:
        """Let go of the client."""
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

    def _send_batch(
        self, topic: int, partition: int, values: Slices[Any], keys: Slices[Any]
    ) -> None:
        for low in range(0, len(values), _CHUNK):
            high = low + _CHUNK
            self._send_chunk(topic, partition, values[low:high], keys[low:high])

    def _send_chunk(
        self, topic: int, partition: int, values: Slices[Any], keys: Slices[Any]
    ) -> None:
        # Waiting for room beforehand keeps the order: of a batch that fills the queue half way
        # later records may be taken while earlier ones are not.
        while self._library.outq_len(self._client) + len(values) > MOST_QUEUED:
            self._library.poll(self._client, _BACK_OFF_MS)
        messages = np.zeros((len(values), kernels.MESSAGE_WORDS), np.int64)
        kernels.fill_messages(
            messages,
            _address(values.data),
            values.at,
            values.length,
            _address(keys.data),
            keys.at,
            keys.length,
        )
        while len(messages):
            at = messages.ctypes.data
            taken = self._library.produce_batch(topic, partition, _COPY, at, len(messages))
            if taken == len(messages):
                return
            errors = messages.view(np.int32)[:, 0]
            self._refused(int(errors[np.flatnonzero(errors)[0]]))
            messages = np.ascontiguousarray(messages[errors != 0])
            messages.view(np.int32)[:, 0] = 0

    def _send_each(
        self, topic: int, partition: int, values: Slices[Any], keys: Slices[Any], send: Send
    ) -> None:
        none: I64 = np.zeros(0, np.int64)
        times = none if send.timestamps is None else np.asarray(send.timestamps, np.int64)
        table = None if send.headers is None else HeaderTable.of(send.headers)
        headers = (
            (none, 0, none, 0, none, none)
            if table is None
            else (
                table.starts,
                _address(table.names.data),
                table.names.at,
                _address(table.values.data),
                table.values.at,
                table.values.length,
            )
        )
        row = 0
        while row < len(values):
            row, error = kernels.produce_each(
                self._library.addresses["produceva"],
                self._client,
                topic,
                partition,
                row,
                _address(values.data),
                values.at,
                values.length,
                _address(keys.data),
                keys.at,
                keys.length,
                times,
                *headers,
            )
            if error:
                code = self._library.error_code(error)
                if code == QUEUE_FULL:
                    self._library.error_destroy(error)
                    self._refused(code)
                else:
                    self._library.check(error)

    def _refused(self, code: int) -> None:
        """A full queue empties while we wait; anything else is an error."""
        if code != QUEUE_FULL:
            raise LibraryError(code, self._library.text_of(code))
        self._library.poll(self._client, _BACK_OFF_MS)


def _address(data: U8) -> int:
    return int(data.ctypes.data)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

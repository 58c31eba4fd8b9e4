"""Reading assigned partitions in batches of columns."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from driftloop.adapters.kafka.native import kernels
from driftloop.adapters.kafka.native.library import (
    AUTO_OFFSET_RESET,
    CONSUMER,
    PARTITION_EOF,
    POINTER,
    LibraryError,
    library,
)
from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.ports import RecordBatch, TopicPartition
from driftloop.kernel.slices import I64, Slices


class Fetcher:
    """A consumer outside any group. Not for several threads."""

    def __init__(self, options: Mapping[str, Any], passing: Iterable[int]) -> None:
        """``passing``: error codes that the library gets over by itself."""
        self._library = library()
        self._passing = frozenset(passing)
        self._client = self._library.client(CONSUMER, options)
        self._queue = self._library.queue_get_consumer(self._client)
        self._messages: I64 = np.zeros(1024, np.int64)
        self.astray: set[TopicPartition] = set()
        """Partitions whose log does not have their position: until they are assigned anew nothing
        of them comes. With ``auto.offset.reset`` set to ``error`` only."""

    def assign(self, starts: Mapping[TopicPartition, int]) -> None:
        """Begin to read these partitions at these offsets; ones already read are moved."""
        self.astray -= starts.keys()
        if starts:
            self._with_list(self._library.incremental_assign, starts)

    def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these partitions; nothing of them comes any more."""
        leaving = dict.fromkeys(partitions, 0)
        self.astray -= leaving.keys()
        if leaving:
            self._with_list(self._library.incremental_unassign, leaving)

    def poll(
        self, limit: int, timeout_s: float, positions: MutableMapping[TopicPartition, int]
    ) -> list[RecordBatch]:
        """At most ``limit`` records, by partition; moves ``positions``, end-of-partition events
        included. Raises :class:`LibraryError` on what the library does not get over by itself."""
        if len(self._messages) < limit:
            self._messages = np.zeros(limit, np.int64)
        at = self._messages.ctypes.data
        # Asked for many it would wait until that many have come or the time is over. The first
        # message ends the waiting, and whatever else has come by then goes with it: a lone record
        # is answered at once, a backlog in large batches.
        n = self._consume(at, 1, max(0, round(timeout_s * 1000)))
        if n == 0:
            return []
        n += self._consume(at + 8, limit - 1, 0)
        try:
            return self._take(n, positions)
        finally:
            kernels.release(self._messages, n, self._library.addresses["message_destroy"])

    def close(self) -> None:
        """Let go of the client."""
        if self._client:
            self._library.queue_destroy(self._queue)
            self._library.consumer_close(self._client)
            self._library.destroy(self._client)
            self._client = 0

    def _consume(self, at: int, limit: int, timeout_ms: int) -> int:
        if limit <= 0:
            return 0
        found: int = self._library.consume_batch_queue(self._queue, timeout_ms, at, limit)
        return max(found, 0)

    def _with_list(self, function: Any, partitions: Mapping[TopicPartition, int]) -> None:
        made = self._library.partition_list(partitions)
        try:
            self._library.check(function(self._client, made))
        finally:
            self._library.topic_partition_list_destroy(made)

    def _take(self, n: int, positions: MutableMapping[TopicPartition, int]) -> list[RecordBatch]:
        addresses = self._library.addresses
        group = np.empty(n, np.int32)
        topics, partitions, rows = (np.zeros(n, np.int64) for _ in range(3))
        offset, timestamp, value_length, key_length = (np.empty(n, np.int64) for _ in range(4))
        header_list, header_counts = np.zeros(n, np.int64), np.zeros(n, np.int64)
        totals = np.zeros(4, np.int64)
        groups = kernels.survey(
            self._messages,
            n,
            addresses["message_timestamp"],
            addresses["message_headers"],
            addresses["header_cnt"],
            addresses["header_get_all"],
            group,
            topics,
            partitions,
            rows,
            offset,
            timestamp,
            value_length,
            key_length,
            header_list,
            header_counts,
            totals,
        )
        data = np.empty(int(totals[0]), np.uint8)
        count = int(rows[:groups].sum())
        order = np.empty(count, np.int64)
        columns = [np.empty(count, np.int64) for _ in range(6)]
        kernels.copy_out(
            self._messages,
            n,
            group,
            rows[:groups],
            offset,
            timestamp,
            value_length,
            key_length,
            data,
            *columns,
            order,
        )
        # Read-only, so that all batches of this poll share one buffer as it is.
        data.flags.writeable = False
        headers: HeaderTable | None = None
        if totals[1]:
            headers = self._headers(order, header_list, header_counts, totals)
        batches = []
        low = 0
        for g in range(groups):
            high = low + int(rows[g])
            source = TopicPartition(self._topic(int(topics[g])), int(partitions[g]))
            if source in positions:
                batches.append(_batch(source, columns, data, headers, low, high))
                positions[source] = max(positions[source], int(columns[0][high - 1]) + 1)
            low = high
        if count < n:
            self._events(np.flatnonzero(group < 0).tolist(), positions)
        return batches

    def _headers(
        self, order: I64, header_list: I64, header_counts: I64, totals: I64
    ) -> HeaderTable:
        total = int(totals[1])
        starts = np.empty(len(order) + 1, np.int64)
        names, values = np.empty(int(totals[2]), np.uint8), np.empty(int(totals[3]), np.uint8)
        name_at, name_length, value_at, value_length = (np.empty(total, np.int64) for _ in range(4))
        kernels.copy_headers(
            order,
            len(order),
            header_list,
            header_counts,
            self._library.addresses["header_get_all"],
            starts,
            names,
            name_at,
            name_length,
            values,
            value_at,
            value_length,
        )
        return HeaderTable(
            starts, Slices(names, name_at, name_length), Slices(values, value_at, value_length)
        )

    def _topic(self, handle: int) -> str:
        name: bytes = self._library.topic_name(handle)
        return name.decode()

    def _events(self, rows: Sequence[int], positions: MutableMapping[TopicPartition, int]) -> None:
        for row in rows:
            message = _Message.from_address(int(self._messages[row]))
            if message.err in (PARTITION_EOF, AUTO_OFFSET_RESET):
                source = TopicPartition(self._topic(message.topic), message.partition)
                if source not in positions:
                    continue
                if message.err == PARTITION_EOF:
                    positions[source] = max(positions[source], message.offset)
                else:
                    self.astray.add(source)
            elif message.err not in self._passing:
                said = ctypes.string_at(message.payload, message.length) if message.payload else b""
                text = said.decode(errors="replace") or self._library.text_of(message.err)
                raise LibraryError(message.err, text)


class _Message(ctypes.Structure):
    _fields_ = (
        ("err", ctypes.c_int),
        ("topic", POINTER),
        ("partition", ctypes.c_int32),
        ("payload", POINTER),
        ("length", ctypes.c_size_t),
        ("key", POINTER),
        ("key_length", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("private", POINTER),
    )


def _batch(
    source: TopicPartition,
    columns: Sequence[I64],
    data: np.ndarray[Any, np.dtype[np.uint8]],
    headers: HeaderTable | None,
    low: int,
    high: int,
) -> RecordBatch:
    offset, timestamp, value_at, value_length, key_at, key_length = (
        column[low:high] for column in columns
    )
    own = None if headers is None else headers[low:high]
    if own is not None and own.starts[0] == own.starts[-1]:
        own = None
    return RecordBatch(
        source.topic,
        source.partition,
        array("q", offset.tobytes()),
        array("q", timestamp.tobytes()),
        Slices(data, key_at, key_length),
        Slices(data, value_at, value_length),
        own,
    )

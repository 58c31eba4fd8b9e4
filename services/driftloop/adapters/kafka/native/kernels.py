"""Compiled loops over librdkafka's messages: structs are read and functions called in place.

``rd_kafka_message_t`` is public and frozen (rdkafka.h): err (int32) at 0, rkt at 8, partition
(int32) at 16, payload 24, len 32, key 40, key_len 48, offset 56, private 64; 72 bytes.
``rd_kafka_vu_t``: type (int32) at 0, its value from 8 on; 72 bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

MESSAGE_WORDS = 9
_WORD = ir.IntType(64)
_BYTE = ir.IntType(8)


def _intrinsic(function: Any) -> Any:
    # Called without the first argument, the typing context: no type checker could follow.
    return intrinsic(function)


@_intrinsic
def _word_at(context: Any, address: Any) -> Any:
    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _WORD.as_pointer()))

    return types.int64(types.int64), generate


@_intrinsic
def _int_at(context: Any, address: Any) -> Any:
    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(32).as_pointer()))

    return types.int32(types.int64), generate


@_intrinsic
def _byte_at(context: Any, address: Any) -> Any:
    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _BYTE.as_pointer()))

    return types.uint8(types.int64), generate


@_intrinsic
def _put_word(context: Any, address: Any, word: Any) -> Any:
    def generate(typing: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], _WORD.as_pointer()))
        return typing.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_intrinsic
def _copy(context: Any, to: Any, source: Any, size: Any) -> Any:
    def generate(typing: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _BYTE.as_pointer()
        to, source, size = arguments
        cgutils.raw_memcpy(
            builder, builder.inttoptr(to, pointer), builder.inttoptr(source, pointer), size, 1
        )
        return typing.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _caller(count: int, result: Any, returned: Any) -> Any:
    """Code that calls a C function, given by its address, with ``count`` words."""

    def generate(typing: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(result, [_WORD] * count)
        called = builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return typing.get_dummy_value() if returned is types.void else called

    return returned(*([types.int64] * (count + 1))), generate


@_intrinsic
def _call_1(context: Any, function: Any, a: Any) -> Any:
    return _caller(1, ir.VoidType(), types.void)


@_intrinsic
def _call_1_word(context: Any, function: Any, a: Any) -> Any:
    return _caller(1, _WORD, types.int64)


@_intrinsic
def _call_2_int(context: Any, function: Any, a: Any, b: Any) -> Any:
    return _caller(2, ir.IntType(32), types.int32)


@_intrinsic
def _call_2_word(context: Any, function: Any, a: Any, b: Any) -> Any:
    return _caller(2, _WORD, types.int64)


@_intrinsic
def _call_3_word(context: Any, function: Any, a: Any, b: Any, c: Any) -> Any:
    return _caller(3, _WORD, types.int64)


@_intrinsic
def _call_5_int(context: Any, function: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    return _caller(5, ir.IntType(32), types.int32)


@njit(cache=True, nogil=True)
def _string_length(address):  # type: ignore[no-untyped-def]
    n = 0
    while _byte_at(address + n) != 0:
        n += 1
    return n


@njit(cache=True, nogil=True)
def survey(  # type: ignore[no-untyped-def]
    messages,
    n,
    timestamp_of,
    headers_of,
    header_count,
    header_at,
    group,
    group_topic,
    group_partition,
    group_rows,
    offset,
    timestamp,
    value_length,
    key_length,
    header_list,
    header_counts,
    totals,
):
    """First look at ``n`` messages: which group (topic and partition) each belongs to, -1 for an
    event that is no record; columns in the messages' order. Returns how many groups there are.
    ``totals``: bytes of values and keys, headers, bytes of header names (with their zero) and of
    header values."""
    kind = np.zeros(1, np.int32)
    cell = np.zeros(1, np.int64)
    name = np.zeros(1, np.int64)
    value = np.zeros(1, np.int64)
    size = np.zeros(1, np.int64)
    groups = 0
    last = -1
    for i in range(n):
        m = messages[i]
        header_counts[i] = 0
        if _int_at(m) != 0:
            group[i] = -1
            continue
        topic = _word_at(m + 8)
        partition = _int_at(m + 16)
        if last < 0 or group_topic[last] != topic or group_partition[last] != partition:
            last = -1
            for g in range(groups):
                if group_topic[g] == topic and group_partition[g] == partition:
                    last = g
                    break
            if last < 0:
                last = groups
                group_topic[last] = topic
                group_partition[last] = partition
                group_rows[last] = 0
                groups += 1
        group[i] = last
        group_rows[last] += 1
        offset[i] = _word_at(m + 56)
        timestamp[i] = _call_2_word(timestamp_of, m, kind.ctypes.data)
        value_length[i] = _word_at(m + 32) if _word_at(m + 24) != 0 else -1
        key_length[i] = _word_at(m + 48) if _word_at(m + 40) != 0 else -1
        totals[0] += max(value_length[i], 0) + max(key_length[i], 0)
        if _call_2_int(headers_of, m, cell.ctypes.data) == 0:
            header_list[i] = cell[0]
            header_counts[i] = _call_1_word(header_count, cell[0])
            for k in range(header_counts[i]):
                _call_5_int(
                    header_at, cell[0], k, name.ctypes.data, value.ctypes.data, size.ctypes.data
                )
                totals[1] += 1
                totals[2] += _string_length(name[0]) + 1
                if value[0] != 0:
                    totals[3] += size[0]
    return groups


@njit(cache=True, nogil=True)
def copy_out(  # type: ignore[no-untyped-def]
    messages,
    n,
    group,
    group_rows,
    offset,
    timestamp,
    value_length,
    key_length,
    data,
    out_offset,
    out_timestamp,
    out_value_at,
    out_value_length,
    out_key_at,
    out_key_length,
    order,
):
    """Records group by group, in their order: values first, then keys, in ``data``. ``order`` gets
    each output row's message."""
    next_row = np.zeros(len(group_rows), np.int64)
    for g in range(1, len(group_rows)):
        next_row[g] = next_row[g - 1] + group_rows[g - 1]
    rows = 0
    for i in range(n):
        if group[i] >= 0:
            row = next_row[group[i]]
            next_row[group[i]] += 1
            order[row] = i
            rows += 1
    base = data.ctypes.data
    at = 0
    for row in range(rows):
        i = order[row]
        out_offset[row] = offset[i]
        out_timestamp[row] = timestamp[i]
        out_value_at[row] = at
        out_value_length[row] = value_length[i]
        if value_length[i] > 0:
            _copy(base + at, _word_at(messages[i] + 24), value_length[i])
            at += value_length[i]
    for row in range(rows):
        i = order[row]
        out_key_at[row] = at
        out_key_length[row] = key_length[i]
        if key_length[i] > 0:
            _copy(base + at, _word_at(messages[i] + 40), key_length[i])
            at += key_length[i]


@njit(cache=True, nogil=True)
def copy_headers(  # type: ignore[no-untyped-def]
    order,
    rows,
    header_list,
    header_counts,
    header_at,
    starts,
    names,
    name_at,
    name_length,
    values,
    value_at,
    value_length,
):
    """The headers of the rows in their order."""
    name = np.zeros(1, np.int64)
    value = np.zeros(1, np.int64)
    size = np.zeros(1, np.int64)
    names_used = 0
    values_used = 0
    k = 0
    for row in range(rows):
        starts[row] = k
        i = order[row]
        for h in range(header_counts[i]):
            _call_5_int(
                header_at, header_list[i], h, name.ctypes.data, value.ctypes.data, size.ctypes.data
            )
            length = _string_length(name[0])
            _copy(names.ctypes.data + names_used, name[0], length + 1)
            name_at[k] = names_used
            name_length[k] = length
            names_used += length + 1
            value_at[k] = values_used
            value_length[k] = -1
            if value[0] != 0:
                value_length[k] = size[0]
                if size[0] > 0:
                    _copy(values.ctypes.data + values_used, value[0], size[0])
                    values_used += size[0]
            k += 1
    starts[rows] = k


@njit(cache=True, nogil=True)
def release(messages, n, destroy):  # type: ignore[no-untyped-def]
    """Give the messages back to the library."""
    for i in range(n):
        _call_1(destroy, messages[i])


@njit(cache=True, nogil=True)
def fill_messages(  # type: ignore[no-untyped-def]
    messages, value_base, value_at, value_length, key_base, key_at, key_length, tally
):
    """Messages for ``rd_kafka_produce_batch``; ``messages`` are zeroed words, shape (n, 9).
    ``tally``: what :func:`count_report` is told of their deliveries, or 0."""
    for i in range(len(value_at)):
        messages[i, 8] = tally
        if value_length[i] >= 0:
            messages[i, 3] = value_base + value_at[i]
            messages[i, 4] = value_length[i]
        if key_length[i] >= 0:
            messages[i, 5] = key_base + key_at[i]
            messages[i, 6] = key_length[i]


@njit(cache=True, nogil=True)
def produce_each(  # type: ignore[no-untyped-def]
    produceva,
    client,
    topic,
    partition,
    first,
    value_base,
    value_at,
    value_length,
    key_base,
    key_at,
    key_length,
    timestamps,
    starts,
    name_base,
    name_at,
    header_base,
    header_at,
    header_length,
    tally,
):
    """``rd_kafka_produceva`` row by row from ``first`` on; ``timestamps`` and ``starts`` may be
    empty. Returns the row that was not taken and its error, or (n, 0)."""
    n = len(value_at)
    most = 0
    for row in range(len(starts) - 1):
        most = max(most, starts[row + 1] - starts[row])
    words = np.zeros((7 + most, MESSAGE_WORDS), np.int64)
    for row in range(first, n):
        words[0, 0] = 2  # RKT
        words[0, 1] = topic
        words[1, 0] = 3  # PARTITION
        words[1, 1] = partition & 0xFFFFFFFF
        words[2, 0] = 7  # MSGFLAGS: copy
        words[2, 1] = 2
        words[3, 0] = 4  # VALUE
        words[3, 1] = value_base + value_at[row] if value_length[row] >= 0 else 0
        words[3, 2] = max(value_length[row], 0)
        words[4, 0] = 5  # KEY
        words[4, 1] = key_base + key_at[row] if key_length[row] >= 0 else 0
        words[4, 2] = max(key_length[row], 0)
        words[5, 0] = 6  # OPAQUE
        words[5, 1] = tally
        used = 6
        if len(timestamps) > 0:
            words[used, 0] = 8  # TIMESTAMP
            words[used, 1] = timestamps[row]
            used += 1
        if len(starts) > 0:
            for k in range(starts[row], starts[row + 1]):
                words[used, 0] = 9  # HEADER
                words[used, 1] = name_base + name_at[k]
                words[used, 2] = header_base + header_at[k] if header_length[k] >= 0 else 0
                words[used, 3] = max(header_length[k], 0)
                used += 1
        error = _call_3_word(produceva, client, words.ctypes.data, used)
        if error != 0:
            return row, error
    return n, 0


def count_report(client, message, done):  # type: ignore[no-untyped-def]
    """A delivery report callback (``rd_kafka_conf_set_dr_msg_cb``), to be compiled as a C function.

    A message's tally is three words: its own number, reports still to come, reports of failures;
    and a fourth, the last failure's code. ``done`` is a list of the tallies to whose last report
    this was: how many there are, then their numbers.
    """
    tally = _word_at(message + 64)
    if tally == 0:
        return
    code = np.int64(_int_at(message))
    if code != 0:
        _put_word(tally + 16, _word_at(tally + 16) + 1)
        _put_word(tally + 24, code)
    left = _word_at(tally + 8) - 1
    _put_word(tally + 8, left)
    if left == 0:
        count = _word_at(done) + 1
        _put_word(done, count)
        _put_word(done + 8 * count, _word_at(tally))

"""The compiled loops of the batch codec: they interpret a plan (``codec.plan``) over bytes.

Opcodes and both loops share this file, because numba's cache on disk notices a change only in the
file of the function itself: a constant or an inner loop changed elsewhere would go unnoticed.

Opcodes are rows of an int64 array with the columns OP, SLOT, A, B, C. Whatever the input holds,
every read is checked against its row's end, and every step of a loop that input can ask for uses up
at least one byte of the row (the plan refuses schemas where it would not).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from driftloop.kernel.codec.blocks import F64, I32, I64, U8, U64
from driftloop.kernel.compiling import borrowed, compiled

DOUBLE = 0
"""A = how many doubles in a row; SLOT: the first one's column."""
FLOAT = 1
LONG = 2
"""A = DROP, TO_INTEGER or TO_NUMBER; so INT, BOOLEAN and ENUM (B = how many symbols)."""
INT = 3
BOOLEAN = 4
ENUM = 5
TEXT = 6
"""A = 1: must be UTF-8."""
FIXED = 7
"""A bytes, skipped."""
NULLABLE = 8
"""A = which branch is null, B = where to go on for it, C = kind of column (ON_...)."""
UNION = 9
"""A = first entry of the jump table, B = how many branches. Skipped values only."""
JUMP = 10
"""To A."""
BLOCK_BEGIN = 11
"""Of a skipped array or map; A = where to go on after it, B = least bytes of an item."""
BLOCK_END = 12
"""A = its BLOCK_BEGIN."""
NUMBERS = 13
"""An array of doubles."""
TEXTS = 14
"""An array of strings; A = which branch of an item is null, or -1."""

DROP, TO_INTEGER, TO_NUMBER = 0, 1, 2
ON_NOTHING, ON_NUMBER, ON_INTEGER, ON_TEXT, ON_ARRAY = 0, 1, 2, 3, 4

FINE = 0
TRUNCATED = 1
TRAILING = 2
NOT_AVRO = 3
WRONG_SCHEMA = 4
BAD_VARINT = 5
BAD_LENGTH = 6
BAD_BRANCH = 7
BAD_SYMBOL = 8
BAD_INT = 9
BAD_BOOLEAN = 10
NOT_UTF8 = 11
MISSING = 12
"""On encoding: no value where the schema has no null."""
OTHER_ID = 13
"""Confluent framing, with an id that is none of this schema's."""

LONGEST = 2**31 - 1
"""Bytes of a string and items of a block: Java's limit."""

_U0, _U1, _U7, _U8, _U63, _U127, _U128 = (np.uint64(x) for x in (0, 1, 7, 8, 63, 127, 128))


@compiled
def _read_long(data: U8, pos: int, end: int) -> tuple[int, int]:
    """Value and next position, which is -error where there is no varint of 64 bits."""
    value = _U0
    shift = _U0
    byte = _U128
    error = FINE
    while byte >= _U128 and error == FINE:
        if pos >= end:
            error = TRUNCATED
        else:
            byte = np.uint64(data[pos])
            pos += 1
            if shift == _U63 and byte > _U1:
                error = BAD_VARINT
            value |= (byte & _U127) << (shift & _U63)
            shift += _U7
    number: Any = np.int64(value >> _U1) ^ -np.int64(value & _U1)
    return number, (pos if error == FINE else -error)


@compiled
def _read_8(data: U8, pos: int) -> Any:
    """A little-endian word. One expression over unsigned positions (which numba does not check for
    being negative), so that it compiles to one load."""
    p = np.uint64(pos)
    return (
        np.uint64(data[p])
        | np.uint64(data[p + _U1]) << _U8
        | np.uint64(data[p + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[p + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[p + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[p + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[p + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[p + _U7]) << np.uint64(56)
    )


@compiled
def _read_4(data: U8, pos: int) -> Any:
    p = np.uint64(pos)
    return np.uint32(
        np.uint64(data[p])
        | np.uint64(data[p + _U1]) << _U8
        | np.uint64(data[p + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[p + np.uint64(3)]) << np.uint64(24)
    )


@compiled
def _read_id(data: U8, pos: int) -> Any:
    """Four bytes, big-endian."""
    number: Any = np.int64(0)
    for k in range(4):
        number = number << 8 | np.int64(data[pos + k])
    return number


@compiled
def is_utf8(data: U8, pos: int, end: int) -> bool:
    """Strict: no surrogates, no over-long forms, nothing above U+10FFFF (Unicode table 3-7)."""
    good = True
    while pos < end and good:
        lead = data[pos]
        pos += 1
        if lead >= 0x80:
            low, high = 0x80, 0xBF
            more = 0
            if 0xC2 <= lead <= 0xDF:
                more = 1
            elif 0xE0 <= lead <= 0xEF:
                more = 2
                if lead == 0xE0:
                    low = 0xA0
                elif lead == 0xED:
                    high = 0x9F
            elif 0xF0 <= lead <= 0xF4:
                more = 3
                if lead == 0xF0:
                    low = 0x90
                elif lead == 0xF4:
                    high = 0x8F
            good = more > 0 and pos + more <= end
            if good:
                good = low <= data[pos] <= high
                for k in range(1, more):
                    good = good and 0x80 <= data[pos + k] <= 0xBF
                pos += more
    return good


@compiled
def _read_slice(data: U8, pos: int, end: int, text: bool) -> tuple[int, int]:
    """Start and length; length is -error."""
    length, pos = _read_long(data, pos, end)
    if pos < 0:
        found = (0, pos)
    elif length < 0 or length > LONGEST:
        found = (0, -BAD_LENGTH)
    elif length > end - pos:
        found = (0, -TRUNCATED)
    elif text and not is_utf8(data, pos, pos + length):
        found = (0, -NOT_UTF8)
    else:
        found = (pos, length)
    return found


@compiled
def _read_count(data: U8, pos: int, end: int, least: int) -> tuple[int, int]:
    """Items of the next block and next position (-error). A negative count is followed by the
    block's size in bytes (Avro 1.11, arrays), which need not be believed."""
    count, pos = _read_long(data, pos, end)
    if pos >= 0 and count < 0:
        if count < -LONGEST:
            pos = -BAD_LENGTH
        else:
            count = -count
            _, pos = _read_long(data, pos, end)
    if pos >= 0:
        if count > LONGEST:
            pos = -BAD_LENGTH
        elif count * least > end - pos:
            pos = -TRUNCATED
    return (count if pos >= 0 else 0), pos


@compiled
def decode(
    data: U8,
    row_at: I64,
    row_length: I64,
    header: U8,
    ids: I64,
    ops: I64,
    jumps: I64,
    depth: int,
    bits: U64,
    number_null: U8,
    integers: I64,
    integer_null: U8,
    at: I64,
    length: I64,
    seq_at: I64,
    seq_count: I64,
    flat_bits: U64,
    flat_at: I64,
    flat_length: I64,
    errors: I32,
    error_at: I64,
    error_op: I64,
) -> None:
    """Row i is ``row_length[i]`` bytes of ``data`` from ``row_at[i]`` on (none where the length is
    -1), behind ``header`` (empty: unframed), or behind 00 and one of ``ids``, four bytes. Fills
    the columns and, per row, an error code (FINE if none), the byte of the row and the opcode where
    it was found. Columns of a row with an error are void.
    ``bits`` are doubles seen as integers. ``flat_bits`` needs one entry per 8 bytes of data,
    ``flat_at`` and ``flat_length`` one per byte (only where the plan has such arrays).
    """
    data = borrowed(data)
    steps = ops.shape[0]
    framing = header.shape[0]
    stack = np.zeros(depth + 1, np.int64)
    single = np.zeros(1, np.uint32)
    as_float = single.view(np.float32)
    double = np.zeros(1, np.float64)
    as_bits = double.view(np.uint64)
    double[0] = np.nan
    missing = as_bits[0]
    numbers_used = 0
    texts_used = 0
    for row in range(row_at.shape[0]):
        start = row_at[row]
        end = start + max(row_length[row], 0)
        pos = start
        error = FINE if row_length[row] >= 0 else TRUNCATED
        pc = 0
        top = 0
        if error == FINE and framing > 0:
            if pos < end and data[pos] == 0:
                if end - pos < 5:
                    error = TRUNCATED
                else:
                    error = OTHER_ID
                    schema_id = _read_id(data, pos + 1)
                    for k in range(ids.shape[0]):
                        if ids[k] == schema_id:
                            error = FINE
                            pos += 5
                            break
            elif end - pos < framing:
                error = TRUNCATED
            else:
                for k in range(framing):
                    if data[pos + k] != header[k]:
                        error = NOT_AVRO if k < 2 else WRONG_SCHEMA
                        break
                pos += framing
        while error == FINE and pc < steps:
            op = ops[pc, 0]
            slot = ops[pc, 1]
            a = ops[pc, 2]
            if op == DOUBLE:
                if 8 * a > end - pos:
                    error = TRUNCATED
                    break
                for k in range(a):
                    bits[row, slot + k] = _read_8(data, pos)
                    pos += 8
            elif op <= ENUM:
                if op == FLOAT:
                    if end - pos < 4:
                        error = TRUNCATED
                        break
                    single[0] = _read_4(data, pos)
                    pos += 4
                    double[0] = as_float[0]
                    bits[row, slot] = as_bits[0]
                    pc += 1
                    continue
                if op == BOOLEAN:
                    if pos >= end:
                        error = TRUNCATED
                        break
                    value: Any = np.int64(data[pos])
                    if value > 1:
                        error = BAD_BOOLEAN
                        break
                    pos += 1
                else:
                    value, after = _read_long(data, pos, end)
                    if after < 0:
                        error = -after
                        break
                    if op == INT and (value > 2147483647 or value < -2147483648):
                        error = BAD_INT
                        break
                    if op == ENUM and (value < 0 or value >= ops[pc, 3]):
                        error = BAD_SYMBOL
                        break
                    pos = after
                if a == TO_INTEGER:
                    integers[row, slot] = value
                elif a == TO_NUMBER:
                    double[0] = np.float64(value)
                    bits[row, slot] = as_bits[0]
            elif op == TEXT:
                first, size = _read_slice(data, pos, end, a == 1)
                if size < 0:
                    error = -size
                    break
                if slot >= 0:
                    at[row, slot] = first
                    length[row, slot] = size
                pos = first + size
            elif op == FIXED:
                if a > end - pos:
                    error = TRUNCATED
                    break
                pos += a
            elif op == NULLABLE:
                branch, after = _read_long(data, pos, end)
                if after < 0:
                    error = -after
                    break
                if branch < 0 or branch > 1:
                    error = BAD_BRANCH
                    break
                pos = after
                if branch == a:
                    kind = ops[pc, 4]
                    if kind == ON_NUMBER:
                        bits[row, slot] = missing
                        number_null[row, slot] = 1
                    elif kind == ON_INTEGER:
                        integers[row, slot] = 0
                        integer_null[row, slot] = 1
                    elif kind == ON_TEXT:
                        at[row, slot] = 0
                        length[row, slot] = -1
                    elif kind == ON_ARRAY:
                        seq_at[row, slot] = 0
                        seq_count[row, slot] = -1
                    pc = ops[pc, 3]
                    continue
            elif op == UNION:
                branch, after = _read_long(data, pos, end)
                if after < 0:
                    error = -after
                    break
                if branch < 0 or branch >= ops[pc, 3]:
                    error = BAD_BRANCH
                    break
                pos = after
                pc = jumps[a + branch]
                continue
            elif op == JUMP:
                pc = a
                continue
            elif op == BLOCK_BEGIN:
                count, after = _read_count(data, pos, end, ops[pc, 3])
                if after < 0:
                    error = -after
                    break
                pos = after
                if count == 0:
                    pc = a
                    continue
                stack[top] = count
                top += 1
            elif op == BLOCK_END:
                stack[top - 1] -= 1
                if stack[top - 1] > 0:
                    pc = a + 1
                else:
                    top -= 1
                    pc = a
                continue
            elif op == NUMBERS:
                first = numbers_used
                while True:
                    count, after = _read_count(data, pos, end, 8)
                    if after < 0:
                        error = -after
                        break
                    pos = after
                    if count == 0:
                        break
                    for k in range(count):
                        flat_bits[numbers_used + k] = _read_8(data, pos)
                        pos += 8
                    numbers_used += count
                if error != FINE:
                    break
                seq_at[row, slot] = first
                seq_count[row, slot] = numbers_used - first
            else:
                first = texts_used
                while True:
                    count, after = _read_count(data, pos, end, 1)
                    if after < 0:
                        error = -after
                        break
                    pos = after
                    if count == 0:
                        break
                    for _ in range(count):
                        branch = 1 - a
                        if a >= 0:
                            branch, after = _read_long(data, pos, end)
                            if after < 0:
                                error = -after
                                break
                            if branch < 0 or branch > 1:
                                error = BAD_BRANCH
                                break
                            pos = after
                        if branch == a:
                            flat_at[texts_used] = 0
                            flat_length[texts_used] = -1
                        else:
                            where, size = _read_slice(data, pos, end, True)
                            if size < 0:
                                error = -size
                                break
                            flat_at[texts_used] = where
                            flat_length[texts_used] = size
                            pos = where + size
                        texts_used += 1
                    if error != FINE:
                        break
                if error != FINE:
                    break
                seq_at[row, slot] = first
                seq_count[row, slot] = texts_used - first
            pc += 1
        if error == FINE and pos < end:
            error = TRAILING
        errors[row] = error
        error_at[row] = pos - start
        error_op[row] = pc


@compiled
def _write_long(out: U8, pos: int, value: int) -> int:
    rest = (np.uint64(value) << _U1) ^ np.uint64(value >> 63)
    while rest >= _U128:
        out[pos] = np.uint8((rest & _U127) | _U128)
        rest >>= _U7
        pos += 1
    out[pos] = np.uint8(rest)
    return pos + 1


@compiled
def _write_8(out: U8, pos: int, word: Any) -> int:
    """The reverse of :func:`_read_8`; compiles to one store."""
    p = np.uint64(pos)
    out[p] = np.uint8(word & np.uint64(255))
    out[p + _U1] = np.uint8((word >> _U8) & np.uint64(255))
    out[p + np.uint64(2)] = np.uint8((word >> np.uint64(16)) & np.uint64(255))
    out[p + np.uint64(3)] = np.uint8((word >> np.uint64(24)) & np.uint64(255))
    out[p + np.uint64(4)] = np.uint8((word >> np.uint64(32)) & np.uint64(255))
    out[p + np.uint64(5)] = np.uint8((word >> np.uint64(40)) & np.uint64(255))
    out[p + np.uint64(6)] = np.uint8((word >> np.uint64(48)) & np.uint64(255))
    out[p + _U7] = np.uint8(word >> np.uint64(56))
    return pos + 8


@compiled
def _write_4(out: U8, pos: int, word: Any) -> int:
    for k in range(4):
        out[pos + k] = np.uint8((word >> np.uint64(8 * k)) & np.uint64(255))
    return pos + 4


@compiled
def _write_slice(out: U8, pos: int, data: U8, at: int, length: int) -> int:
    pos = _write_long(out, pos, length)
    # Unsigned, as in _write_8: an index that may be negative keeps a loop from being vectorised.
    to, source = np.uint64(pos), np.uint64(at)
    for k in range(np.uint64(length)):
        out[to + k] = data[source + k]
    return pos + length


@compiled
def encoded_bound(
    ops: I64, framing: int, length: I64, seq_at: I64, seq_count: I64, flat_length: I64
) -> int:
    """At least as many bytes as :func:`encode` will write."""
    total = 0
    for row in range(length.shape[0]):
        total += framing
        for pc in range(ops.shape[0]):
            op = ops[pc, 0]
            slot = ops[pc, 1]
            if op == DOUBLE:
                total += 8 * ops[pc, 2]
            elif op == TEXT:
                total += 10 + max(0, length[row, slot])
            elif op == NUMBERS:
                total += 11 + 8 * max(0, seq_count[row, slot])
            elif op == TEXTS:
                total += 11
                for k in range(seq_count[row, slot]):
                    total += 11 + max(0, flat_length[seq_at[row, slot] + k])
            else:
                total += 10
    return total


@compiled
def encode(
    header: U8,
    ops: I64,
    data: U8,
    numbers: F64,
    bits: U64,
    number_null: U8,
    integers: I64,
    integer_null: U8,
    at: I64,
    length: I64,
    seq_at: I64,
    seq_count: I64,
    flat_bits: U64,
    flat_at: I64,
    flat_length: I64,
    out: U8,
    ends: I64,
) -> tuple[int, int, int]:
    """The reverse of :func:`decode`, for plans of top-level fields that are all wanted. ``out`` has
    room for :func:`encoded_bound`. Fills the rows' ``ends``; returns the first error, or FINE, its
    row and its opcode."""
    steps = ops.shape[0]
    single = np.zeros(1, np.float32)
    as_bits = single.view(np.uint32)
    pos = 0
    for row in range(ends.shape[0]):
        for k in range(header.shape[0]):
            out[pos + k] = header[k]
        pos += header.shape[0]
        pc = 0
        while pc < steps:
            op = ops[pc, 0]
            slot = ops[pc, 1]
            a = ops[pc, 2]
            if op == DOUBLE:
                for k in range(a):
                    pos = _write_8(out, pos, bits[row, slot + k])
            elif op == FLOAT:
                single[0] = np.float32(numbers[row, slot])
                pos = _write_4(out, pos, np.uint64(as_bits[0]))
            elif op == BOOLEAN:
                out[pos] = np.uint8(1 if integers[row, slot] != 0 else 0)
                pos += 1
            elif op <= ENUM:
                value = integers[row, slot]
                if op == INT and (value > 2147483647 or value < -2147483648):
                    return BAD_INT, row, pc
                if op == ENUM and (value < 0 or value >= ops[pc, 3]):
                    return BAD_SYMBOL, row, pc
                pos = _write_long(out, pos, value)
            elif op == TEXT:
                if length[row, slot] < 0:
                    return MISSING, row, pc
                pos = _write_slice(out, pos, data, at[row, slot], length[row, slot])
            elif op == NULLABLE:
                kind = ops[pc, 4]
                null = (
                    (kind == ON_NUMBER and number_null[row, slot] != 0)
                    or (kind == ON_INTEGER and integer_null[row, slot] != 0)
                    or (kind == ON_TEXT and length[row, slot] < 0)
                    or (kind == ON_ARRAY and seq_count[row, slot] < 0)
                )
                pos = _write_long(out, pos, a if null else 1 - a)
                if null:
                    pc = ops[pc, 3]
                    continue
            else:
                count = seq_count[row, slot]
                first = seq_at[row, slot]
                if count < 0:
                    return MISSING, row, pc
                if count > 0:
                    pos = _write_long(out, pos, count)
                if op == NUMBERS:
                    for k in range(count):
                        pos = _write_8(out, pos, flat_bits[first + k])
                else:
                    for k in range(first, first + count):
                        if a >= 0:
                            pos = _write_long(out, pos, a if flat_length[k] < 0 else 1 - a)
                        if flat_length[k] >= 0:
                            pos = _write_slice(out, pos, data, flat_at[k], flat_length[k])
                        elif a < 0:
                            return MISSING, row, pc
                out[pos] = 0
                pos += 1
            pc += 1
        ends[row] = pos
    return FINE, 0, 0


@compiled
def cut(data: U8, ops: I64, jumps: I64, depth: int, left_out: I64, out: U8) -> int:
    """One unframed record into ``out``, which has its length, with the arrays that begin at opcodes
    of ``left_out`` empty. How long it is then; -error for what is none."""
    data = borrowed(data)
    out = borrowed(out)
    steps = ops.shape[0]
    end = data.shape[0]
    stack = np.zeros(depth + 1, np.int64)
    pos = 0
    copied = 0
    used = 0
    cutting = -1
    pc = 0
    top = 0
    error = FINE
    while error == FINE and pc < steps:
        op = ops[pc, 0]
        a = ops[pc, 2]
        if op <= ENUM and op >= LONG and op != BOOLEAN:
            _, pos = _read_long(data, pos, end)
        elif op == TEXT:
            first, size = _read_slice(data, pos, end, False)
            pos = first + size if size >= 0 else size
        elif op == FIXED:
            pos = pos + a if a <= end - pos else -TRUNCATED
        elif op == BOOLEAN:
            pos = pos + 1 if pos < end else -TRUNCATED
        elif op == UNION:
            branch, pos = _read_long(data, pos, end)
            if pos >= 0 and (branch < 0 or branch >= ops[pc, 3]):
                pos = -BAD_BRANCH
            if pos >= 0:
                pc = jumps[a + branch] - 1
        elif op == JUMP:
            pc = a - 1
        elif op == BLOCK_BEGIN:
            if left_out[pc] == 1 and cutting < 0:
                for k in range(copied, pos):
                    out[used + k - copied] = data[k]
                used += pos - copied
                cutting = pc
            count, pos = _read_count(data, pos, end, ops[pc, 3])
            if pos >= 0 and count == 0:
                if cutting == pc:
                    out[used] = 0
                    used += 1
                    copied = pos
                    cutting = -1
                pc = a - 1
            elif pos >= 0:
                stack[top] = count
                top += 1
        else:
            stack[top - 1] -= 1
            if stack[top - 1] > 0:
                pc = a
            else:
                top -= 1
                pc = a - 1
        if pos < 0:
            error = -pos
        pc += 1
    if error == FINE and pos < end:
        error = TRAILING
    if error != FINE:
        return -error
    for k in range(copied, pos):
        out[used + k - copied] = data[k]
    return used + pos - copied

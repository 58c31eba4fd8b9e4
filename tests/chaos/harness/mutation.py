"""Mutators over real records: of bytes, whatever they are; of what stands before an Avro body; of
JSON's structure; and of the headers that say whose a record is."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from driftloop.kernel.codec.framing import HEADER_LENGTH, ID_HEADER_LENGTH, MAGIC, MARKER
from driftloop.kernel.sharing import MODEL_HEADER

_INTERESTING = (
    b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xfe", b"\xc3\x01",
    b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80" * 12, b"\x01\x00",
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x00\x00\x00\x00\x00\x00\xf0\x7f",
    b"\xff\xff\xff\xff\xff\xff\xef\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
)  # fmt: skip
"""Ends of ranges: of varints, lengths, block counts and floats; and what is no UTF-8."""

HOSTILE_IDS = range(1, 20)
"""Ids under which the registry of these tests may hold something else than what is expected."""
FIRST_ID = 70_000
"""From here on it counts up what is registered."""
_IDS = (0, *HOSTILE_IDS, *range(FIRST_ID, FIRST_ID + 40), 2**31 - 1, 2**31, 2**32 - 1)

_TOKENS = (
    b"null", b"true", b"false", b"0", b"-0", b"1", b"-1", b"0.5", b"3.0", b"1e308", b"1e400",
    b"-1e400", b"1e-400", b"9007199254740993", b"2147483648", b"-2147483649",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
    b"18446744073709551616", b"1" * 400, b"1." + b"0" * 400, b"NaN", b"Infinity", b"-Infinity",
    b"0x10", b"01", b"+1", b"1_000", b"1.", b".5", b"''", b'""', b'"1"', b'"\\u0000"', b'"\\ud800"',
    b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\xc0\x80"',
    b'"' + b"x" * 1_024 + b'"', b'"' + "\u00fc".encode() * 513 + b'"', b'"' + b"x" * 20_000 + b'"',
    b"[]", b"{}", b"[null]", b'{"":{}}', b"[1,2,3]", b'["a",[{}]]', b"",
    b"[" + b"0," * 5_000 + b"0]",
    *(b"[" * depth + b"]" * depth for depth in (2, 100, 900, 980, 1_000, 1_023, 1_024, 50_000)),
    *(b'{"a":' * depth + b"0" + b"}" * depth for depth in (100, 950, 1_010, 1_100)),
    b"[" * 50_000,
)  # fmt: skip
"""Values of every JSON type, ends of ranges, text that is no UTF-8 or no JSON, and deep nesting."""

RawHeaders = list[tuple[bytes, bytes | None]]
"""As Kafka has them: nothing says that a header's name is UTF-8."""


def mutated(
    rng: random.Random, corpus: Sequence[bytes], original: bytes | None = None
) -> bytes | None:
    """A record with a few things done to it; now and then none at all."""
    if rng.random() < 0.01:
        return None
    value = rng.choice(corpus) if original is None else original
    if value[:1] == b"{" and rng.random() < 0.6:
        return _json_mutated(rng, value)
    if value[:1] == MAGIC and rng.random() < 0.2:
        return _reframed(rng, value)
    return _bytes_mutated(rng, value, corpus)


def headers_of(rng: random.Random, own: str, names: Sequence[str]) -> RawHeaders:
    """Headers of a record on a shared topic: mostly right, else wrong in some way, and often with
    others beside."""
    right = own.encode()
    if rng.random() < 0.6:
        found: RawHeaders = [(MODEL_HEADER.encode(), right)]
    else:
        found = _wrong_headers(rng, right, [name.encode() for name in names])
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        name = rng.choice((b"", b"a", "\u00fc".encode(), b"ce_id", b"\xff\xfe", b"driftloop"))
        found.insert(
            rng.randrange(len(found) + 1), (name, rng.choice((None, b"", rng.randbytes(5))))
        )
    return found


def _wrong_headers(rng: random.Random, right: bytes, names: Sequence[bytes]) -> RawHeaders:
    name = MODEL_HEADER.encode()
    other = rng.choice(names)
    match rng.randrange(10):
        case 0:
            return []
        case 1:
            return [(name, rng.choice((None, b"")))]
        case 2:
            return [(name, other)]
        case 3:
            return [(name, right), (name, other)]
        case 4:
            return [(name, other), (name, rng.choice((None, b"", b"\xff", b"nobody")))]
        case 5:
            return [(name, rng.choice((b"nobody", right.upper(), right + b"\0", b" " + right)))]
        case 6:
            return [(name, _flipped(rng, right))]
        case 7:
            return [(rng.choice((name.upper(), name + b"\0", name[:-1], b"\xff" + name)), right)]
        case 8:
            return [(name, right * rng.choice((2, 5_000)))]
        case _:
            return [(name, right), *([(b"x", b"y")] * 200), (_flipped(rng, name), other)]


def _flipped(rng: random.Random, text: bytes) -> bytes:
    data = bytearray(text)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _frame_length(value: bytes) -> int:
    """Bytes before the body: nobody would get past them if they were hit as often as the rest."""
    if value[:1] == MAGIC:
        return ID_HEADER_LENGTH
    return HEADER_LENGTH if value[:2] == MARKER else 0


def _reframed(rng: random.Random, value: bytes) -> bytes:
    """Another id, another framing, or a frame cut short, before the same body."""
    body = value[ID_HEADER_LENGTH:]
    match rng.randrange(5):
        case 0:
            return value[: rng.randrange(ID_HEADER_LENGTH + 2)]
        case 1:
            return MARKER + rng.randbytes(8) + body
        case 2:
            return MAGIC + rng.randbytes(4) + body
        case 3:
            return bytes([rng.randrange(256)]) + value[1:]
        case _:
            return MAGIC + rng.choice(_IDS).to_bytes(4, "big") + body


def _json_mutated(rng: random.Random, value: bytes) -> bytes:
    """Another value, once or twice, in a field of an object; or the object as it should not be."""
    try:
        document = json.loads(value)
        parts = [(json.dumps(k).encode(), json.dumps(v).encode()) for k, v in document.items()]
    except (ValueError, AttributeError):
        return value + rng.choice(_TOKENS)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(parts)) if parts else 0
        match rng.randrange(6):
            case 0 | 1 if parts:
                parts[at] = (parts[at][0], rng.choice(_TOKENS))
            case 2 if parts:
                parts.insert(rng.randrange(len(parts) + 1), (parts[at][0], rng.choice(_TOKENS)))
            case 3 if parts:
                del parts[at]
            case 4:
                parts.insert(at, (rng.choice((b'"more"', b'""', b'"\\u0000"')), b"[{}]"))
            case _:
                rng.shuffle(parts)
    made = b"{" + b",".join(b"%s: %s" % part for part in parts) + b"}"
    match rng.randrange(12):
        case 0:
            return rng.choice(_TOKENS)
        case 1:
            return b"[" + made + b"]"
        case 2:
            return rng.choice((b"\xef\xbb\xbf", b" \n\t", b"\0")) + made
        case 3:
            return made + rng.choice((b"\n", b"{}", b"\0", made))
        case 4:
            return made[: rng.randrange(len(made) + 1)]
        case 5:
            return made.decode(errors="replace").encode(rng.choice(("utf-16", "utf-32")))
        case _:
            return made


def _bytes_mutated(rng: random.Random, value: bytes, corpus: Sequence[bytes]) -> bytes:
    data, frame = bytearray(value), _frame_length(value)
    # Mostly few: many changes end at the first check.
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        if len(data) > frame + 1 and rng.random() < 0.9:
            at = rng.randrange(frame, len(data) + 1)
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                some = rng.choice(_INTERESTING)
                data[at : at + len(some)] = some
            case 3:
                data[at:at] = rng.choice(_INTERESTING)
            case 4:
                del data[at : at + rng.choice((1, 1, 2, 8, 64))]
            case 5:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case 6:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case 7:
                data[at:at] = rng.randbytes(rng.choice((1, 3, 17, 300)))
    return bytes(data)

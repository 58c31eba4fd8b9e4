"""Single records through fastavro: control records, tools and tests. Batches of rows have a
compiled path (``codec.columns``)."""

from __future__ import annotations

import io
import re
from collections.abc import Set
from typing import Any, Generic, TypeVar

import fastavro
import numpy as np

from driftloop.kernel import records
from driftloop.kernel.codec import framing, wire
from driftloop.kernel.codec.kernels import cut
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.codec.plan import Cut, compile_cut
from driftloop.kernel.errors import DecodeError, SchemaError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.schemas import Schema, record_schema, schema_versions

T = TypeVar("T")


class RecordCodec(Generic[T]):
    """Encodes one kind of record with its newest schema and decodes it from any version of it."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self.name = schema_name(kind)
        self.schema = record_schema(self.name)
        self._writers: dict[bytes, Schema] = {}
        self._cuts: dict[tuple[bytes, frozenset[str]], Cut] = {}
        for version in schema_versions()[self.name]:
            schema = record_schema(self.name, version)
            self._writers[schema.fingerprint] = schema

    def encode(self, record: T, within: wire.Wire | None = None) -> bytes:
        """Framed bytes; ``within`` another wire than the process's.

        Raises :class:`SchemaError` when the record does not fit its schema."""
        return (within or wire.in_force()).header(self.schema) + self.encode_body(to_plain(record))

    def encode_body(self, plain: Any) -> bytes:
        """A dict of plain values, without framing."""
        out = io.BytesIO()
        try:
            fastavro.schemaless_writer(out, self.schema.parsed, plain)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SchemaError(f"a {self.name} does not fit its schema: {error}") from error
        return out.getvalue()

    def decode(
        self,
        data: bytes | None,
        within: wire.Wire | None = None,
        leaving_out: Set[str] = frozenset(),
    ) -> T:
        """``leaving_out``: names of fields, wherever they are, that are arrays; these come empty,
        which spares a reader that has no use for them most of the time. Of what is in them nothing
        is checked but that it can be passed over.

        Raises :class:`DecodeError`: fastavro reads garbage without complaint, so the schema must be
        known and the bytes used up."""
        if data is None:
            raise DecodeError(Reason.EMPTY, f"a {self.name} was expected, this is a tombstone")
        frame = framing.frame_of(data)
        if frame.schema_id:
            writer = (within or wire.in_force()).resolved(frame.schema_id, self.schema)
        else:
            known = self._writers.get(frame.fingerprint)
            if known is None:
                raise DecodeError(
                    Reason.WRONG_SCHEMA,
                    f"fingerprint {data[2:10].hex()} is no version of schema {self.name!r}",
                )
            writer = known
        body = data[frame.length :]
        if leaving_out:
            body = _shortened(body, self._cut(writer, leaving_out))
        plain = read_avro(writer, body, reader=self.schema)
        try:
            return from_plain(self.kind, plain)
        except (KeyError, TypeError, ValueError) as error:
            raise DecodeError(Reason.MALFORMED, f"no {self.name}: {error}") from error

    def _cut(self, writer: Schema, names: Set[str]) -> Cut:
        key = (writer.fingerprint, frozenset(names))
        if key not in self._cuts:
            self._cuts[key] = compile_cut(writer, names)
        return self._cuts[key]


def _shortened(body: bytes, how: Cut) -> bytes:
    """What no record can be stays as it is: whoever reads it says what is wrong."""
    out = np.empty(len(body), dtype=np.uint8)
    data = np.frombuffer(body, dtype=np.uint8)
    length = cut(data, how.ops, how.jumps, how.depth, how.left_out, out)
    return out[:length].tobytes() if length >= 0 else body


def read_avro(writer: Schema, body: bytes, *, reader: Schema | None = None) -> Any:
    """Plain values from an unframed body. Raises :class:`DecodeError`."""
    buffer = io.BytesIO(body)
    same = reader is None or reader.fingerprint == writer.fingerprint
    resolve = None if reader is None or same else reader.parsed
    try:
        plain = fastavro.schemaless_reader(buffer, writer.parsed, resolve)
    except EOFError as error:
        raise DecodeError(Reason.TRUNCATED, f"ends inside a {writer.name}") from error
    except UnicodeDecodeError as error:
        raise DecodeError(Reason.NOT_UTF8, f"a string of a {writer.name}: {error}") from error
    except fastavro.read.SchemaResolutionError as error:
        raise DecodeError(Reason.WRONG_SCHEMA, f"no {writer.name}: {error}") from error
    except (IndexError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise DecodeError(Reason.MALFORMED, f"no {writer.name}: {error!r}") from error
    left = len(body) - buffer.tell()
    if left:
        raise DecodeError(Reason.TRAILING_BYTES, f"{left} bytes after the end of a {writer.name}")
    return plain


def codec(kind: type[T]) -> RecordCodec[T]:
    """The codec of one of ``records.RECORDS``; made once."""
    found = _CODECS.get(kind)
    if found is None:
        if kind not in records.RECORDS:
            raise SchemaError(f"{kind.__name__} is no record of driftloop")
        found = _CODECS[kind] = RecordCodec(kind)
    return found


_CODECS: dict[type, RecordCodec[Any]] = {}


def schema_name(kind: type) -> str:
    """``DeadLetter`` has its schema in ``dead-letter.N.avsc``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()

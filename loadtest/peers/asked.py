"""What a peer is told, and what all of them need."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import orjson

from driftloop.kernel.codec import framing
from driftloop.kernel.schemas import parse_schema, record_schema


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records to work on; written to a file, as JSON."""

    bootstrap: str
    topic: str
    starts: Mapping[str, int]
    """Per partition, the offset to begin at."""
    rows: int
    """How many to take, from whatever partition they come."""
    width: int
    edges: Sequence[Sequence[float]] = ()
    """Of statistics: the reference bins of each feature and the score."""
    window_ms: int = 0
    out: str = ""
    """Of inference: the topic of predictions."""
    payload: int = 0
    take: int = 0
    """Of Faust: rows handed over together; 0: one by one."""
    variables: Mapping[str, str] = field(default_factory=dict)


def main(work: Callable[[Asked], Mapping[str, Any]]) -> None:
    """``python -m loadtest.peers.NAME FILE``; prints one line of JSON."""
    found = work(Asked(**orjson.loads(Path(sys.argv[1]).read_bytes())))
    sys.stdout.write(orjson.dumps(found).decode() + "\n")


def plain_schema(text: str) -> Any:
    """For fastavro, without logical types: it would make a datetime of every time stamp, which
    costs more than all the rest of a record and is not asked for."""

    def strip(node: Any) -> Any:
        if isinstance(node, list):
            return [strip(each) for each in node]
        if isinstance(node, dict):
            return {k: strip(v) for k, v in node.items() if k != "logicalType"}
        return node

    return fastavro.parse_schema(strip(json.loads(text)))


def prediction_schema() -> Any:
    return plain_schema(record_schema("prediction").text)


def prediction_header() -> bytes:
    return framing.header(record_schema("prediction").fingerprint)


def event_reader(text: str) -> Any:
    return plain_schema(parse_schema(text).text)


def reader(schema: Any) -> Callable[[bytes], dict[str, Any]]:
    """A framed record to a dict; the frame is skipped, not checked."""
    read, buffer_of, skip = fastavro.schemaless_reader, io.BytesIO, framing.HEADER_LENGTH

    def decode(value: bytes) -> dict[str, Any]:
        buffer = buffer_of(value)
        buffer.seek(skip)
        found: dict[str, Any] = read(buffer, schema, None)
        return found

    return decode


def writer(schema: Any, header: bytes) -> Callable[[dict[str, Any]], bytes]:
    write, buffer_of = fastavro.schemaless_writer, io.BytesIO

    def encode(record: dict[str, Any]) -> bytes:
        buffer = buffer_of()
        buffer.write(header)
        write(buffer, schema, record)
        return buffer.getvalue()

    return encode

"""``python -m loadtest.http_parts.client PORT PATH BODY_FILE CONNECTIONS SECONDS [JSON_LENGTH]``: a
load of requests over connections kept open, each sending the next one when it has been answered.

A process of its own, written on the bare protocol so that it takes little of the machine. Prints
one JSON object.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import orjson
import uvloop
from typing_extensions import override

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(slots=True)
class Load:
    request: bytes
    going: bool = True
    answered: int = 0
    failed: int = 0
    last: bytes = b""
    seconds: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._rest = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    @override
    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        head = data.find(_END)
        if head < 0:
            self._rest = data
            return
        at = data[:head].lower().find(_LENGTH)
        length = int(data[at + len(_LENGTH) : head].partition(b"\r\n")[0])
        if len(data) < head + len(_END) + length:
            self._rest = data
            return
        self._rest = b""
        load = self._load
        load.answered += 1
        load.failed += data[9:12] != b"200"
        load.last = data[head + len(_END) :]
        load.seconds.append(time.perf_counter() - self._sent)
        if load.going:
            self._send()
        elif self._transport is not None:
            self._transport.close()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(self._load.request)


async def run(port: int, load: Load, connections: int, seconds: float) -> float:
    """Requests per second."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    load.going = False
    return load.answered / (time.perf_counter() - started)


def main(
    port: str, path: str, body: str, connections: str, seconds: str, json_length: str = ""
) -> None:
    content = Path(body).read_bytes()
    further = f"Inference-Header-Content-Length: {json_length}\r\n" if json_length else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{further}Content-Length: {len(content)}\r\n\r\n"
    )
    load = Load(head.encode() + content)
    rate = uvloop.run(run(int(port), load, int(connections), float(seconds)))
    times = sorted(load.seconds)
    shown = {
        "answered": load.answered,
        "failed": load.failed,
        "per_second": rate,
        "p50_ms": times[len(times) // 2] * 1e3 if times else None,
        "p99_ms": times[len(times) * 99 // 100] * 1e3 if times else None,
        "last": load.last.decode(),
    }
    sys.stdout.write(orjson.dumps(shown).decode() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Predictions over HTTP: our service against FastAPI, MLServer, and aiohttp with River.

Every server gets the same bytes over 32 connections that stay open, and answers from the same tree
(River's own, or frozen). Ours checks them, and writes every prediction to a real Kafka; its peers
do neither. What is compared is the processor time of the server's process per request: on a shared
machine of few cores the requests per second, which are reported too, depend on who else runs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.adapters.broker import LocalBroker
from driftloop.kernel.settings import Settings
from loadtest.http_parts import mlserver_peer, ours
from loadtest.http_parts import model as parts
from loadtest.measure import plain, ratio, setting

NAMES = ("driftloop", "fastapi", "aiohttp_river", "mlserver")
ROUNDS = 7
SECONDS = 1.5
CONNECTIONS = 32
_PATH = f"/v2/models/{parts.NAME}/infer"
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    port: int
    process: psutil.Process

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Round:
    """What one load on one server came to."""

    cpu_us: float
    """Per request."""
    per_second: float
    p99_ms: float
    answered: int


class Body:
    """A request's body, as bytes and in a file."""

    def __init__(self, directory: Path, name: str, content: bytes, json_length: int = 0) -> None:
        self.content = content
        self.json_length = str(json_length) if json_length else ""
        self.path = directory / f"{name}.body"
        self.path.write_bytes(content)

    def headers(self) -> dict[str, str]:
        if not self.json_length:
            return {"Content-Type": "application/json"}
        return {"Inference-Header-Content-Length": self.json_length}


def run() -> dict[str, Any]:
    """Outputs are compared before anything is timed."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        every = servers(stack, directory)
        pair = {name: every[name] for name in ("driftloop", "aiohttp_river")}
        single_row = Body(directory, "one", parts.request(1))
        json = Body(directory, "json", parts.request(64))
        binary = Body(directory, "binary", *parts.binary_request(64))
        _compare(every, single_row, 1)
        _compare(every, json, 64)
        _compare(pair, binary, 64)
        sys.stderr.write("equal outputs; timing\n")
        others = {name: server for name, server in every.items() if name != "aiohttp_river"}
        single = _measure(others, single_row)
        many = _measure(pair, binary)
        many_json = _measure(pair, json)
    return {
        "name": "http",
        "connections": CONNECTIONS,
        **plain(
            vs_fastapi=_ratio(single, "fastapi"),
            vs_mlserver=_ratio(single, "mlserver"),
            rows64_vs_aiohttp_river=_ratio(many, "aiohttp_river"),
            rows64_json_vs_aiohttp_river=_ratio(many_json, "aiohttp_river"),
        ),
        "single_row": {name: _shown(rounds) for name, rounds in single.items()},
        "rows64": {name: _shown(rounds) for name, rounds in many.items()},
        "rows64_json": {name: _shown(rounds) for name, rounds in many_json.items()},
        "setting": setting(
            "aiohttp", "confluent-kafka", "fastapi", "httptools", "orjson", "river", "uvicorn",
            "uvloop",
        )
        | {"mlserver": _pinned("mlserver")},
    }  # fmt: skip


def servers(stack: ExitStack, directory: Path, names: Sequence[str] = NAMES) -> dict[str, Server]:
    """Those of ``names``, answering; stopped with ``stack``."""
    artifacts = directory / "artifacts"
    path, digest = parts.publish(DirectoryStore(artifacts))
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not bootstrap:
        bootstrap = stack.enter_context(LocalBroker(directory / "kafka")).bootstrap
    settings = Settings(bootstrap=bootstrap, directory=directory, prefix=f"bench-{os.getpid()}.")
    ours.deploy(settings, path, digest)
    frozen = [str(artifacts), path, digest]
    commands: dict[str, Callable[[int], tuple[list[str], Mapping[str, str]]]] = {
        "driftloop": lambda port: (
            [sys.executable, "-m", "driftloop.inference"],
            {**os.environ, **settings.environment(), "DRIFTLOOP_HTTP_PORT": str(port)},
        ),
        "fastapi": lambda port: (_module("fastapi_peer", port, frozen), os.environ),
        "aiohttp_river": lambda port: (_module("aiohttp_peer", port, ()), os.environ),
        "mlserver": lambda port: (
            mlserver_peer.command(directory, artifacts, path, digest, port),
            mlserver_peer.variables(),
        ),
    }
    started = {}
    for name in names:
        port = _free_port()
        words, variables = commands[name](port)
        log = stack.enter_context((directory / f"{name}.log").open("wb"))
        process = subprocess.Popen(words, env={**variables, **_ONE_THREAD}, stdout=log, stderr=log)
        stack.callback(_stop, process)
        started[name] = Server(port, psutil.Process(process.pid))
        _wait(name, port, process, directory / f"{name}.log")
    return started


_ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def _module(name: str, port: int, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", f"loadtest.http_parts.{name}", str(port), *arguments]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers a request."""
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            _ask(port, parts.request(1), {"Content-Type": "application/json"})
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not answer: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def _ask(port: int, body: bytes, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{_PATH}", body, dict(headers))
    with urllib.request.urlopen(request, timeout=30) as answer:
        return orjson.loads(answer.read())


def _compare(servers: Mapping[str, Server], body: Body, count: int) -> None:
    expected = parts.asked(parts.trained(), parts.rows(count))
    for name, server in servers.items():
        output = _ask(server.port, body.content, body.headers())["outputs"][0]
        np.testing.assert_allclose(
            np.ravel(output["data"]), expected, rtol=0, atol=1e-9, err_msg=name
        )


def _measure(servers: Mapping[str, Server], body: Body) -> dict[str, list[Round]]:
    """In turn, the order turning with each round; one round before is not counted."""
    names = list(servers)
    rounds: dict[str, list[Round]] = {name: [] for name in names}
    for turn in range(-1, ROUNDS):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found = load(servers[name], body)
            if turn >= 0:
                rounds[name].append(found)
        sys.stderr.write(f"round {turn + 1} of {ROUNDS}\n")
    return rounds


def load(server: Server, body: Body, seconds: float = SECONDS) -> Round:
    """Send one body over all connections, again and again."""
    words = [str(server.port), _PATH, str(body.path), str(CONNECTIONS), str(seconds)]
    words += [body.json_length] if body.json_length else []
    before = server.cpu()
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.http_parts.client", *words],
        stdout=subprocess.PIPE,
        check=True,
    )
    spent = server.cpu() - before
    said = orjson.loads(done.stdout)
    if said["failed"] or not said["answered"]:
        raise RuntimeError(f"requests failed: {said}")
    return Round(
        spent / said["answered"] * 1e6, said["per_second"], said["p99_ms"], said["answered"]
    )


def _ratio(rounds: Mapping[str, list[Round]], peer: str) -> dict[str, float]:
    return ratio(
        [found.cpu_us for found in rounds[peer]], [found.cpu_us for found in rounds["driftloop"]]
    )


def _shown(rounds: Sequence[Round]) -> dict[str, float]:
    return {
        "cpu_us_per_request": statistics.median(found.cpu_us for found in rounds),
        "requests_per_s": statistics.median(found.per_second for found in rounds),
        "p99_ms": statistics.median(found.p99_ms for found in rounds),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _pinned(package: str) -> str:
    lines = mlserver_peer.PINS.read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))

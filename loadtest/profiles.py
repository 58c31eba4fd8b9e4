"""``python -m loadtest NAME --profile``: where the processor time of ours goes in a benchmark.

Threads that run Python are sampled by py-spy; compiled code counts as the function that called it.
What librdkafka's own threads take is the operating system's account of them. Kept in
``loadtest/results/profiles``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loadtest import http, inference, statistics
from loadtest.ground import fill_events, fill_predictions, ground, put_in_service
from loadtest.http_parts import model as parts
from loadtest.members import Sampling, run_members
from loadtest.river_tree import frozen
from loadtest.stream import declared

_RATE = 200
"""Samples per second."""
_ATTACH_S = 30.0
_STOP_S = 60.0
_EVENTS = 3_000_000
_HTTP_S = 15.0
_SHOWN = 30
_LEAST = 0.01
"""Share of a function that is told."""
_FRAME = re.compile(r"^(?P<name>.*) \((?P<where>[^()]*)\)$")


def run(name: str) -> dict[str, Any]:
    """The profile of one benchmark: how many samples; the share of each function by itself and
    with what it calls; and microseconds per event, or request, of each thread where known."""
    return {"name": name, **PROFILED[name]()}


def _inference() -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        ground(Path(directory)) as on,
    ):
        put_in_service(
            on, declared(inference.NAME, features=inference.WIDTH), frozen(inference.WIDTH)
        )

        def fill(first: int, count: int) -> Callable[[Callable[[], None]], None]:
            return lambda begin: fill_events(
                on, inference.NAME, inference.WIDTH, 0, first, count, begin
            )

        asked = inference.member(on)
        run_members(on, asked, fill(0, _EVENTS // 10))  # compiles, loads, warms
        with _samples() as (sampling, found):
            spent = run_members(on, asked, fill(_EVENTS, _EVENTS), sampling=sampling)
    return _shown(found, spent.threads, _EVENTS)


def _statistics() -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="driftloop-load-") as directory,
        ground(Path(directory)) as on,
    ):
        put_in_service(on, declared(statistics.NAME, features=statistics.WIDTH))

        def fill(first: int, count: int) -> Callable[[Callable[[], None]], None]:
            return lambda begin: fill_predictions(
                on, statistics.NAME, statistics.WIDTH, first, count, begin
            )

        asked = statistics.member(on, "sketch", "profiled")
        run_members(on, asked, fill(0, _EVENTS // 10))
        with _samples() as (sampling, found):
            spent = run_members(on, asked, fill(_EVENTS, _EVENTS), sampling=sampling)
    return _shown(found, spent.threads, _EVENTS)


def _http() -> dict[str, Any]:
    """The request that falls short of what is wanted: 64 rows as bytes."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = http.servers(stack, directory, ["driftloop"])["driftloop"]
        body = http.Body(directory, "binary", *parts.binary_request(64))
        http.load(server, body)
        threads = {thread.id: thread for thread in server.process.threads()}
        with _samples() as (sampling, found), sampling(server.process.pid):
            done = http.load(server, body, _HTTP_S)
        spent: Counter[str] = Counter()
        for thread in server.process.threads():
            before = threads.get(thread.id)
            used = thread.user_time + thread.system_time
            used -= before.user_time + before.system_time if before else 0.0
            spent[_thread(server.process.pid, thread.id)] += used
    return _shown(found, spent, done.answered)


def _thread(pid: int, thread: int) -> str:
    try:
        name = Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:  # it has ended
        return "ended"
    return name.rstrip("0123456789-_")


PROFILED: Mapping[str, Callable[[], dict[str, Any]]] = {
    "http": _http,
    "inference": _inference,
    "statistics": _statistics,
}


@contextmanager
def _samples() -> Iterator[tuple[Sampling, list[str]]]:
    """What samples a process, and the stacks it has found when it is left."""
    stacks: list[str] = []

    @contextmanager
    def sampling(pid: int) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "stacks"
            process = _attach(pid, path)
            try:
                yield
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(_STOP_S)
            stacks.extend(path.read_text(encoding="utf-8").splitlines())

    yield sampling, stacks


def _attach(pid: int, path: Path) -> subprocess.Popen[str]:
    command = [
        str(Path(sys.executable).with_name("py-spy")),
        *("record", "--nolineno", "--rate", str(_RATE), "--format", "raw"),
        *("--pid", str(pid), "--output", str(path)),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    assert process.stdout is not None
    said = []
    while line := process.stdout.readline():
        said.append(line)
        if "Sampling process" in line:
            return process
    raise RuntimeError(f"py-spy ended with {process.wait(_ATTACH_S)}: {''.join(said)}")


def _shown(stacks: list[str], threads: Mapping[str, float], count: int) -> dict[str, Any]:
    per_event = {name: used / count * 1e6 for name, used in threads.items()}
    return {
        **summary(stacks),
        "us_by_thread": dict(sorted(per_event.items(), key=lambda item: -item[1])),
        "events": count,
    }


def summary(stacks: list[str]) -> dict[str, Any]:
    """Of collapsed stacks, each ``frame;frame;... samples``, outermost first: the functions that
    take the most, with what they call."""
    alone: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for stack in stacks:
        text, _, number = stack.rpartition(" ")
        frames = [_function(frame) for frame in text.split(";")]
        total += int(number)
        alone[frames[-1]] += int(number)
        whole.update(dict.fromkeys(frames, int(number)))
    shares = {
        name: {"alone": alone[name] / total, "with what it calls": taken / total}
        for name, taken in whole.most_common()
        if taken / total >= _LEAST
    }
    dearest = sorted(shares, key=lambda name: -shares[name]["with what it calls"])
    return {"samples": total, "functions": {name: shares[name] for name in dearest[:_SHOWN]}}


def _function(frame: str) -> str:
    """Function and file."""
    found = _FRAME.match(frame)
    if found is None:
        return frame
    where = found["where"].rpartition("services/")[2]
    return f"{found['name']} ({where})"

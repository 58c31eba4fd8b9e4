"""The load generator: a process of its own that produces events and their labels.

``python -m loadtest.generator '{...}'``; the argument is :class:`Load` as JSON. It ends when all is
acknowledged and prints what it did as one line of JSON.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import orjson

from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.kafka.configuration import Configuration
from driftloop.adapters.kafka.native.producing import TransactionalProducer
from driftloop.kernel.ports import Send
from loadtest.stream import Encoder, Rows, Stream

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What to produce."""

    bootstrap: str
    model: str
    features: int
    events: int
    first: int = 0
    """Number of the first row."""
    rate: float = 0.0
    """Events per second, sent on time whatever becomes of them; 0: as fast as they are taken."""
    in_flight: int = 200_000
    """Without a rate: how many events may lack their outcome."""
    tick_s: float = 0.02
    label_delay_ms: int = 1000
    payload: int = 0
    labels: bool = True


def run(load: Load, outcomes: Callable[[], int]) -> dict[str, float]:
    """Produce the load; ``outcomes`` counts the outcomes in the log."""
    # Without delivery reports: the cheapest a producer can be.
    options = Configuration(load.bootstrap).producer()
    if not load.rate:
        # Nobody waits for a single event: batches may fill.
        options["linger.ms"] = 20
    options["delivery.report.only.error"] = True
    producer = TransactionalProducer(options)
    stream, encoder = Stream(load.features), Encoder(load.features, load.payload)
    waiting: deque[tuple[int, Rows]] = deque()
    before = outcomes()
    look_at, done = 0.0, 0
    sent = 0
    started = time.monotonic()
    cpu = time.process_time()
    while sent < load.events or waiting:
        now = time.monotonic()
        if load.rate:
            due = min(load.events, due_by(now - started, load.rate))
        else:
            if now >= look_at:
                done, look_at = outcomes() - before, now + _LOOK_EVERY_S
            due = min(load.events, sent + 4096, done + load.in_flight)
        clock = time.time_ns() // 1_000_000
        if due > sent:
            rows = stream.rows(load.first + sent, due - sent)
            at = np.full(due - sent, clock, np.int64)
            if load.rate:
                # When each was due, not when it was sent: a generator that falls behind must not
                # make the loop look fast.
                lag = (now - started - np.arange(sent, due) / load.rate) * 1000.0
                at -= lag.astype(np.int64)
            producer.send(Send(f"{load.model}.events", rows.ids, encoder.events(rows, at)))
            if load.labels:
                waiting.append((clock + load.label_delay_ms, rows))
            sent = due
        while waiting and (waiting[0][0] <= clock or sent >= load.events):
            _, rows = waiting.popleft()
            observed = np.full(len(rows.ids), clock, np.int64)
            values = encoder.labels(rows, observed)
            producer.send(Send(f"{load.model}.labels", rows.ids, values))
        if load.rate or due <= sent:
            time.sleep(load.tick_s if load.rate else 0.005)
    left = producer.flush(60.0)
    seconds = time.monotonic() - started
    producer.close()
    return {"events": sent, "left": left, "seconds": seconds, "cpu": time.process_time() - cpu}


def due_by(seconds: float, rate: float) -> int:
    """How many events are due so long after the start: number k at k / rate, the first at once."""
    return int(seconds * rate) + 1


def main(words: list[str]) -> int:
    load = Load(**orjson.loads(words[0]))
    log = KafkaLog(load.bootstrap)
    topic = f"{load.model}.outcomes"

    def outcomes() -> int:
        return sum(log.end_offsets([topic]).values())

    sys.stdout.write(orjson.dumps(run(load, outcomes)).decode() + "\n")
    return 0


def command(load: Load) -> list[str]:
    """How to start one."""
    return [sys.executable, "-m", "loadtest.generator", orjson.dumps(asdict(load)).decode()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

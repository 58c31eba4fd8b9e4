"""The producer as a process of its own: open loop, at a steady rate, whatever becomes of the rest.

``python -m harness.producing JSON``; a line of JSON a few times a second says how far it is. It
ends when its standard input does: it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from . import model
from .model import Scale
from .traffic import EARLY_MS, LabelQueue, Message, Traffic

_TURN_S = 0.02
_MOST = 1_000
"""Slots in one turn."""
_TELL_EVERY_S = 0.2
_FLUSH_S = 300.0
_PAUSE = threading.Event()
"""Never set: waiting for it is the pace of the load."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one producer is to send."""

    bootstrap: str
    events: str
    """Topic."""
    labels: str
    seed: int
    scale: Scale


class Sender:
    """Counts what was sent and what was acknowledged."""

    def __init__(self, bootstrap: str) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.failed = ""
        self._client = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                # A broker that restarts is no reason to lose anything.
                "delivery.timeout.ms": 600_000,
                "queue.buffering.max.messages": 400_000,
                "reconnect.backoff.max.ms": 500,
                "on_delivery": self._delivered,
                "log_level": 0,
                "error_cb": lambda error: None,
            }
        )

    def send(self, topic: str, messages: Sequence[Message]) -> None:
        for key, value, partition, headers in messages:
            where: dict[str, Any] = {} if partition is None else {"partition": partition}
            if headers is not None:
                where["headers"] = headers
            while True:
                try:
                    self._client.produce(topic, value, key, **where)
                    break
                except BufferError:
                    self._client.poll(0.05)
            self.sent += 1
            if self.sent % 1000 == 0:
                self._client.poll(0)
        self._client.poll(0)

    def flush(self) -> None:
        self._client.flush(_FLUSH_S)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self.failed = str(error)


def sent_by(seconds: float, scale: Scale) -> int:
    """How many events should have been sent after so long."""
    return min(scale.events, int(seconds * scale.rate))


def _produce(order: Order) -> None:
    traffic = Traffic(order.seed, order.scale)
    scale = order.scale
    sender = Sender(order.bootstrap)
    labels = LabelQueue()
    slots: list[list[Message]] = []
    """Events generated and not sent."""
    generated = sent = 0
    began = time.monotonic()
    told = began

    def tell(*, done: bool = False) -> None:
        line = {"slots": sent, "sent": sender.sent, "acknowledged": sender.acknowledged,
                "failed": sender.failed, "done": done}  # fmt: skip
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    tell()
    while sent < scale.events:
        now = time.monotonic()
        # What piled up while the broker was away goes in turns too: progress is told in between.
        due = min(sent_by(now - began, scale), sent + _MOST)
        if due == sent:
            _PAUSE.wait(_TURN_S)
            continue
        position = model.BEGIN_MS + due * scale.step_ms
        while generated < traffic.chunks and (
            model.BEGIN_MS + generated * 1000 * scale.step_ms <= position + EARLY_MS
        ):
            chunk = traffic.chunk(generated)
            generated += 1
            slots += traffic.events(chunk)
            for at, message in traffic.labels(chunk):
                labels.put(at, message)
        sender.send(order.labels, labels.until(position))
        sender.send(order.events, [message for slot in slots[: due - sent] for message in slot])
        del slots[: due - sent]
        sent = due
        if now - told > _TELL_EVERY_S:
            told = now
            tell()
        _PAUSE.wait(max(0.0, _TURN_S - (time.monotonic() - now)))
    sender.send(order.labels, labels.until(float("inf")))
    _close(order, sender, 0)
    tell(done=True)


def _close(order: Order, sender: Sender, turn: int) -> None:
    events, labels = Traffic(order.seed, order.scale).closers(turn)
    sender.send(order.events, events)
    sender.send(order.labels, labels)
    sender.flush()


def close(order: Order, turn: int) -> None:
    """Send the closing events of a later round, from this process. Raises RuntimeError."""
    sender = Sender(order.bootstrap)
    _close(order, sender, turn)
    if sender.acknowledged != sender.sent:
        raise RuntimeError(f"{sender.acknowledged} of {sender.sent} closing events were taken")


class ProducerProcess:
    """The process, and what it last said."""

    def __init__(self, order: Order) -> None:
        here = Path(__file__).resolve().parents[1]
        paths = [str(here), os.environ.get("PYTHONPATH")]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.producing", json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self.said: dict[str, Any] = {"slots": 0, "done": False, "failed": ""}
        self._thread = threading.Thread(target=self._listen, name="producer", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def slots(self) -> int:
        """How many were sent by now."""
        return int(self.said["slots"])

    @property
    def done(self) -> bool:
        """Whether everything was sent and acknowledged. Raises RuntimeError when it failed."""
        if self.said["failed"]:
            raise RuntimeError(f"the producer could not send: {self.said['failed']}")
        if self.said["done"]:
            if self.said["acknowledged"] != self.said["sent"]:
                raise RuntimeError(f"not everything was acknowledged: {self.said}")
            return True
        if self._process.poll() is not None:
            raise RuntimeError(f"the producer ended with exit code {self._process.returncode}")
        return False

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.said = json.loads(line)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main(words: Sequence[str]) -> None:
    given = json.loads(words[0])
    given["scale"] = Scale(**given["scale"])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _produce(Order(**given))


if __name__ == "__main__":
    main(sys.argv[1:])

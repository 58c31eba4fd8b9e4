"""A gateway and an endpoint over a log in memory, and requests for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from driftloop.adapters.clock import ManualClock
from driftloop.inference.core import Serving
from driftloop.inference.endpoint import InferenceEndpoint
from driftloop.inference.gateway import Gateway, Limits
from driftloop.inference.jobs import Job
from driftloop.inference.protocol import Answer, parse_request
from driftloop.inference.rows import RowReader
from driftloop.inference.tensors import ProtocolError
from driftloop.inference.versions import NEWEST, LoadingError
from driftloop.kernel.codec.blocks import F64, Features
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration, EventFields, Format, HttpPolicy
from driftloop.kernel.ports import Send
from driftloop.kernel.records import Prediction
from driftloop.kernel.schemas import parse_schema
from driftloop.models.ports import FrozenModel
from window_builders import CountingMeter, declaration

SCHEMA = {
    "type": "record",
    "name": "E",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "x", "type": ["null", "double"]},
        {"name": "y", "type": "double"},
        {"name": "kind", "type": ["null", "string"]},
    ],
}
MODEL = replace(
    declaration(),
    events=EventFields(
        Format.JSON, parse_schema(json.dumps(SCHEMA)), "id", "time", 0, 1 << 40, 1 << 62
    ),
)
STRICT = replace(MODEL, http=HttpPolicy(strict=True))
NOW = 1_000_000


@dataclass(frozen=True)
class Weighted:
    """Scores a row by its first number times a factor; counts how often it is asked."""

    factor: float = 1.0
    asked: list[int] = field(default_factory=list)

    def score(self, features: Features) -> F64:
        self.asked.append(len(features.numeric))
        return np.nan_to_num(features.numeric[:, :1] * self.factor)


class FakeModels:
    """Champion 3, shadow 4; versions up to 5 were published, and are loaded when told to."""

    def __init__(self, model: Declaration = MODEL) -> None:
        self.model = model
        self.champion, self.shadow = Weighted(), Weighted(0.5)
        self.others: dict[int, Weighted] = {}
        self.wanted: list[int] = []
        self.away = False
        """The champion is loaded when first needed, and was not needed yet."""
        self.now: Serving | None = Serving(1, 3, self.champion, 4, self.shadow)

    def declaration(self, name: str) -> Declaration | None:
        return self.model if name == self.model.name else None

    def names(self) -> Sequence[str]:
        return [self.model.name]

    def serving(self, model: Declaration, *, load: bool = True) -> Serving | None:
        if self.away:
            raise LoadingError
        return self.now

    def version(self, model: Declaration, version: int, *, load: bool = True) -> FrozenModel:
        if version in self.others:
            return self.others[version]
        if version == 5:
            raise ProtocolError(503, "version 5 cannot be loaded", retry_after_s=5)
        if load:
            self.wanted.append(version)
        raise LoadingError

    def versions(self, model: str) -> Sequence[int]:
        return range(6)

    def published(self, model: str, version: int) -> bool:
        return version <= 5


class FakeOutbox:
    """Acknowledges, or loses, when told to."""

    def __init__(self) -> None:
        self.posts: list[tuple[Send, Callable[[int], None]]] = []
        self.sent: list[Send] = []
        self.lose = False
        self.hold = False
        self.closed = False

    @property
    def unacknowledged(self) -> int:
        return sum(len(send) for send, _ in self.posts)

    def post(self, send: Send, lost: Callable[[int], None]) -> None:
        self.confirm(send, lost)

    def confirm(self, send: Send, settled: Callable[[int], None]) -> None:
        self.sent.append(send)
        self.posts.append((send, settled))

    def serve(self) -> None:
        if self.hold:
            return
        posts, self.posts = self.posts, []
        for send, settled in posts:
            settled(len(send) if self.lose else 0)

    def close(self, timeout_s: float) -> None:
        self.closed = True
        self.hold = False
        self.serve()

    def predictions(self) -> list[Prediction]:
        return [codec(Prediction).decode(bytes(v)) for s in self.sent for v in s.values if v]


@dataclass
class Reply:
    status: int
    body: Any
    retry_after_s: int


class GatewayBench:
    """A gateway that is driven by hand."""

    def __init__(self, model: Declaration = MODEL, **limits: Any) -> None:
        self.clock = ManualClock(NOW)
        self.meter = CountingMeter()
        self.models = FakeModels(model)
        self.outbox = FakeOutbox()
        wanted = {"rows": 100, "queue_rows": 1000, "timeout_s": 5.0, **limits}
        self.gateway = Gateway(self.models, self.outbox, self.clock, self.meter, Limits(**wanted))
        self.reader = RowReader(model, 100)
        self.replies: dict[str, Reply] = {}
        self.gone: set[str] = set()

    def submit(self, id: str, x: Sequence[float | None], version: int = NEWEST) -> None:
        request = parse_request(infer_body(x, id=id), None)
        rows = self.reader.read(request)
        rows.times = NOW

        def reply(status: int, answer: Answer, retry_after_s: int) -> None:
            assert id not in self.replies, "answered twice"
            self.replies[id] = Reply(status, json.loads(answer.body), retry_after_s)

        self.gateway.submit(
            Job(
                self.reader,
                version,
                request,
                rows,
                id,
                self.clock.monotonic(),
                reply,
                lambda: id in self.gone,
            )
        )

    def run(self) -> None:
        """Answer; and write down, but hear nothing of it."""
        while self.gateway.run():
            pass
        hold, self.outbox.hold = self.outbox.hold, True
        self.gateway.settle()
        self.outbox.hold = hold

    def scores(self, id: str) -> list[float]:
        data: list[float] = self.replies[id].body["outputs"][0]["data"]
        return data


def tensor(name: str, datatype: str, data: Sequence[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data), **more}


def infer_body(x: Sequence[float | None], **more: Any) -> bytes:
    n = len(x)
    inputs = [tensor("x", "FP64", x), tensor("y", "FP64", [1.0] * n)]
    inputs.append(tensor("kind", "BYTES", ["a"] * n))
    return json.dumps({"inputs": inputs, **more}).encode()


def endpoint(bench: GatewayBench, *, ready: bool = True) -> InferenceEndpoint:
    ids = iter(f"made-{i}" for i in range(10**9))
    return InferenceEndpoint(
        bench.models, bench.gateway, bench.clock, 100, lambda: ready, lambda: next(ids)
    )

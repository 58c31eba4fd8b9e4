"""Our inference service as a process on a real Kafka, with one model deployed to it."""

from __future__ import annotations

import orjson

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.kernel.ports import Send
from driftloop.kernel.records import (
    Deployment,
    LossBaseline,
    Profile,
    Recipe,
    Stage,
    Version,
)
from driftloop.kernel.settings import Settings
from loadtest.http_parts.model import NAME, NAMES

_FLUSH_S = 30.0


def declared() -> DeclaredModel:
    fields = [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        *({"name": name, "type": "double"} for name in NAMES),
    ]
    schema = orjson.dumps({"type": "record", "name": "Bench", "fields": fields}).decode()
    text = f"""
        [model]
        name = "{NAME}"
        [events]
        schema = "bench.avsc"
        id = "id"
        time = "at"
    """ + "".join(
        f'[[features]]\nname = "{name}"\nkind = "numeric"\nlimits = [-1e3, 1e3]\n' for name in NAMES
    )
    declaration = parse_declaration(text, source="bench", event_schema=schema)
    return DeclaredModel(declaration, text, schema)


def deploy(settings: Settings, path: str, digest: str) -> None:
    """Declare the model, and put version 1 of it in service."""
    log, clock, topics = KafkaLog(settings.bootstrap), SystemClock(), settings.topics
    apply_declaration(log, topics, declared(), who="bench", now=clock.now())
    profile = Profile(0, (), (), LossBaseline(0, 0.0, 0.0, 0.0))
    recipe = Recipe("bench", {}, 0)
    version = Version(NAME, 1, recipe, path, digest, profile, {}, (), 0, 0, "bench", 0)
    deployment = Deployment(NAME, 1, Stage.STEADY, 1, -1, 0, "promoted", 1, 0.0, 0.0, 0, ())
    producer = log.producer("bench")
    for topic, key, value in (
        (topics.versions, f"{NAME}/1", codec(Version).encode(version)),
        (topics.deployments, NAME, codec(Deployment).encode(deployment)),
    ):
        producer.send(Send(topic, [key.encode()], [value], topics.partition(NAME)))
    producer.flush(_FLUSH_S)
    producer.close()
    log.close()

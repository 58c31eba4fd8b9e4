"""Versions put into service without the loop that would train and promote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.adapters.artifacts.directory import DirectoryStore
from driftloop.cli.applying import DeclaredModel, apply_declaration
from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Log, Send
from driftloop.kernel.records import Deployment, ModelRecord, Profile, Recipe, Stage, Version
from driftloop.kernel.settings import Settings
from driftloop.models.ports import TrainedModel
from driftloop.models.profile import make_profile
from driftloop.models.registry import freeze, trainer
from loadtest.stream import Stream

_ROWS = 8_000
_FLUSH_S = 60.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A model of the stream and its profile."""

    model: TrainedModel
    profile: Profile
    trainer: str


def trained(features: int, name: str = "river_logistic", *, seed: int = 0) -> Trained:
    """One registered trainer's model of the stream's first rows."""
    rows = Stream(features, seed=seed + 1).rows(0, _ROWS)
    whole = Features(rows.numbers, Categories(np.empty((_ROWS, 0), np.int32), ()))
    model = trainer(name).train(whole, rows.labels, {}, seed)
    scores = freeze(model).score(whole)
    names = [f"x{k}" for k in range(features)]
    return Trained(model, make_profile(names, [], whole, scores, rows.labels), name)


class Shelf:
    """Publishes versions and deployments as trainer and deployer would."""

    def __init__(self, log: Log, settings: Settings) -> None:
        self._log = log
        self._settings = settings
        self._store = DirectoryStore(settings.artifacts)
        self._producer = log.producer("load")

    def declare(self, models: Sequence[DeclaredModel]) -> None:
        """The first as ``driftloop apply`` does it; the others, whose topics are the same, at
        once."""
        topics = self._settings.topics
        apply_declaration(self._log, topics, models[0], who="load", now=0)
        for model in models[1:]:
            name = model.declaration.name
            record = ModelRecord(name, model.text, model.event_schema, "load", 0)
            self._send(topics.models, name, name.encode(), codec(ModelRecord).encode(record))
        self.flush()

    def put(self, model: str, number: int, made: Trained) -> None:
        """A version, ready to be deployed."""
        path, digest = self._store.put(
            model, str(number), made.model.family, made.model.arrays, made.model.attributes
        )
        record = Version(
            model=model,
            version=number,
            recipe=Recipe(made.trainer, {}, 0),
            artifact=path,
            digest=digest,
            profile=made.profile,
            metrics={},
            sources=(),
            period_start=0,
            period_end=0,
            run_id=f"{model}-{number}",
            created_at=0,
        )
        key = f"{model}/{number}".encode()
        self._send(self._settings.topics.versions, model, key, codec(Version).encode(record))

    def deploy(self, model: str, sequence: int, champion: int) -> None:
        """Let a version serve alone."""
        record = Deployment(
            model, sequence, Stage.STEADY, champion, -1, 0, "promoted", champion, 0.0, 0.0, 0, ()
        )
        topic = self._settings.topics.deployments
        self._send(topic, model, model.encode(), codec(Deployment).encode(record))

    def flush(self) -> None:
        """Wait until all is written."""
        self._producer.flush(_FLUSH_S)

    def close(self) -> None:
        self.flush()
        self._producer.close()

    def _send(self, topic: str, model: str, key: bytes, value: bytes) -> None:
        self._producer.send(Send(topic, [key], [value], self._settings.topics.partition(model)))

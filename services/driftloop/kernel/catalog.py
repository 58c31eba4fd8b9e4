"""What the control topics say now: models, versions, deployments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ConfigurationError, DecodeError
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import Deployment, ModelRecord, Version
from driftloop.kernel.topics import ControlTopics
from driftloop.kernel.version_book import VersionBook


class Catalog:
    """Follows the control topics it is given batches of. Every service holds one."""

    def __init__(
        self,
        topics: ControlTopics,
        parse: Callable[[ModelRecord], Declaration],
        on_bad_record: Callable[[RecordBatch, int, str], None] = lambda batch, row, why: None,
    ) -> None:
        self.topics = topics
        self._parse = parse
        self._on_bad_record = on_bad_record
        self.models: dict[str, Declaration] = {}
        self.versions = VersionBook()
        self.deployments: dict[str, Deployment] = {}
        self.revision = 0
        """Grows with every model, version and deployment taken in, and every model taken out."""
        self._by_topic: dict[str, list[Declaration]] | None = None

    def apply(self, batch: RecordBatch) -> None:
        """Take in records of ``models``, ``versions`` or ``deployments``; others are not for it."""
        for row, value in enumerate(batch.values):
            if value is None:
                self._remove(batch.topic, batch.keys[row])
                continue
            try:
                self._put(batch.topic, value)
            except (DecodeError, ConfigurationError) as error:
                self._on_bad_record(batch, row, str(error))

    def declare(self, model: Declaration) -> None:
        """This declaration is in force."""
        self.models[model.name] = model
        self._by_topic = None
        self.revision += 1

    def deploy(self, deployment: Deployment) -> None:
        """This is what a model's deployment should be."""
        self.deployments[deployment.model] = deployment
        self.revision += 1

    def models_of(self, topic: str) -> Sequence[Declaration]:
        """The models whose topic this is: several only where they share it."""
        if self._by_topic is None:
            self._by_topic = {}
            for model in self.models.values():
                for name in model.topics.names():
                    self._by_topic.setdefault(name, []).append(model)
        return self._by_topic.get(topic, ())

    def shared(self, topic: str) -> bool:
        """Whether the records of a topic say whose they are."""
        models = self.models_of(topic)
        return bool(models) and models[0].topics.shared

    def model_of(self, batch: RecordBatch) -> Declaration:
        """The model whose records these are. Raises :class:`ControlBehindError`."""
        if batch.model is not None:
            found = self.models.get(batch.model)
            if found is not None:
                return found
            raise ControlBehindError(f"no model {batch.model!r} is declared")
        models = self.models_of(batch.topic)
        if not models:
            raise ControlBehindError(f"no declared model has the topic {batch.topic!r}")
        return models[0]

    def version(self, model: str, version: int) -> Version:
        """Raises :class:`ControlBehindError`. Version 0 has no record."""
        found = self.versions.get((model, version))
        if found is None:
            raise ControlBehindError(
                f"version {version} of model {model!r} is not known", Reason.UNKNOWN_VERSION
            )
        return found

    def _put(self, topic: str, value: bytes) -> None:
        if topic == self.topics.models:
            self.declare(self._parse(codec(ModelRecord).decode(value)))
        elif topic == self.topics.versions:
            self.versions.put(value)
            self.revision += 1
        elif topic == self.topics.deployments:
            self.deploy(codec(Deployment).decode(value))

    def _remove(self, topic: str, key: bytes | None) -> None:
        if topic == self.topics.models and key is not None:
            self.models.pop(key.decode(errors="replace"), None)
            self._by_topic = None
            self.revision += 1

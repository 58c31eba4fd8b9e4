"""What the control topics say now: models, versions, deployments."""

from __future__ import annotations

from collections.abc import Callable

from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.errors import ConfigurationError, DecodeError
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import Deployment, ModelRecord, Version
from driftloop.kernel.topics import ControlTopics


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
        self.versions: dict[tuple[str, int], Version] = {}
        self.deployments: dict[str, Deployment] = {}

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

    def model_of(self, topic: str) -> Declaration:
        """The model whose topic this is. Raises :class:`ControlBehindError`."""
        for model in self.models.values():
            t = model.topics
            if topic in (t.events, t.labels, t.predictions, t.outcomes):
                return model
        raise ControlBehindError(f"no declared model has the topic {topic!r}")

    def version(self, model: str, version: int) -> Version:
        """Raises :class:`ControlBehindError`. Version 0 has no record."""
        found = self.versions.get((model, version))
        if found is None:
            raise ControlBehindError(f"version {version} of model {model!r} is not known yet")
        return found

    def _put(self, topic: str, value: bytes) -> None:
        if topic == self.topics.models:
            record = codec(ModelRecord).decode(value)
            self.models[record.name] = self._parse(record)
        elif topic == self.topics.versions:
            version = codec(Version).decode(value)
            self.versions[version.model, version.version] = version
        elif topic == self.topics.deployments:
            deployment = codec(Deployment).decode(value)
            self.deployments[deployment.model] = deployment

    def _remove(self, topic: str, key: bytes | None) -> None:
        if topic == self.topics.models and key is not None:
            self.models.pop(key.decode(errors="replace"), None)

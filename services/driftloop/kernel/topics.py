"""The registry of topics: names, keys, policies. No topic is named anywhere else."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from driftloop.kernel.ports import TopicSpec

_DAY_MS = 86_400_000
LARGEST_RECORD = 16 << 20
"""Bytes: a bad record of any usual size fits into its dead letter, and what services make of many
rows, features and levels into one record."""
LARGEST_VALUE = LARGEST_RECORD - (64 << 10)
"""Bytes: with room for a key, headers, and what goes around them."""
_LARGE = {"max.message.bytes": str(LARGEST_RECORD)}
COMPACT = {"cleanup.policy": "compact", **_LARGE}
"""A topic of which the newest record of each key is kept."""


def control_partition(model: str, partitions: int) -> int:
    """The partition of control topics that holds a model's records (CRC-32 of its name)."""
    return zlib.crc32(model.encode()) % partitions


@dataclass(frozen=True, slots=True)
class ControlTopics:
    """The shared topics under one prefix; all have the same number of partitions."""

    prefix: str = "driftloop."
    partitions: int = 4

    @property
    def partials(self) -> str:
        return f"{self.prefix}partials"

    @property
    def windows(self) -> str:
        return f"{self.prefix}windows"

    @property
    def alerts(self) -> str:
        return f"{self.prefix}alerts"

    @property
    def estimates(self) -> str:
        return f"{self.prefix}estimates"

    @property
    def runs(self) -> str:
        return f"{self.prefix}runs"

    @property
    def versions(self) -> str:
        return f"{self.prefix}versions"

    @property
    def deployments(self) -> str:
        return f"{self.prefix}deployments"

    @property
    def models(self) -> str:
        return f"{self.prefix}models"

    @property
    def loads(self) -> str:
        return f"{self.prefix}loads"

    @property
    def commands(self) -> str:
        return f"{self.prefix}commands"

    @property
    def changelogs(self) -> str:
        return f"{self.prefix}changelogs"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}dead-letters"

    def group(self, service: str) -> str:
        """The consumer group of a service."""
        return f"{self.prefix}{service}"

    def partition(self, model: str) -> int:
        """The control partition of a model."""
        return control_partition(model, self.partitions)

    def specs(self) -> tuple[TopicSpec, ...]:
        """What ``driftloop apply`` and ``up`` make sure of."""
        n = self.partitions
        keep = {"cleanup.policy": "delete", "retention.ms": "-1", **_LARGE}
        short = {
            "cleanup.policy": "compact,delete",
            "retention.ms": str(7 * _DAY_MS),
            "message.timestamp.type": "LogAppendTime",
            **_LARGE,
        }
        return (
            TopicSpec(self.partials, n, short),
            TopicSpec(self.windows, n, keep),
            TopicSpec(self.alerts, n, keep),
            TopicSpec(self.estimates, n, keep),
            TopicSpec(self.runs, n, COMPACT),
            TopicSpec(self.versions, n, COMPACT),
            TopicSpec(self.deployments, n, COMPACT),
            TopicSpec(self.models, n, COMPACT),
            TopicSpec(self.loads, n, keep),
            TopicSpec(self.commands, n, keep),
            TopicSpec(self.changelogs, n, COMPACT),
            TopicSpec(self.dead_letters, n, keep),
        )


@dataclass(frozen=True, slots=True)
class ModelTopics:
    """The topics of one model. Events and labels may be topics the user already has."""

    events: str
    labels: str
    predictions: str
    outcomes: str
    shared: bool = False
    """Other models may have the same four; every record says in a header whose it is."""

    @classmethod
    def of(cls, owner: str, *, shared: bool = False) -> ModelTopics:
        """The names where the declaration gives none, after the model or the models that share
        them."""
        return cls(
            f"{owner}.events",
            f"{owner}.labels",
            f"{owner}.predictions",
            f"{owner}.outcomes",
            shared,
        )

    def names(self) -> tuple[str, str, str, str]:
        """All four."""
        return self.events, self.labels, self.predictions, self.outcomes

    def specs(self, partitions: int) -> tuple[TopicSpec, ...]:
        config = {"cleanup.policy": "delete", "retention.ms": "-1"}
        made = (self.predictions, self.outcomes)
        return tuple(
            TopicSpec(name, partitions, {**config, **_LARGE} if name in made else config)
            for name in self.names()
        )

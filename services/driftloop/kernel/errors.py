"""The tree of errors.

::

    DriftloopError
    ├── ConfigurationError        the user's settings or declaration are wrong
    │   ├── DeclarationError      a model declaration; names file and line
    │   └── SettingsError         an environment variable or option
    ├── DecodeError               bytes that are no record of the schema; a dead letter
    ├── RecordError               a user's record that does not fit its schema; names the field
    ├── SchemaError               a schema that is missing, invalid or incompatible
    ├── ArtifactError             a model artifact that is missing, corrupt or hostile
    ├── TrainingError             a training run that produced no version
    ├── VerificationError         a recomputation that could not be made (not: one that differs)
    ├── DeadLetterLimitError      more rejected input than the service was allowed
    ├── SupervisionError          a service's process that failed or did not get ready
    └── LogError                  the log (Kafka or memory) did not do what was asked
        ├── LogUnavailableError   no answer in time; trying again may help
        │   ├── RegistryUnavailableError   of the schema registry
        │   │   └── RegistryBehindError    it answers, but not on all ids in time
        │   └── NoRoomError       a disk is full; what it lacks is in the log
        ├── FencedError           another process took over this one's transactional id
        └── BrokerError           the local broker could not be brought or started
"""

from __future__ import annotations


class DriftloopError(Exception):
    """Anything driftloop raises on purpose. The message says what, where, and what to do."""


class ConfigurationError(DriftloopError):
    """The user's settings or declaration are wrong."""


class DeclarationError(ConfigurationError):
    """A model declaration is wrong.

    ``problems`` holds (line, message) pairs; line is 1-based, or 0 when no line can be named.
    """

    def __init__(self, source: str, problems: list[tuple[int, str]]) -> None:
        self.source = source
        self.problems = problems
        lines = [
            f"{source}:{line}: {text}" if line else f"{source}: {text}" for line, text in problems
        ]
        super().__init__("\n".join(lines))


class SettingsError(ConfigurationError):
    """An environment variable or option has an unusable value."""


class DecodeError(DriftloopError):
    """Bytes that are no record of the schema expected. ``reason`` is a :class:`Reason` value."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class RecordError(DriftloopError):
    """A record that a user wants to send does not fit its schema. Names the field."""


class SchemaError(DriftloopError):
    """A schema is missing, invalid or incompatible with an earlier version."""


class ArtifactError(DriftloopError):
    """A model artifact is missing, corrupt or hostile."""


class TrainingError(DriftloopError):
    """A training run produced no version."""


class VerificationError(DriftloopError):
    """A recomputation could not be made, because the log no longer holds what it needs."""


class DeadLetterLimitError(DriftloopError):
    """More input was rejected than the service was allowed to reject."""


class SupervisionError(DriftloopError):
    """A service's process failed for good, or did not get ready in time."""


class LogError(DriftloopError):
    """The log did not do what was asked."""


class LogUnavailableError(LogError):
    """The log gave no answer in time."""


class RegistryUnavailableError(LogUnavailableError):
    """The schema registry gave no answer, so that records cannot be read or written for now."""


class RegistryBehindError(RegistryUnavailableError):
    """The schema registry answers, but not on all ids in time. What it did answer is remembered:
    trying again gets further."""


class NoRoomError(LogUnavailableError):
    """A disk is full. Nothing is lost: what could not be written is read from the log again."""


class FencedError(LogError):
    """Another process took over this one's transactional id; this one must stop."""


class BrokerError(LogError):
    """The local broker could not be brought or started."""

"""What people asked for, and what was rejected."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The declaration in force, as its author wrote it."""

    name: str
    declaration: str
    """The TOML text."""
    event_schema: str
    """The Avro schema of the events, JSON text."""
    applied_by: str
    applied_at: int
    """Processing time, ms."""


class CommandAction(enum.StrEnum):
    RETRAIN = "retrain"
    PROMOTE = "promote"
    REJECT = "reject"
    ROLL_BACK = "roll_back"
    ACKNOWLEDGE = "acknowledge"
    """An alert."""
    SNOOZE = "snooze"
    """An alert."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asked for: the audit trail."""

    id: str
    model: str
    action: CommandAction
    version: int
    """The version meant; -1 where the action needs none."""
    who: str
    at: int
    """Processing time, ms."""
    why: str
    alert: str = ""
    """The alert meant; empty where the action needs none."""
    until: int = 0
    """Processing time, ms, that a snooze ends at; 0 elsewhere."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header of a Kafka record; keys may repeat, values may be null."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record no service could use, with its original bytes."""

    service: str
    reason: str
    """A value of ``kernel.deadletters.Reason``."""
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    """The original record's Kafka timestamp, ms."""
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

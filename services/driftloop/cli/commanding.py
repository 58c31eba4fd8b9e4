"""What people ask for: records of the commands topic, the audit trail."""

from __future__ import annotations

import getpass
import os
import uuid

from driftloop.cli.control import declared_model, read_catalog
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import ConfigurationError
from driftloop.kernel.ports import Log, Send
from driftloop.kernel.records import Command, CommandAction
from driftloop.kernel.topics import ControlTopics

_FLUSH_S = 30.0


def current_user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A user id without a name, as containers have.
        return f"uid {os.getuid()}"


def publish_command(
    log: Log,
    topics: ControlTopics,
    action: CommandAction,
    model: str,
    *,
    version: int = -1,
    who: str,
    why: str,
    now: int,
    alert: str = "",
    until: int = 0,
) -> Command:
    """Write a command; written when this returns. ``now`` is processing time, ms; ``alert`` and
    ``until`` are for the actions on alerts.

    Raises :class:`ConfigurationError` for a model or version there is not.
    """
    catalog = read_catalog(log, topics)
    declared_model(catalog, model)
    if version > 0 and (model, version) not in catalog.versions:
        known = sorted(v for m, v in catalog.versions if m == model)
        raise ConfigurationError(
            f"model {model!r} has no version {version}; it has "
            + (", ".join(map(str, known)) if known else "none yet besides version 0")
        )
    command = Command(uuid.uuid4().hex, model, action, version, who, now, why, alert, until)
    producer = log.producer("command")
    try:
        producer.send(
            Send(
                topics.commands,
                [model.encode()],
                [codec(Command).encode(command)],
                topics.partition(model),
            )
        )
        producer.flush(_FLUSH_S)
    finally:
        producer.close()
    return command

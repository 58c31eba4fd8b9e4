"""What commands begin with: the settings, and the log that runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from driftloop.kernel.settings import Settings

if TYPE_CHECKING:
    from driftloop.kernel.ports import Log


def read_settings() -> Settings:
    """Of this process's environment. Raises :class:`SettingsError`."""
    return Settings.read(os.environ)


@contextlib.contextmanager
def running_log() -> Iterator[tuple[Log, Settings]]:
    """The Kafka that runs, and the settings with its address."""
    from driftloop.adapters.clock import SystemClock
    from driftloop.adapters.kafka import KafkaLog
    from driftloop.adapters.registry.opening import open_wire
    from driftloop.cli.brokering import running_broker
    from driftloop.kernel.codec import wire

    settings = running_broker(read_settings())
    log = KafkaLog(settings.bootstrap, settings.kafka_options)
    try:
        opened = open_wire(settings.registry, settings.registry_options, SystemClock())
        try:
            with wire.installed(opened):
                yield log, settings
        finally:
            opened.close()
    finally:
        log.close()

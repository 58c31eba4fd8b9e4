"""From settings to the wire of a process."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from driftloop.kernel.codec.wire import Wire
from driftloop.kernel.errors import RegistryUnavailableError
from driftloop.kernel.ports import Clock

_log = logging.getLogger(__name__)
_DEADLINE_S = 60.0
_PAUSE_S = 1.0


def open_wire(url: str, options: Mapping[str, str] | None, clock: Clock) -> Wire:
    """The wire that a registry's address makes, driftloop's own schemas enrolled; without an
    address, that of single-object encoding.

    Whoever opens it closes it. Waits a minute for a registry that does not answer. Raises
    :class:`RegistryUnavailableError`, :class:`ConfigurationError`, and :class:`SchemaError` where
    the registry refuses one of them.
    """
    if not url:
        return Wire()
    # Here, not above: a process without a registry need not load an HTTP client.
    from driftloop.adapters.registry.client import HttpRegistry

    wire = Wire(HttpRegistry(url, options), clock.monotonic)
    deadline = clock.monotonic() + _DEADLINE_S
    try:
        while True:
            try:
                wire.enroll_records()
                return wire
            except RegistryUnavailableError as error:
                if clock.monotonic() >= deadline:
                    raise
                _log.warning("%s", error)
                clock.pause(_PAUSE_S)
    except BaseException:
        wire.close()
        raise

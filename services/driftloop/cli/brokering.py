"""Which Kafka a command uses: the one it is told of, the one that runs already, or one of its own.

A local broker is announced in ``run/broker.json`` of the directory, so ``driftloop apply`` in
another terminal finds the one that ``driftloop up`` started.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from driftloop.cli.announcements import alive
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.settings import Settings

if TYPE_CHECKING:
    from driftloop.adapters.broker import LocalBroker

_CONNECT_S = 2.0


class BrokerInUse:
    """The Kafka of this run. ``settings`` name it; ``local`` is the one this process started."""

    def __init__(
        self, settings: Settings, local: LocalBroker | None, progress: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.local = local
        self._progress = progress

    def look_after(self) -> None:
        """Start this process's own broker again, on its port and data, should it have died."""
        if self.local is None or self.local.running:
            return
        self._progress(f"Kafka at {self.settings.bootstrap} died; starting it again")
        self.local.start()
        _announce(self.settings, self.local.pid)


@contextmanager
def broker_in_use(
    settings: Settings,
    progress: Callable[[str], None],
    *,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[BrokerInUse]:
    """``settings.bootstrap`` if set, else the directory's announced broker, else a local one that
    lives as long as the block. Raises :class:`BrokerError` when it cannot be brought."""
    settings = replace(settings, directory=settings.directory.absolute())
    found = _found(settings)
    if found is not None:
        progress(f"using Kafka at {found.bootstrap}")
        yield BrokerInUse(found, None, progress)
        return
    # Here, not above: whoever has a Kafka needs none of it.
    from driftloop.adapters.broker import LocalBroker

    with LocalBroker(settings.directory / "kafka", progress=progress, environ=environ) as local:
        used = replace(settings, bootstrap=local.bootstrap)
        path = _announce(used, local.pid)
        try:
            yield BrokerInUse(used, local, progress)
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def broker(
    settings: Settings,
    progress: Callable[[str], None],
    *,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Settings]:
    """The settings with the address of a Kafka that answers; see :func:`broker_in_use`."""
    with broker_in_use(settings, progress, environ=environ) as used:
        yield used.settings


def running_broker(settings: Settings) -> Settings:
    """The settings with the address of a Kafka that runs already.

    Raises :class:`LogUnavailableError` when none is known.
    """
    found = _found(replace(settings, directory=settings.directory.absolute()))
    if found is None:
        raise LogUnavailableError(
            "no Kafka is known: KAFKA_BOOTSTRAP_SERVERS is not set, and no 'driftloop up' runs in "
            f"{settings.directory.absolute()}; set the variable, or start 'driftloop up' there "
            "(another directory: DRIFTLOOP_DIRECTORY)"
        )
    return found


def _found(settings: Settings) -> Settings | None:
    if settings.bootstrap:
        return settings
    try:
        entry = orjson.loads(_path(settings).read_bytes())
        bootstrap, pid = str(entry["bootstrap"]), int(entry["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A process of that id alone may be another one, after a restart of the machine.
    if not alive(pid) or not _listening(bootstrap):
        return None
    return replace(settings, bootstrap=bootstrap)


def _listening(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return True
    except (OSError, ValueError):
        return False


def _announce(settings: Settings, pid: int) -> Path:
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(orjson.dumps({"bootstrap": settings.bootstrap, "pid": pid}))
    temporary.replace(path)
    return path


def _path(settings: Settings) -> Path:
    return settings.directory / "run" / "broker.json"

"""A service as a process of its own: settings, signals, HTTP, the loop around the steps."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import orjson

from driftloop.adapters import allocator
from driftloop.adapters.clock import SystemClock
from driftloop.adapters.http import Application, ApplicationServer, StatusPages, StatusServer
from driftloop.adapters.kafka import KafkaLog
from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.adapters.registry.opening import open_wire
from driftloop.adapters.stops import Stops, free_bytes
from driftloop.kernel import metrics
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec import wire
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import (
    ConfigurationError,
    DeadLetterLimitError,
    DriftloopError,
    SettingsError,
)
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.service import Context, Service, Status
from driftloop.kernel.settings import Settings

_log = logging.getLogger("driftloop")
_STEP_S = 0.1
_TELL_EVERY_S = 0.02
_TELL_SHARE = 20.0
_LOOK_EVERY_S = 10.0
"""At the room on the disks."""

S = TypeVar("S", bound=Service)

GIVE_UP_CODE = 2
"""Exit code of a service that another start would not help: its settings are wrong, or it rejected
more than it was allowed to. Other failures end with 1."""


def run(
    name: str,
    build: Callable[[Context, Catalog], S],
    serve: Callable[[S], Application] | None = None,
    *,
    ending_s: float = 10.0,
) -> int:
    """Run one service until SIGTERM or SIGINT; the process's exit code, to be ended with at once.

    ``serve``: what it serves over HTTP besides health and metrics. A process that has not ended
    ``ending_s`` later is ended by a watchdog, which prints where it hung.
    """
    code = _run(name, build, serve)
    # A thread that waits for ever, or a client's destructor: whoever watches over this process sees
    # only that it runs, and starts no other.
    faulthandler.dump_traceback_later(ending_s, exit=True)
    return code


def _run(
    name: str,
    build: Callable[[Context, Catalog], S],
    serve: Callable[[S], Application] | None,
) -> int:
    try:
        settings = Settings.read(os.environ)
        if not settings.bootstrap:
            raise SettingsError(
                "KAFKA_BOOTSTRAP_SERVERS is not set: a service needs a Kafka; "
                "'driftloop up' brings one"
            )
    except SettingsError as error:
        print(f"driftloop {name}: {error}", file=sys.stderr)  # noqa: T201
        return GIVE_UP_CODE
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)s {name}-{settings.instance} %(name)s: %(message)s",
        stream=sys.stderr,
    )
    os.nice(settings.niceness)
    allocator.keep()
    # Whoever ends a process that hangs (SIGABRT) finds in its log where it hung.
    faulthandler.enable()
    stops = Stops(settings.directory / "run" / f"{name}-{settings.instance}.stops")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _serve(name, build, serve, settings, stop, stops.counts)
    except DriftloopError as error:
        _log.error("%s stops: %s", name, error)
        stops.add(error)
        gives_up = isinstance(error, ConfigurationError | DeadLetterLimitError)
        return GIVE_UP_CODE if gives_up else 1
    except Exception as error:
        _log.exception("%s crashed; what was not committed is read again", name)
        stops.add(error)
        return 1
    return 0


def _serve(
    name: str,
    build: Callable[[Context, Catalog], S],
    serve: Callable[[S], Application] | None,
    settings: Settings,
    stop: threading.Event,
    stopped_before: Mapping[str, int],
) -> None:
    clock = SystemClock()
    meter = PrometheusMeter(name)
    for kind, count in stopped_before.items():
        meter.add(metrics.STOPS, count, kind)
    latest: list[Status | None] = [None]

    def exposition() -> bytes:
        # Of a service whose step does not end only these tell.
        meter.set(metrics.STEP_AGE, pages.step_age_s())
        meter.set(metrics.READY, float(pages.ready()))
        return meter.exposition()

    pages = StatusPages(metrics=exposition, status=lambda: latest[0], clock=clock)
    host, port = settings.http_host, settings.http_port
    mounted: ApplicationServer | None = None
    server: ApplicationServer | StatusServer = StatusServer(host, port, pages)
    if serve is not None:
        server = mounted = ApplicationServer(
            host,
            port,
            pages,
            body_bytes=settings.http_body_bytes,
            read_s=settings.http_timeout_ms / 1000,
            application_follows=True,
        )
    server.start()
    announcement = announce(settings, name, server.host, server.port)
    executor = ThreadPoolExecutor(2, thread_name_prefix="load")

    def committer() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="commit")

    log = KafkaLog(settings.bootstrap, settings.kafka_options, clock=clock)

    def bad_record(batch: RecordBatch, row: int, why: str) -> None:
        meter.add(metrics.BAD_CONTROL, 1, batch.topic)
        _log.error("%s/%d offset %d: %s", batch.topic, batch.partition, batch.offsets[row], why)

    try:
        # A service that starts before 'up' or 'apply' has made them would never hear of them.
        log.ensure_topics(settings.topics.specs())
        wire.install(open_wire(settings.registry, settings.registry_options, clock))
        catalog = Catalog(settings.topics, declaration_of, bad_record)
        context = Context(log, clock, meter, settings, executor, committer, pages.beat)
        service = build(context, catalog)
        # The compiler leaves hundreds of thousands of objects behind that live as long as the
        # process: looked through by the garbage collector they are pauses of 100 ms and more.
        gc.collect()
        gc.freeze()
        # A request makes some 50 containers: looked for garbage after every 700 new ones, a service
        # would do so every few requests.
        gc.set_threshold(20_000, 20, 100)
        if serve is not None and mounted is not None:
            mounted.mount(serve(service))
        kept = {"state": settings.state, "artifacts": settings.artifacts}
        try:
            tell_at = look_at = 0.0
            while not stop.is_set():
                worked = service.step(_STEP_S)
                pages.beat()
                now = clock.monotonic()
                if now >= look_at:
                    look_at = now + _LOOK_EVERY_S
                    for kind, directory in kept.items():
                        meter.set(metrics.DISK_FREE, free_bytes(directory), kind)
                # With many models a status takes a while; a busy service needs none at every step.
                if not worked or now >= tell_at:
                    status = service.status()
                    latest[0] = status
                    told = clock.monotonic()
                    tell_at = told + max(_TELL_EVERY_S, _TELL_SHARE * (told - now))
        finally:
            service.close()
    finally:
        announcement.unlink(missing_ok=True)
        executor.shutdown(cancel_futures=True)
        server.stop()
        wire.in_force().close()
        log.close()


def announce(settings: Settings, name: str, host: str, port: int) -> Path:
    """Write down where this process's HTTP is, for people and the command line."""
    directory = settings.directory / "run"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{settings.instance}.json"
    entry: Mapping[str, object] = {
        "service": name,
        "instance": settings.instance,
        "host": host,
        "port": port,
        "pid": os.getpid(),
    }
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(orjson.dumps(entry))
    temporary.replace(path)
    return path

"""The client: one connection, any number of models."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.registry.opening import open_wire
from driftloop.client.encoding import encode_label, milliseconds
from driftloop.client.events import EventStream
from driftloop.kernel import sharing
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.wire import Wire
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import ConfigurationError, LogUnavailableError
from driftloop.kernel.ports import Clock, Log, Producer, RecordBatch, SchemaRegistry, Send
from driftloop.kernel.records import Alert, ModelRecord
from driftloop.kernel.topics import ControlTopics

_POLL_S = 0.5
_POLL_ROWS = 1000


class Client:
    """Produces events and labels, and reads alerts.

    Records are queued and written in the background; leaving the ``with`` block, :meth:`flush` and
    :meth:`close` wait until all are. Not for several threads at once.
    """

    def __init__(
        self,
        bootstrap: str = "",
        *,
        options: Mapping[str, str] | None = None,
        prefix: str = "driftloop.",
        timeout_s: float = 30.0,
        registry: str | SchemaRegistry = "",
        registry_options: Mapping[str, str] | None = None,
        log: Log | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``bootstrap`` is Kafka's ``host:port,host:port``; ``options`` are librdkafka's, such as
        ``security.protocol``; ``prefix`` is that of the control topics. ``log`` takes the place of
        Kafka, for tests. Raises :class:`ConfigurationError` when neither is given.

        With ``registry``, a schema registry's address, events and labels are written in Confluent
        framing; the services then need the same as ``SCHEMA_REGISTRY_URL``. ``registry_options``
        are those of ``DRIFTLOOP_REGISTRY_OPTIONS``. Raises :class:`RegistryUnavailableError` where
        it does not answer.
        """
        self._topics = ControlTopics(prefix)
        self._timeout_s = timeout_s
        self._clock: Clock = clock or SystemClock()
        self._log = log if log is not None else _kafka(bootstrap, options)
        self._wire = _wire(registry, registry_options, self._clock)
        self._opened_registry = isinstance(registry, str)
        self._producer: Producer | None = None
        self._models: dict[str, Declaration] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def model(self, name: str) -> Declaration:
        """A model's declaration: the one in force when this client first asked for it.

        Raises :class:`ConfigurationError` when no such model is declared.
        """
        if name not in self._models:
            self._models[name] = self._declared(name)
        return self._models[name]

    def events(self, model: str) -> EventStream:
        """Where to send a model's events. With a registry, their schema is looked up there, or
        registered; raises :class:`SchemaError` where that is refused."""
        return EventStream(self.model(model), self._writer(), self._wire)

    def label(
        self,
        model: str,
        event_id: str,
        label: float | str,
        observed_at: datetime.datetime | int | None = None,
    ) -> None:
        """Queue what turned out to be true of an event: of a binary model 0 or 1, of a multiclass
        one the class's name or place, of a regression the number.

        ``observed_at`` is when it was known (a datetime with a time zone, or ms since the epoch);
        now, if not given. Raises :class:`RecordError`.
        """
        declared = self.model(model)
        at = self._clock.now() if observed_at is None else milliseconds(observed_at, "observed_at")
        key, value = encode_label(declared, event_id, label, at, self._wire)
        self._writer().send(
            Send(declared.topics.labels, [key], [value], headers=sharing.headers(declared, 1))
        )

    def alerts(
        self,
        model: str | None = None,
        *,
        since: datetime.datetime | int | None = None,
        follow: bool = True,
    ) -> Iterator[Alert]:
        """Every opening, update and resolution of alerts, in the log's order per model; an update
        is also that somebody acknowledged or snoozed one (``driftloop.client.attention`` tells).

        Of one model or all; ``since`` leaves out what is of an earlier event time. With ``follow``
        it waits for more without end; otherwise it ends with the newest.
        """
        after = None if since is None else milliseconds(since, "since")
        for batch in self._read(self._topics.alerts, follow=follow):
            for value in batch.values:
                if value is None:
                    continue
                alert = codec(Alert).decode(value, self._wire)
                if model in (None, alert.model) and (after is None or alert.at >= after):
                    yield alert

    def flush(self) -> None:
        """Wait until everything sent is written. Raises :class:`LogError`."""
        if self._producer is not None:
            self._producer.flush(self._timeout_s)

    def close(self) -> None:
        """Flush, and let go of the connection."""
        producer, self._producer = self._producer, None
        try:
            if producer is not None:
                try:
                    producer.flush(self._timeout_s)
                finally:
                    producer.close()
        finally:
            # One that was given belongs to who gave it.
            if self._opened_registry:
                self._wire.close()

    def _writer(self) -> Producer:
        if self._producer is None:
            self._producer = self._log.producer("client")
        return self._producer

    def _declared(self, name: str) -> Declaration:
        found: dict[str, ModelRecord] = {}
        for batch in self._read(self._topics.models, follow=False):
            for key, value in zip(batch.keys, batch.values, strict=True):
                if value is not None:
                    record = codec(ModelRecord).decode(value, self._wire)
                    found[record.name] = record
                elif key is not None:
                    found.pop(key.decode(errors="replace"), None)
        if name not in found:
            known = f"declared are {', '.join(sorted(found))}" if found else "none is declared"
            raise ConfigurationError(
                f"no model {name!r} is declared ({known}): driftloop apply FILE.toml"
            )
        return declaration_of(found[name])

    def _read(self, topic: str, *, follow: bool) -> Iterator[RecordBatch]:
        """The batches of a control topic; without ``follow``, those that are there by now."""
        if self._log.partitions(topic) == 0:
            raise ConfigurationError(
                f"there is no topic {topic!r}: driftloop apply FILE.toml makes it; with another "
                f"prefix, give Client(prefix=...) the one the services have"
            )
        follower = self._log.follow([topic])
        heard = self._clock.monotonic()
        try:
            while follow or not follower.caught_up():
                batches = follower.poll(_POLL_ROWS, _POLL_S)
                yield from batches
                if batches:
                    heard = self._clock.monotonic()
                elif not follow and self._clock.monotonic() - heard > self._timeout_s:
                    raise LogUnavailableError(
                        f"{topic} could not be read to its end in {self._timeout_s:g} s"
                    )
        finally:
            follower.close()


def _wire(registry: str | SchemaRegistry, options: Mapping[str, str] | None, clock: Clock) -> Wire:
    if isinstance(registry, str):
        return open_wire(registry, options, clock)
    wire = Wire(registry, clock.monotonic)
    wire.enroll_records()
    return wire


def _kafka(bootstrap: str, options: Mapping[str, str] | None) -> Log:
    if not bootstrap:
        raise ConfigurationError('Client needs the address of Kafka: Client("host:port")')
    # Here, not above: whoever gives a log of his own needs no Kafka client.
    from driftloop.adapters.kafka import KafkaLog

    return KafkaLog(bootstrap, options)

"""A model's events, to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from driftloop.client.encoding import EventEncoder
from driftloop.kernel import sharing
from driftloop.kernel.codec.wire import Wire
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.ports import Producer, Send

_AT_ONCE = 1000


class EventStream:
    """Sends events of one model. Made by :meth:`Client.events`."""

    def __init__(self, model: Declaration, producer: Producer, wire: Wire) -> None:
        self.model = model
        """The declaration in force when the stream was made."""
        self._producer = producer
        self._encoder = EventEncoder(model, wire)

    def send(self, record: Mapping[str, Any]) -> None:
        """Queue one event; :meth:`Client.flush` waits until all are written.

        Raises :class:`RecordError` naming the field that does not fit the schema.
        """
        key, value = self._encoder.encode(record)
        self._send([key], [value])

    def send_many(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Queue events; returns how many. At the first that does not fit, raises
        :class:`RecordError`; those before it are queued."""
        sent = 0
        remaining = iter(records)
        while chunk := list(islice(remaining, _AT_ONCE)):
            keys: list[bytes | None] = []
            values: list[bytes | None] = []
            try:
                for record in chunk:
                    key, value = self._encoder.encode(record)
                    keys.append(key)
                    values.append(value)
            finally:
                if keys:
                    self._send(keys, values)
            sent += len(chunk)
        return sent

    def _send(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> None:
        headers = sharing.headers(self.model, len(keys))
        self._producer.send(Send(self.model.topics.events, keys, values, headers=headers))

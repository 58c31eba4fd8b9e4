"""One request over HTTP and the place for its answer, free of any server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


@dataclass(slots=True, eq=False)
class Exchange:
    """A request that has been read whole. Whoever handles it calls :meth:`answer` once, now or
    later, on the thread that gave it."""

    method: bytes
    target: bytes
    """As in the request line, the query included, without scheme and host."""
    headers: Mapping[bytes, bytes]
    """Names in lower case; of a header that comes several times the last value."""
    body: bytes
    """Empty once it is answered, or its client gone."""
    _send: Callable[[Exchange], None]
    began: float = 0.0
    """When its first byte came, seconds of the server's clock."""
    keep_alive: bool = True
    told: bool = False
    """Whether the answer says that the connection is kept: HTTP/1.0 takes it for granted that it is
    not."""
    gone: bool = False
    """The client has left: an answer reaches nobody."""
    response: tuple[int, bytes, bytes, tuple[tuple[bytes, bytes], ...]] | None = field(
        default=None, init=False
    )
    """Status, body, content type and further headers, once answered."""

    def answer(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """A second answer is ignored: the first one is on its way."""
        if self.response is None:
            self.response = (status, body, content_type, headers)
            self._send(self)


Handler = Callable[[Exchange], None]


def origin_form(target: bytes) -> bytes:
    """A request's target without scheme and host, which it may have (RFC 9112, section 3.2.2)."""
    if target.startswith(b"/"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target
    _, _, path = rest.partition(b"/")
    return b"/" + path

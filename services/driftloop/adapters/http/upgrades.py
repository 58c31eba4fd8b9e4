"""Requests that ask for another protocol, though there is none: Java's own client asks for HTTP/2
with the first request of every plain connection. A server may go on in HTTP/1.1 (RFC 9110, section
7.8)."""

from __future__ import annotations

from collections.abc import Mapping

TUNNEL = b"CONNECT"
"""What follows such a request is not for the server."""
_OPTIONS = (b"upgrade", b"http2-settings")
"""Headers, and options of Connection."""


def head_without_upgrade(
    method: bytes, target: bytes, version: str, headers: Mapping[bytes, bytes]
) -> bytes:
    """A request's head that asks for no upgrade, the empty line included. ``headers``: names in
    lower case; of ``version`` the number."""
    options = headers.get(b"connection", b"").split(b",")
    kept = b",".join(o for o in options if o.strip() and o.strip().lower() not in _OPTIONS)
    others = {k: v for k, v in headers.items() if k not in (*_OPTIONS, b"connection")}
    if kept:
        others[b"connection"] = kept
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode())]
    lines += [b"%s: %s" % pair for pair in others.items()]
    return b"\r\n".join([*lines, b"", b""])

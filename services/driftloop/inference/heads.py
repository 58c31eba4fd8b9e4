"""Heads of requests in bytes: JSON that says what the bytes behind it are. Pure.

A client sends the same one again and again, but for the id. Reading it takes longer than the model.
"""

from __future__ import annotations

from typing import Any

import orjson

_KEY = b'"inputs":'
_CLOSED = b'"inputs":0}'
_LONGEST = 16 * 1024
_MOST = 256


class Heads:
    """Parses them; what follows from ``"inputs":`` on is kept. Bounded. Not for several threads."""

    def __init__(self) -> None:
        self._tails: dict[bytes, tuple[dict[str, Any], dict[Any, Any]]] = {}

    def parse(self, head: bytes) -> tuple[Any, dict[Any, Any]]:
        """The document, and a dictionary for what is found out about its ``inputs``, which is the
        same for all documents that end alike. The documents are not to be changed. Raises
        ``orjson.JSONDecodeError``."""
        cut = head.find(_KEY)
        if cut < 0 or len(head) - cut > _LONGEST:
            return orjson.loads(head), {}
        tail = head[cut:]
        known = self._tails.get(tail)
        if known is not None and cut == 1 and head[:1] == b"{":
            return known
        if known is not None:
            # The tail is the end of an object and nothing else. So if the head ends an object when
            # the key stands there with another value, then it does with this one; and being the
            # last thing in the document it is the outermost object.
            try:
                front = orjson.loads(head[:cut] + _CLOSED)
            except orjson.JSONDecodeError:
                pass
            else:
                return {**front, **known[0]}, known[1]
        document = orjson.loads(head)
        try:
            ends = orjson.loads(b"{" + tail)
        except orjson.JSONDecodeError:
            return document, {}
        if len(self._tails) >= _MOST:
            self._tails.clear()
        found: dict[Any, Any] = {}
        self._tails[tail] = (ends, found)
        return document, found

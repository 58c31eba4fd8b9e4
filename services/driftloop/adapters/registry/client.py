"""Three requests of the Schema Registry's REST interface, over aiohttp.

Source: Confluent's "Schema Registry API Reference" (schemas by id, look-up and registration under
a subject); Apicurio answers the same under ``/apis/ccompat/v7``.
"""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from driftloop.adapters.registry.requests import AT_ONCE, Answer, Request, Requests
from driftloop.kernel.codec.framing import LARGEST_ID
from driftloop.kernel.errors import (
    ConfigurationError,
    RegistryUnavailableError,
    SchemaError,
    SettingsError,
)

USER = "basic.auth.user.info"
CA = "ssl.ca.location"
CERTIFICATE = "ssl.certificate.location"
KEY = "ssl.key.location"
TIMEOUT = "request.timeout.ms"
OPTIONS = (USER, CA, CERTIFICATE, KEY, TIMEOUT)
"""Named as in Confluent's clients."""

_TIMEOUT_MS = 10_000
_CONTENT = "application/vnd.schemaregistry.v1+json"


class HttpRegistry:
    """See :class:`driftloop.kernel.ports.SchemaRegistry`. Every method waits for its answer."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        """``url`` may have a path; of ``options`` there are :data:`OPTIONS`. Raises
        :class:`SettingsError`."""
        options = options or {}
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(
                f"the schema registry's address {_shown(url)} is no URL: http://HOST:PORT"
            )
        if "@" in parts.netloc:
            raise SettingsError(
                f"the schema registry's address holds a password, which logs would show: give it "
                f"as the option {USER}=USER:PASSWORD"
            )
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise SettingsError(
                f"the schema registry has no option {unknown[0]!r}; there are {', '.join(OPTIONS)}"
            )
        self._url = url.rstrip("/")
        headers = {"Accept": f"{_CONTENT}, application/json", "Content-Type": _CONTENT}
        if user := options.get(USER):
            if ":" not in user:
                raise SettingsError(f"{USER} of the schema registry must be USER:PASSWORD")
            headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        context = _context(options)
        try:
            timeout_s = int(options.get(TIMEOUT, _TIMEOUT_MS)) / 1000
        except ValueError as error:
            raise SettingsError(f"{TIMEOUT} of the schema registry: {error}") from error
        self._requests = Requests(headers, context, timeout_s)

    def close(self) -> None:
        """See the port."""
        self._requests.close()

    def text_of(self, schema_id: int) -> str | None:
        """Of one id; None where the registry has none of it. Raises as :meth:`texts_of`."""
        return self._text(schema_id, self._ask("GET", f"/schemas/ids/{schema_id}"))

    def texts_of(self, ids: Sequence[int], within_s: float) -> Iterator[tuple[int, str | None]]:
        """See the port."""
        until = time.monotonic() + within_s
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            asked = [Request("GET", f"{self._url}/schemas/ids/{schema_id}") for schema_id in some]
            left = until - time.monotonic()
            answers = self._requests.all(asked, left) if left > 0 else [None] * len(asked)
            failures: list[Exception] = []
            for schema_id, request, answer in zip(some, asked, answers, strict=True):
                if answer is None:
                    continue
                try:
                    yield schema_id, self._text(schema_id, self._read(request, answer))
                except (RegistryUnavailableError, ConfigurationError) as error:
                    failures.append(error)
            if failures:
                raise failures[0]
            if None in answers:
                return

    def register(self, subject: str, text: str) -> int:
        """See the port. Looks it up first, so that a user who may only read can use what is there
        already."""
        path = f"/subjects/{quote(subject, safe='')}"
        body = {"schema": text}
        answer = self._ask("POST", path, body, subject)
        if answer is None:
            answer = self._ask("POST", f"{path}/versions", body, subject)
        schema_id = None if answer is None else answer.get("id")
        if type(schema_id) is not int or not 1 <= schema_id <= LARGEST_ID:
            raise self._strange(f"subject {subject!r}", answer)
        return schema_id

    def _text(self, schema_id: int, answer: dict[str, Any] | None) -> str | None:
        if answer is None:
            return None
        text = answer.get("schema")
        if not isinstance(text, str):
            raise self._strange(f"schema {schema_id}", answer)
        return text

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, subject: str = ""
    ) -> dict[str, Any] | None:
        """The answer's object; None where the registry says it has no such thing."""
        content = None if body is None else orjson.dumps(body)
        request = Request(method, self._url + path, content)
        (answer,) = self._requests.all([request])
        assert answer is not None  # of which only a limit on the time makes one
        return self._read(request, answer, subject)

    def _read(
        self, request: Request, answered: Answer | Exception, subject: str = ""
    ) -> dict[str, Any] | None:
        if isinstance(answered, Exception):
            raise RegistryUnavailableError(
                f"the schema registry at {self._url} does not answer: "
                f"{answered or type(answered).__name__}; waiting for it, nothing is lost"
            ) from answered
        status, content = answered
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        if status == 200 and answer:
            return answer
        code, message = answer.get("error_code"), str(answer.get("message", ""))[:300]
        # Without an error code it is someone else's 404: a proxy's, or of a path that is wrong.
        if status == 404 and isinstance(code, int) and str(code).startswith("404"):
            return None
        if status in (401, 403):
            raise ConfigurationError(
                f"the schema registry at {self._url} does not let us in ({status} {message}): set "
                f"{USER}=USER:PASSWORD in DRIFTLOOP_REGISTRY_OPTIONS"
            )
        if status in (409, 422) and subject:
            raise SchemaError(
                f"the schema registry refuses the schema of subject {subject!r} "
                f"({status} {message}): make it compatible with the versions that are there, or "
                "change the subject's compatibility"
            )
        raise RegistryUnavailableError(
            f"the schema registry at {self._url} answered {status} {message} to "
            f"{request.method} {request.path(self._url)}; "
            "if that stays so, look whether SCHEMA_REGISTRY_URL has the right path"
        )

    def _strange(self, what: str, answer: Any) -> RegistryUnavailableError:
        return RegistryUnavailableError(
            f"the schema registry at {self._url} answered on {what} with {_shown(answer)}"
        )


def _context(options: Mapping[str, str]) -> ssl.SSLContext | bool:
    """How a registry's certificate is checked, and ours shown; True: as the machine has it."""
    if not any(options.get(name) for name in (CA, CERTIFICATE, KEY)):
        return True
    ca, certificate, key = (options.get(name) for name in (CA, CERTIFICATE, KEY))
    if key and not certificate:
        raise SettingsError(f"{KEY} of the schema registry needs {CERTIFICATE} too")
    for path in filter(None, (ca, certificate, key)):
        if not Path(path).is_file():
            raise SettingsError(f"the schema registry's options name {path}, which is no file")
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"TLS with the schema registry cannot be set up: {error}") from error
    return context


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

"""Three requests of the Schema Registry's REST interface, over aiohttp.

Source: Confluent's "Schema Registry API Reference" (schemas by id, look-up and registration under
a subject); Apicurio answers the same under ``/apis/ccompat/v7``.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from yarl import URL

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
_LONGEST = 4 << 20
"""Bytes of an answer."""


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
        self._headers = {"Accept": f"{_CONTENT}, application/json", "Content-Type": _CONTENT}
        if user := options.get(USER):
            if ":" not in user:
                raise SettingsError(f"{USER} of the schema registry must be USER:PASSWORD")
            self._headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        self._ssl: ssl.SSLContext | bool = _context(options)
        try:
            self._timeout_s = int(options.get(TIMEOUT, _TIMEOUT_MS)) / 1000
        except ValueError as error:
            raise SettingsError(f"{TIMEOUT} of the schema registry: {error}") from error

    def text_of(self, schema_id: int) -> str | None:
        """See the port."""
        answer = self._ask("GET", f"/schemas/ids/{schema_id}")
        if answer is None:
            return None
        text = answer.get("schema")
        if not isinstance(text, str):
            raise self._strange(f"schema {schema_id}", answer)
        return text

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

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, subject: str = ""
    ) -> dict[str, Any] | None:
        """The answer's object; None where the registry says it has no such thing."""
        # In a thread of its own, as the caller's may run a loop already.
        with ThreadPoolExecutor(1, thread_name_prefix="registry") as pool:
            try:
                status, content = pool.submit(
                    lambda: asyncio.run(self._request(method, path, body))
                ).result()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise RegistryUnavailableError(
                    f"the schema registry at {self._url} does not answer: "
                    f"{error or type(error).__name__}; waiting for it, nothing is lost"
                ) from error
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
            f"the schema registry at {self._url} answered {status} {message} to {method} {path}; "
            "if that stays so, look whether SCHEMA_REGISTRY_URL has the right path"
        )

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with (
            aiohttp.ClientSession(
                timeout=timeout, headers=self._headers, trust_env=True
            ) as session,
            session.request(
                method,
                URL(self._url + path, encoded=True),
                data=None if body is None else orjson.dumps(body),
                ssl=self._ssl,
                # A redirect would carry the password elsewhere.
                allow_redirects=False,
            ) as response,
        ):
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > _LONGEST:
                    raise aiohttp.ClientPayloadError(f"an answer of more than {_LONGEST} bytes")
            return response.status, bytes(content)

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

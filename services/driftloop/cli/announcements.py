"""Where the processes of a directory are: what each wrote into ``run/`` when it started, and what
its HTTP says."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Where to reach a server that listens everywhere."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """One process of a service."""

    service: str
    instance: str
    host: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://{_EVERY_ADDRESS.get(self.host, self.host)}:{self.port}"

    def get(self, path: str, timeout_s: float = 2.0) -> tuple[int, bytes] | None:
        """HTTP status and body; None when it does not answer."""
        host = _EVERY_ADDRESS.get(self.host, self.host)
        # Not urllib: a proxy of the environment is not for the loopback interface.
        connection = http.client.HTTPConnection(host, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def ready(self) -> bool:
        """Whether ``/readyz`` says so."""
        answer = self.get("/readyz")
        return answer is not None and answer[0] == 200

    def status(self) -> Mapping[str, Any] | None:
        """What ``/status`` says; None while there is no answer to have."""
        answer = self.get("/status")
        if answer is None or answer[0] != 200:
            return None
        try:
            document: Mapping[str, Any] = orjson.loads(answer[1])
        except orjson.JSONDecodeError:
            return None
        return document


def announcement_path(directory: Path, service: str, instance: str) -> Path:
    """The file that ``adapters.process`` writes."""
    return directory / "run" / f"{service}-{instance}.json"


def read_announcement(path: Path) -> Announcement | None:
    """None where the file is absent, half written or none of ours."""
    try:
        entry = orjson.loads(path.read_bytes())
        return Announcement(
            str(entry["service"]),
            str(entry["instance"]),
            str(entry["host"]),
            int(entry["port"]),
            int(entry["pid"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def announced(directory: Path) -> list[Announcement]:
    """The processes that run by now, by service and instance."""
    found = [read_announcement(path) for path in sorted((directory / "run").glob("*-*.json"))]
    return [entry for entry in found if entry is not None and alive(entry.pid)]


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""The facts about the local Kafka, read from the TOML files in ``data/``."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from driftloop.kernel.errors import BrokerError

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: Maven coordinates ``group:artifact:version``, length in bytes, digest."""

    coordinates: str
    length: int
    sha256: str

    @property
    def file_name(self) -> str:
        """The name that Maven gives the file, e.g. ``kafka-clients-4.2.2.jar``."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"

    @property
    def repository_path(self) -> str:
        """Where a Maven repository keeps it, relative to the repository's root."""
        group, artifact, version = self.coordinates.split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{self.file_name}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One version of Kafka as the project brings it.

    ``settings`` are the broker's, in order, values still holding ``{port}``, ``{controller_port}``
    and ``{data}``; ``roots`` are the coordinates that ``jars`` were resolved from.
    """

    version: str
    roots: tuple[str, ...]
    jars: tuple[Jar, ...]
    broker_class: str
    storage_class: str
    java_options: tuple[str, ...]
    settings: Mapping[str, str]

    @property
    def length(self) -> int:
        """Length of all jars together."""
        return sum(jar.length for jar in self.jars)

    @property
    def identity(self) -> str:
        """Names this exact set of jars; a directory with this name never changes its content."""
        pins = "\n".join(f"{jar.coordinates} {jar.sha256}" for jar in self.jars)
        return f"{self.version}-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"

    def render_settings(self, *, port: int, controller_port: int, data: Path) -> bytes:
        """The content of ``server.properties``, in the encoding that Java reads.

        Raises BrokerError when the data directory's path holds a comma, which Kafka would take
        for a list of directories.
        """
        if "," in str(data):
            raise BrokerError(
                f"the broker's directory {str(data)!r} holds a comma, which Kafka reads as the end "
                "of one directory and the start of another; choose a path without one"
            )
        filled = {"port": port, "controller_port": controller_port, "data": str(data)}
        lines = [f"{name}={_escape(text.format(**filled))}" for name, text in self.settings.items()]
        return ("\n".join(lines) + "\n").encode("ascii")


def load_distribution() -> Distribution:
    """The distribution that this version of the package pins."""
    kafka = _read("kafka.toml")
    settings: dict[str, str] = {}
    for group in _read("server.toml").values():
        settings.update({name: _text(value) for name, value in group.items()})
    return Distribution(
        version=kafka["version"],
        roots=tuple(kafka["roots"]),
        jars=tuple(
            Jar(coordinates=jar["coordinates"], length=jar["bytes"], sha256=jar["sha256"])
            for jar in _read("jars.toml")["jar"]
        ),
        broker_class=kafka["classes"]["broker"],
        storage_class=kafka["classes"]["storage"],
        java_options=tuple(kafka["java"]["options"]),
        settings=settings,
    )


def _read(name: str) -> dict[str, Any]:
    folder = resources.files("driftloop.adapters.broker") / "data"
    return tomllib.loads((folder / name).read_text(encoding="utf-8"))


def _text(value: object) -> str:
    # Java's booleans are lower case; Python's are not.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escape(text: str) -> str:
    """As java.util.Properties wants a value: ASCII, UTF-16 units as escapes, no leading blank."""
    units: list[str] = []
    for character in text:
        if character in _ESCAPES:
            units.append(_ESCAPES[character])
        elif " " < character <= "~":
            units.append(character)
        else:
            raw = character.encode("utf-16-be", "surrogatepass")
            units += [f"\\u{raw[i]:02x}{raw[i + 1]:02x}" for i in range(0, len(raw), 2)]
    return "".join(units)

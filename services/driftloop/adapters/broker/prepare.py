"""What a local broker can have ready before it is wanted: jars, and an archive of its classes.

The archive (JEP 483 and 514: ahead-of-time class loading and linking) holds the classes that a
start of Kafka loads, already parsed and linked. With it a start takes about a third of the time;
making it takes some twenty seconds and 65 MB, once for each Java and set of jars.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from driftloop.adapters.broker.distribution import load_distribution
from driftloop.adapters.broker.jars import exclusive, obtain_jars
from driftloop.adapters.broker.java import find_java
from driftloop.adapters.broker.supervisor import LocalBroker

# The archive is written while the process ends, on two busy cores in half a minute or more.
_WRITING_DEADLINE_S = 180.0


def prepare(progress: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> None:
    """Fetches the jars and makes the archive, where they are not there yet.

    Raises BrokerError as a start would. An archive that could not be made is only reported:
    a broker starts without it, slower.
    """
    java = find_java()
    distribution = load_distribution()
    jars = obtain_jars(distribution, environ, progress)
    archive = java.archive(distribution, jars, environ)
    if archive.is_file():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    waiting = "another process is preparing Kafka's classes; waiting"
    with exclusive(archive.parent / "classes.lock", progress, waiting):
        if archive.is_file():
            return
        progress("preparing Kafka's classes, for quick starts (once)")
        with tempfile.TemporaryDirectory(prefix=".training-", dir=archive.parent) as training:
            written = Path(training) / "classes.aot"
            with LocalBroker(
                Path(training),
                environ=environ,
                stop_deadline_s=_WRITING_DEADLINE_S,
                java_options=[f"-XX:AOTCacheOutput={written}"],
            ):
                pass  # what a start, a group join and a transaction load is what the archive holds
            if not written.is_file():
                progress("no archive of Kafka's classes was written; starts will be slower")
                return
            os.replace(written, archive)
    progress(f"Kafka's classes are prepared ({archive.stat().st_size / 1e6:.0f} MB)")

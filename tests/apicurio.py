"""A real schema registry for tests: Apicurio, from Maven Central, on the Java of a wheel."""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftloop.adapters.broker.jars import cache_directory, digest_of, exclusive, maven_context
from driftloop.adapters.broker.java import ENVIRONMENT, find_java
from driftloop.adapters.broker.process import GuardedProcess

GROUP, ARTIFACT, VERSION = "io.apicurio", "apicurio-registry-app", "3.0.9"
SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
_RUNNER = f"{ARTIFACT}-{VERSION}-runner.jar"
_DEADLINE_S = 90.0


def archive() -> Path:
    """The pinned archive (109 MB), fetched the first time; its digest is checked every time."""
    home = cache_directory(os.environ) / "apicurio"
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "lock", print, "another process is fetching the registry"):
        from jgo.parse import Coordinate

        context = maven_context()(repo_cache=home / "repository", timeout=60)
        wanted = Coordinate(GROUP, ARTIFACT, VERSION, classifier="all", packaging="tar.gz")
        path = Path(context.create_dependency(wanted).artifact.resolve())
        found = digest_of(path)
        if found != SHA256:
            path.unlink()
            raise AssertionError(f"{path} has SHA-256 {found}, pinned is {SHA256}; it was not run")
    return path


@contextmanager
def apicurio(directory: Path) -> Iterator[str]:
    """Its address, the one that speaks as Confluent's does. In memory; gone afterwards."""
    with tarfile.open(archive()) as packed:
        # Its digest is pinned; the first releases of 3.11 know no filters.
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(directory / "unpacked")
    (runner,) = directory.rglob(_RUNNER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(find_java().executable), "-Xmx512m", "-XX:+UseSerialGC"),
        f"-Djava.io.tmpdir={directory}",
        f"-Dquarkus.http.port={port}",
        "-Dquarkus.http.host=127.0.0.1",
        *("-jar", str(runner)),
    ]
    log = directory / "apicurio.log"
    process = GuardedProcess(command, environ=ENVIRONMENT, log=log, grace_s=10.0)
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        _wait(url, process, log)
        yield url
    finally:
        process.stop()
        shutil.rmtree(runner.parent, ignore_errors=True)


def _wait(url: str, process: GuardedProcess, log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    again = threading.Event()
    while True:
        try:
            with urllib.request.urlopen(f"{url}/subjects", timeout=5):
                return
        except OSError as error:
            if not process.running or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise AssertionError(f"the registry did not start: {error}\n{tail}") from error
        again.wait(0.2)

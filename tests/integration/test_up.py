"""``driftloop up`` as a person runs it: everything ready, found from elsewhere, and gone again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from driftloop.cli.announcements import alive
from driftloop.cli.supervision import SERVICES

DECLARATION = Path(__file__).parents[2] / "infra" / "models" / "flights.toml"


def driftloop(environ: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "driftloop.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_runs_every_service_until_it_is_told_to_stop(
    kafka: str, tmp_path: Path, number: signal.Signals
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "DRIFTLOOP_DIRECTORY": str(tmp_path),
        "DRIFTLOOP_PREFIX": f"up.{tmp_path.name}.",
    }
    up = driftloop(environ, "up", "--json")
    with up:
        try:
            assert up.stdout is not None
            ready = json.loads(up.stdout.readline())
            assert ready["event"] == "ready"
            services = ready["services"]
            assert [s["service"] for s in services] == list(SERVICES)
            assert all(s["ready"] for s in services)
            said, _ = driftloop(environ, "status", "--json").communicate(timeout=60)
            assert [s["pid"] for s in json.loads(said)["services"]] == [s["pid"] for s in services]
        finally:
            up.send_signal(number)
        rest, words = up.communicate(timeout=60)
    assert (up.returncode, rest) == (0, '{"event":"stopped"}\n'), words
    assert "Traceback" not in words
    assert not any(alive(s["pid"]) for s in services)
    assert not list((tmp_path / "run").glob("*.json"))


@pytest.mark.kafka
def test_a_declaration_is_applied_once_and_in_force_from_then_on(
    kafka: str, tmp_path: Path
) -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "DRIFTLOOP_PREFIX": f"apply.{tmp_path.name}."}
    name = f"m{abs(hash(tmp_path.name))}"
    text = DECLARATION.read_text().replace('name = "flights"', f'name = "{name}"', 1)
    schema = DECLARATION.parents[2] / "schemas" / "models" / "flights-event.avsc"
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("../../schemas/models/flights-event.avsc", str(schema)))
    for changed in (True, False):
        applying = driftloop(environ, "apply", str(mine), "--json")
        said, words = applying.communicate(timeout=60)
        assert applying.returncode == 0, words
        assert json.loads(said)["changed"] is changed

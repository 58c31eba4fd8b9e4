"""The command line on a log in memory: what it prints, its JSON, its errors and exit codes."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest
from click.testing import Result
from typer.testing import CliRunner

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.memory import MemoryLog
from driftloop.cli import __main__ as command_line
from driftloop.cli import asking, tailing
from driftloop.cli.brokering import broker, running_broker
from driftloop.cli.control import read_records
from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import LogUnavailableError
from driftloop.kernel.ports import Log, Send
from driftloop.kernel.records import (
    RECORDS,
    Command,
    CommandAction,
    DeadLetter,
    Deployment,
    Label,
    ModelRecord,
    Stage,
)
from driftloop.kernel.settings import Settings

TOML = """
[model]
name = "m"
partitions = 2
[events]
schema = "m.avsc"
format = "json"
id = "id"
time = "at"
[[features]]
name = "x"
kind = "numeric"
limits = [-1000, 1000]
"""
SCHEMA = {
    "type": "record",
    "name": "M",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "x", "type": "double"},
    ],
}
COMMANDS = [
    *("up", "apply", "produce", "tail", "status", "verify", "demo"),
    *("retrain", "promote", "reject", "rollback"),
]

Run = Callable[..., Result]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(SystemClock())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(bootstrap="memory", directory=tmp_path / "state")


@pytest.fixture
def run(log: MemoryLog, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    @contextmanager
    def memory() -> Iterator[tuple[Log, Settings]]:
        yield log, settings

    monkeypatch.setattr(command_line, "running_log", memory)
    monkeypatch.setattr(asking, "running_log", memory)
    runner = CliRunner()

    def invoke(*arguments: str, stdin: bytes | None = None) -> Result:
        return runner.invoke(command_line.app, [*arguments], input=stdin)

    return invoke


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    (tmp_path / "m.avsc").write_text(json.dumps(SCHEMA))
    path = tmp_path / "m.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def applied(run: Run, declaration: Path) -> Path:
    assert run("apply", str(declaration)).exit_code == 0
    return declaration


def document(result: Result) -> dict[str, Any]:
    """The one JSON object on standard output."""
    assert result.exit_code in (0, 1), result.stderr
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def values(log: MemoryLog, topic: str) -> list[bytes]:
    follower = log.follow([topic])
    return [value for batch in follower.poll(1000, 0) for value in batch.values if value]


def test_help_names_every_command(run: Run) -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in shown.stdout


@pytest.mark.parametrize(
    "command", [*([c] for c in COMMANDS if c != "verify"), ["verify", "windows"]]
)
def test_every_command_speaks_json(run: Run, command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert "--json" in shown.stdout


def test_an_unknown_option_is_a_usage_error(run: Run) -> None:
    assert run("apply", "--no-such-option").exit_code == 2


def test_tail_offers_exactly_what_can_be_followed() -> None:
    assert {kind.value for kind in command_line.TailKind} == set(tailing.KINDS)
    assert set(tailing.KINDS.values()) < set(RECORDS)


def test_a_declaration_is_published_with_its_author_and_schema(
    run: Run, log: MemoryLog, settings: Settings, declaration: Path
) -> None:
    said = document(run("apply", str(declaration), "--json"))
    assert said["model"] == "m"
    assert said["changed"] is True
    assert said["made"] == ["m.events", "m.labels", "m.predictions", "m.outcomes"]
    (record,) = read_records(log, ModelRecord, settings.topics.models)
    assert (record.name, record.declaration) == ("m", TOML)
    assert json.loads(record.event_schema) == SCHEMA
    assert record.applied_by == said["applied_by"] != ""
    assert {log.partitions(topic) for topic in said["made"]} == {2}


def test_a_declaration_lies_in_its_models_control_partition(
    log: MemoryLog, settings: Settings, applied: Path
) -> None:
    batches = log.follow([settings.topics.models]).poll(10, 0)
    assert [(b.partition, b.keys) for b in batches] == [(settings.topics.partition("m"), [b"m"])]


def test_the_same_declaration_again_changes_nothing(
    run: Run, log: MemoryLog, settings: Settings, applied: Path
) -> None:
    said = document(run("apply", str(applied), "--json"))
    assert (said["changed"], said["made"]) == (False, [])
    assert len(list(read_records(log, ModelRecord, settings.topics.models))) == 1


def test_a_check_publishes_nothing(run: Run, log: MemoryLog, declaration: Path) -> None:
    assert document(run("apply", str(declaration), "--check", "--json"))["valid"] is True
    assert log.partitions("m.events") == 0


def test_a_wrong_declaration_is_reported_by_line_without_a_traceback(
    run: Run, declaration: Path
) -> None:
    declaration.write_text(TOML.replace('kind = "numeric"', 'kind = "numerik"'))
    result = run("apply", str(declaration), "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"{declaration}:12: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_trainer_is_found_by_the_check(run: Run, declaration: Path) -> None:
    declaration.write_text(f'{TOML}[[training.candidates]]\ntrainer = "oracle"\n')
    result = run("apply", "--check", str(declaration))
    assert result.exit_code == 1
    assert "oracle" in result.stderr


def test_a_schema_that_is_not_there_names_the_line_that_asks_for_it(
    run: Run, declaration: Path
) -> None:
    (declaration.parent / "m.avsc").unlink()
    result = run("apply", str(declaration))
    assert result.exit_code == 1
    assert f"{declaration}:6: " in result.stderr


def test_a_declaration_that_is_not_there_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("apply", str(tmp_path / "none.toml"))
    assert result.exit_code == 1
    assert "none.toml cannot be read" in result.stderr


def test_an_events_topic_with_other_partitions_is_refused_before_anything_is_made(
    run: Run, log: MemoryLog, settings: Settings, declaration: Path
) -> None:
    from driftloop.kernel.ports import TopicSpec

    log.ensure_topics([TopicSpec("m.events", 6)])
    result = run("apply", str(declaration))
    assert result.exit_code == 1
    assert "write partitions = 6 in [model]" in result.stderr
    assert log.partitions("m.predictions") == 0
    assert not list(read_records(log, ModelRecord, settings.topics.models))


def test_a_topic_of_another_model_is_refused(run: Run, applied: Path) -> None:
    applied.write_text(
        TOML.replace('name = "m"', 'name = "other"', 1) + '[topics]\nevents = "m.events"\n'
    )
    result = run("apply", str(applied))
    assert result.exit_code == 1
    assert "'m.events' belongs to model 'm'" in result.stderr


def test_events_are_sent_from_json_lines(run: Run, log: MemoryLog, applied: Path) -> None:
    lines = b'{"id": "a", "at": 1, "x": 0.5}\n\n{"id": "b", "at": 2, "x": 1}\n'
    said = document(run("produce", "m", "--json", stdin=lines))
    assert (said["sent"], said["rejected"]) == (2, 0)
    assert sorted(json.loads(v)["id"] for v in values(log, "m.events")) == ["a", "b"]


def test_lines_that_do_not_fit_are_named_and_left_out(
    run: Run, log: MemoryLog, applied: Path
) -> None:
    lines = b'{"id": "a", "at": 1}\nnot json\n[1]\n{"id": "b", "at": 2, "x": 1}\n'
    result = run("produce", "m", "-", "--json", stdin=lines)
    said = document(result)
    assert (said["sent"], said["rejected"]) == (1, 3)
    assert [problem.split(":")[0] for problem in said["problems"]] == ["line 1", "line 2", "line 3"]
    assert "'x' is missing" in said["problems"][0]
    assert "line 2: this is not JSON" in result.stderr


def test_strict_stops_at_the_first_line_that_does_not_fit(
    run: Run, log: MemoryLog, applied: Path
) -> None:
    lines = b'{"id": "a", "at": 1, "x": 1}\nnot json\n{"id": "b", "at": 2, "x": 1}\n'
    result = run("produce", "m", "--strict", stdin=lines)
    assert result.exit_code == 1
    assert "line 2" in result.stderr
    assert len(values(log, "m.events")) == 1


def test_events_are_sent_from_an_avro_file(
    run: Run, log: MemoryLog, applied: Path, tmp_path: Path
) -> None:
    rows = [{"id": str(i), "at": 1_357_000_000_000 + i, "x": i / 2} for i in range(50)]
    path = tmp_path / "events.avro"
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(SCHEMA), rows, codec="deflate")
    assert document(run("produce", "m", str(path), "--json"))["sent"] == 50
    sent = [json.loads(value) for value in values(log, "m.events")]
    assert sorted(sent, key=lambda row: int(row["id"])) == rows


def test_a_damaged_avro_file_is_an_error_that_says_where(
    run: Run, log: MemoryLog, applied: Path
) -> None:
    whole = io.BytesIO()
    rows = [{"id": str(i), "at": i, "x": 0.0} for i in range(50)]
    fastavro.writer(whole, fastavro.parse_schema(SCHEMA), rows, sync_interval=10)
    result = run("produce", "m", stdin=whole.getvalue()[:-20])
    assert result.exit_code == 1
    assert "damaged after record" in result.stderr
    assert 0 < len(values(log, "m.events")) < 50


def test_labels_are_sent_as_label_records(run: Run, log: MemoryLog, applied: Path) -> None:
    lines = b'{"event_id": "a", "label": 1, "observed_at": 5}\n{"event_id": "b", "label": 7}\n'
    said = document(run("produce", "m", "--labels", "--json", stdin=lines))
    assert (said["sent"], said["rejected"]) == (1, 1)
    (value,) = values(log, "m.labels")
    assert codec(Label).decode(value) == Label("a", 1.0, 5)


def test_labels_may_be_names_of_classes(run: Run, log: MemoryLog, declaration: Path) -> None:
    several = TOML.replace(
        "partitions", 'task = "multiclass"\nclasses = ["red", "blue"]\npartitions'
    )
    declaration.write_text(several)
    assert run("apply", str(declaration)).exit_code == 0
    lines = (
        b'{"event_id": "a", "label": "blue", "observed_at": 5}\n'
        b'{"event_id": "b", "label": "bleu"}\n'
    )
    result = run("produce", "m", "--labels", "--json", stdin=lines)
    said = document(result)
    assert (said["sent"], said["rejected"]) == (1, 1)
    assert "bleu" in said["problems"][0]
    (value,) = values(log, "m.labels")
    assert codec(Label).decode(value) == Label("a", 1.0, 5)


def test_a_model_that_is_not_declared_is_an_error_with_the_way_on(run: Run, applied: Path) -> None:
    result = run("retrain", "nn", "--why", "new data")
    assert result.exit_code == 1
    assert "no model 'nn' is declared; declared: m" in result.stderr


def test_a_command_is_an_entry_of_the_audit_trail(
    run: Run, log: MemoryLog, settings: Settings, applied: Path
) -> None:
    said = document(run("retrain", "m", "--why", "new data", "--json"))
    (command,) = read_records(log, Command, settings.topics.commands)
    assert command.action is CommandAction.RETRAIN
    assert (command.id, command.who, command.why) == (said["id"], said["who"], "new data")
    assert command.version == -1


@pytest.mark.parametrize("command", ["promote", "reject"])
def test_a_version_that_does_not_exist_is_refused(run: Run, applied: Path, command: str) -> None:
    result = run(command, "m", "3", "--why", "better")
    assert result.exit_code == 1
    assert "no version 3" in result.stderr


def test_a_command_without_a_reason_is_a_usage_error(run: Run, applied: Path) -> None:
    assert run("rollback", "m").exit_code == 2


def deployment(sequence: int) -> Deployment:
    return Deployment(
        "m", sequence, Stage.STEADY, sequence, -1, sequence, "promoted", sequence, 0.0, 0.0, 0, ()
    )


@pytest.fixture
def deployed(log: MemoryLog, settings: Settings, applied: Path) -> None:
    topics = settings.topics
    records = [codec(Deployment).encode(deployment(i)) for i in range(1, 31)]
    send = Send(topics.deployments, [b"m"] * 30, records, topics.partition("m"))
    log.producer("test").send(send)


@pytest.mark.usefixtures("deployed")
def test_tail_shows_the_newest_oldest_first(run: Run) -> None:
    result = run("tail", "deployments", "--no-follow", "-n", "3", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [entry["sequence"] for entry in found] == [28, 29, 30]
    assert found[0]["_offset"] == 27
    assert found[0]["stage"] == "steady"


@pytest.mark.usefixtures("deployed")
def test_tail_from_the_start_shows_everything(run: Run) -> None:
    result = run("tail", "deployments", "--no-follow", "--from-start")
    assert len(result.stdout.splitlines()) == 30
    assert "m  promoted v1: steady, champion v1" in result.stdout.splitlines()[0]


@pytest.mark.usefixtures("deployed")
def test_tail_of_another_model_shows_nothing_of_this_one(run: Run, applied: Path) -> None:
    applied.write_text(TOML.replace('name = "m"', 'name = "other"', 1))
    assert run("apply", str(applied)).exit_code == 0
    result = run("tail", "deployments", "--no-follow", "--model", "other")
    assert (result.exit_code, result.stdout) == (0, "")


def test_dead_letters_keep_their_bytes_in_json(
    run: Run, log: MemoryLog, settings: Settings, applied: Path
) -> None:
    letter = DeadLetter("inference", "truncated", "", "m.events", 0, 1, 2, None, b"\xff\0", {})
    sent = Send(settings.topics.dead_letters, [None], [codec(DeadLetter).encode(letter)], 0)
    log.producer("test").send(sent)
    found = document(run("tail", "dead-letters", "--model", "m", "--no-follow", "--json"))
    assert found["value"] == "/wA="
    assert found["key"] is None


def test_tail_without_topics_says_what_makes_them(run: Run) -> None:
    result = run("tail", "predictions", "--no-follow")
    assert result.exit_code == 1
    assert "driftloop apply" in result.stderr


@pytest.mark.usefixtures("deployed")
def test_status_names_every_service_and_model(run: Run) -> None:
    said = document(run("status", "--json"))
    assert [s["service"] for s in said["services"]][:2] == ["inference", "outcomes"]
    assert not any(s["ready"] for s in said["services"])
    (model,) = said["models"]
    assert (model["model"], model["champion"], model["stage"]) == ("m", 30, "steady")
    assert model["windows"] == {"predictions": None, "outcomes": None}
    assert model["open_alerts"] == []


def test_status_is_a_table_for_people(run: Run, applied: Path) -> None:
    shown = run("status")
    assert shown.exit_code == 0
    assert "not running" in shown.stdout
    assert "none closed yet" in shown.stdout


def test_verifying_no_windows_is_all_right(run: Run, applied: Path) -> None:
    said = document(run("verify", "windows", "--json"))
    assert said == {
        "windows": 0,
        "verified": 0,
        "mismatched": 0,
        "unverifiable": 0,
        "details": [],
    }


def test_a_wrong_setting_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, declaration: Path
) -> None:
    monkeypatch.setenv("DRIFTLOOP_CONTROL_PARTITIONS", "none")
    result = CliRunner().invoke(command_line.app, ["apply", str(declaration)])
    assert result.exit_code == 1
    assert "DRIFTLOOP_CONTROL_PARTITIONS='none'" in result.stderr


def test_without_a_kafka_a_command_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailableError, match="driftloop up"):
        running_broker(Settings(directory=tmp_path))


def test_a_kafka_that_was_named_is_used(tmp_path: Path) -> None:
    told: list[str] = []
    named = Settings(bootstrap="kafka:9092", directory=tmp_path)
    with broker(named, told.append) as used:
        assert used.bootstrap == "kafka:9092"
    assert told == ["using Kafka at kafka:9092"]


def test_an_announced_broker_is_found_while_it_lives(tmp_path: Path) -> None:
    here = Settings(directory=tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        entry = {"bootstrap": address, "pid": 1}
        (run / "broker.json").write_text(json.dumps(entry))
        assert running_broker(here) == replace(here, bootstrap=address)
    with pytest.raises(LogUnavailableError):
        running_broker(here)

"""Settings: read from a mapping, handed on to another process, secrets never shown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from driftloop.kernel.errors import SettingsError
from driftloop.kernel.settings import Settings

SECRET = "sasl.username=me,sasl.password=hunter2"


def test_absent_and_empty_variables_give_the_defaults() -> None:
    assert Settings.read({}) == Settings()
    assert Settings.read({"DRIFTLOOP_BATCH_ROWS": ""}) == Settings()


def test_every_variable_is_read() -> None:
    found = Settings.read(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2",
            "DRIFTLOOP_KAFKA_OPTIONS": "security.protocol=SASL_SSL, sasl.mechanism = PLAIN",
            "DRIFTLOOP_DIRECTORY": "/data",
            "DRIFTLOOP_BATCH_ROWS": "17",
        }
    )
    assert found.bootstrap == "a:1,b:2"
    assert found.kafka_options == {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
    assert found.artifacts == Path("/data/artifacts")
    assert found.state == Path("/data/state")
    assert found.batch_rows == 17


def test_the_environment_of_settings_makes_them_again() -> None:
    settings = Settings(
        bootstrap="a:1",
        kafka_options={"a": "b", "c": "d=e"},
        prefix="p.",
        directory=Path("/data"),
        instance="3",
        http_port=81,
        flush_interval_ms=50,
        log_level="DEBUG",
    )
    assert Settings.read(settings.environment()) == settings


def test_each_setting_has_a_variable_of_its_own() -> None:
    variables = [item.metadata["variable"] for item in fields(Settings)]
    assert len(set(variables)) == len(variables)
    assert set(Settings().environment()) == set(variables)


def test_secrets_are_masked_where_settings_are_shown() -> None:
    settings = Settings.read({"DRIFTLOOP_KAFKA_OPTIONS": SECRET})
    assert settings.shown()["DRIFTLOOP_KAFKA_OPTIONS"] == "***"
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "hunter2" not in text
        assert "***" in text


def test_nothing_is_masked_where_no_secret_is_set() -> None:
    assert Settings().shown()["DRIFTLOOP_KAFKA_OPTIONS"] == ""


def test_the_process_that_is_started_gets_the_secret() -> None:
    settings = Settings.read({"DRIFTLOOP_KAFKA_OPTIONS": SECRET})
    assert settings.environment()["DRIFTLOOP_KAFKA_OPTIONS"] == SECRET


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("DRIFTLOOP_BATCH_ROWS", "many", "Most records a service takes at once"),
        ("DRIFTLOOP_BATCH_ROWS", "0", "must be at least 1"),
        ("DRIFTLOOP_HTTP_PORT", "-1", "must be at least 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    variable: str, text: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.read({variable: text})
    assert f"{variable}={text!r}" in str(caught.value)


def test_a_wrong_secret_is_not_told() -> None:
    with pytest.raises(SettingsError, match="name=value") as caught:
        Settings.read({"DRIFTLOOP_KAFKA_OPTIONS": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_control_topics_are_named_by_prefix() -> None:
    topics = Settings(prefix="p.", control_partitions=7).topics
    assert topics.windows == "p.windows"
    assert all(spec.partitions == 7 for spec in topics.specs())

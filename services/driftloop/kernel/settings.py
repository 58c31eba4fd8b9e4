"""The registry of settings, read from an injected mapping. No setting is named anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from typing_extensions import override

from driftloop.kernel.errors import SettingsError
from driftloop.kernel.topics import ControlTopics


def _setting(
    variable: str,
    default: Any,
    help: str,
    parse: Callable[[str], Any] = str,
    *,
    secret: bool = False,
) -> Any:
    """A field that is read from ``variable``; ``default`` may be a factory."""
    metadata = {"variable": variable, "help": help, "parse": parse, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError(f"must be at least {least}")
        return value

    return parse


def _options(text: str) -> Mapping[str, str]:
    """``a=b,c=d``"""
    pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("must look like name=value,name=value")
    return {name.strip(): value.strip() for name, value in pairs}


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What one process is told from outside."""

    bootstrap: str = _setting(
        "KAFKA_BOOTSTRAP_SERVERS", "", "Kafka to use: host:port,host:port. Empty: a local one"
    )
    kafka_options: Mapping[str, str] = _setting(
        "DRIFTLOOP_KAFKA_OPTIONS",
        dict,
        "librdkafka options for every client, such as security.protocol=SASL_SSL,...",
        _options,
        secret=True,
    )
    registry: str = _setting(
        "SCHEMA_REGISTRY_URL",
        "",
        "Schema registry, http://HOST:PORT: records are then written in Confluent framing. Empty: "
        "single-object encoding",
    )
    registry_options: Mapping[str, str] = _setting(
        "DRIFTLOOP_REGISTRY_OPTIONS",
        dict,
        "Of the schema registry: basic.auth.user.info=USER:PASSWORD, ssl.ca.location, "
        "ssl.certificate.location, ssl.key.location, request.timeout.ms",
        _options,
        secret=True,
    )
    prefix: str = _setting("DRIFTLOOP_PREFIX", "driftloop.", "Prefix of the control topics")
    control_partitions: int = _setting(
        "DRIFTLOOP_CONTROL_PARTITIONS", 4, "Partitions of each control topic", _whole(1)
    )
    directory: Path = _setting(  # noqa: RUF009
        "DRIFTLOOP_DIRECTORY", Path(".driftloop"), "Where artifacts, state and logs lie", Path
    )
    instance: str = _setting(
        "DRIFTLOOP_INSTANCE", "0", "Name of this process among those of its service; survives it"
    )
    http_host: str = _setting(
        "DRIFTLOOP_HTTP_HOST", "127.0.0.1", "Address for /metrics, /healthz and, of inference, /v2"
    )
    http_port: int = _setting(
        "DRIFTLOOP_HTTP_PORT", 0, "Port for the same; 0: a free one", _whole(0)
    )
    http_body_bytes: int = _setting(
        "DRIFTLOOP_HTTP_BODY_BYTES",
        8 << 20,
        "Largest body of a request for predictions; a larger one is answered 413",
        _whole(1),
    )
    http_rows: int = _setting(
        "DRIFTLOOP_HTTP_ROWS",
        4096,
        "Most rows of one request for predictions, and of one batch of such requests",
        _whole(1),
    )
    http_queue_rows: int = _setting(
        "DRIFTLOOP_HTTP_QUEUE_ROWS",
        65_536,
        "Rows that may wait to be scored or, where a model is strict, to be acknowledged; "
        "further requests are answered 429",
        _whole(1),
    )
    http_log_records: int = _setting(
        "DRIFTLOOP_HTTP_LOG_RECORDS",
        100_000,
        "Predictions over HTTP kept while Kafka takes none; further ones are counted, not kept",
        _whole(1),
    )
    http_timeout_ms: int = _setting(
        "DRIFTLOOP_HTTP_TIMEOUT_MS",
        5_000,
        "Longest a request may take to be sent, to wait and, where its model is strict, to be "
        "acknowledged",
        _whole(1),
    )
    batch_rows: int = _setting(
        "DRIFTLOOP_BATCH_ROWS",
        4096,
        "Most records a service takes at once; up to eight times as many of a backlog that is "
        "spread over many models",
        _whole(1),
    )
    model_bytes: int = _setting(
        "DRIFTLOOP_MODEL_BYTES",
        1 << 30,
        "Memory inference gives to versions of models that share topics; the least recently used "
        "leave it",
        _whole(1),
    )
    window_bytes: int = _setting(
        "DRIFTLOOP_WINDOW_BYTES",
        1 << 30,
        "Memory featurestats gives to windows that rows come to, looked at when it writes "
        "partials; beyond it some are put away until their next rows, the longest without any "
        "first",
        _whole(1),
    )
    flush_interval_ms: int = _setting(
        "DRIFTLOOP_FLUSH_INTERVAL_MS",
        1000,
        "How often featurestats writes partials; less often where there are many",
        _whole(1),
    )
    idle_after_ms: int = _setting(
        "DRIFTLOOP_IDLE_AFTER_MS",
        30_000,
        "A partition silent for so long no longer holds windows back, once all that its events led "
        "to has been read",
        _whole(1),
    )
    dead_letter_limit: int = _setting(
        "DRIFTLOOP_DEAD_LETTER_LIMIT",
        100_000,
        "Rejected records after which a service stops",
        _whole(1),
    )
    niceness: int = _setting(
        "DRIFTLOOP_NICENESS",
        0,
        "Added to the process's niceness. 'driftloop up' gives 5 to all but inference",
        _whole(0),
    )
    log_level: str = _setting("DRIFTLOOP_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR")

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises :class:`SettingsError` naming the variable, its value and what would be right."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = item.metadata["variable"]
            text = environment.get(variable)
            if text is None or text == "":
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                shown = "***" if item.metadata["secret"] else repr(text)
                raise SettingsError(
                    f"{variable}={shown}: {error}. It is: {item.metadata['help']}"
                ) from error
        return cls(**values)

    def environment(self) -> dict[str, str]:
        """The variables that make these settings again in another process."""
        found = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                value = ",".join(f"{k}={v}" for k, v in value.items())
            found[item.metadata["variable"]] = str(value)
        return found

    def shown(self) -> dict[str, str]:
        """Variable to value, secrets masked."""
        values = self.environment()
        for item in fields(self):
            if item.metadata["secret"] and values[item.metadata["variable"]]:
                values[item.metadata["variable"]] = "***"
        return values

    @override
    def __repr__(self) -> str:
        return f"Settings({self.shown()})"

    @property
    def topics(self) -> ControlTopics:
        return ControlTopics(self.prefix, self.control_partitions)

    @property
    def artifacts(self) -> Path:
        return self.directory / "artifacts"

    @property
    def state(self) -> Path:
        return self.directory / "state"

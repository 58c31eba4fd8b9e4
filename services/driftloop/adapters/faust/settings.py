"""Every Faust setting driftloop sets, each with its reason, in one place."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faust
from mode import CrashingSupervisor

from driftloop.kernel.errors import ConfigurationError
from driftloop.kernel.topics import LARGEST_RECORD

_KNOWN = {
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
}


def app_settings(
    bootstrap: str, directory: Path, options: Mapping[str, str], partitions: int
) -> dict[str, Any]:
    """Arguments of ``faust.App``. Raises :class:`ConfigurationError` on security options that have
    no counterpart in Faust."""
    return {
        "broker": [f"kafka://{server.strip()}" for server in bootstrap.split(",")],
        "broker_credentials": credentials(options),
        "store": "memory://",
        # Faust makes a directory even when nothing is stored in it.
        "datadir": str(directory),
        "autodiscover": False,
        # A service has a port of its own; Faust's web server would take a fixed one.
        "web_enabled": False,
        # Topics are made beforehand, with driftloop's own settings.
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "reply_create_topic": False,
        "topic_partitions": partitions,
        "table_standby_replicas": 0,
        "consumer_auto_offset_reset": "earliest",
        "stream_wait_empty": False,
        "stream_recovery_delay": 0.0,
        # An agent that fails must not be started again as if nothing had happened.
        "agent_supervisor": CrashingSupervisor,
        # A killed member's partitions come back after this, the broker's least value by default.
        "broker_session_timeout": 6.0,
        "broker_heartbeat_interval": 1.0,
        "producer_acks": -1,
        # Windows of many features, and dead letters, are larger than Faust's default of 1 MB.
        "producer_max_request_size": LARGEST_RECORD,
    }


def credentials(options: Mapping[str, str]) -> Any:
    """Faust's credentials from librdkafka's options, as far as both have them."""
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    security = {o for o in options if o.startswith(("sasl.", "ssl.", "security."))}
    if unknown := sorted(security - _KNOWN):
        raise ConfigurationError(
            f"Kafka options {', '.join(unknown)} cannot be passed on to Faust, which merges "
            f"windows; it takes {', '.join(sorted(_KNOWN))}"
        )
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
    if protocol.startswith("SASL_"):
        return faust.SASLCredentials(
            username=options.get("sasl.username"),
            password=options.get("sasl.password"),
            mechanism=options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)

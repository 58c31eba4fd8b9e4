"""What a user imports: produce events and labels, iterate alerts.

::

    from driftloop.client import Client

    with Client("localhost:9092") as client:
        client.events("flights").send({"flight_id": "UA1545", ...})
        client.label("flights", "UA1545", label=1, observed_at=datetime.now(UTC))
        for alert in client.alerts("flights", follow=False):
            print(alert.summary)
"""

from driftloop.client.connection import Client
from driftloop.client.events import EventStream
from driftloop.kernel.attention import Attention, attention
from driftloop.kernel.errors import ConfigurationError, LogError, RecordError
from driftloop.kernel.records import Alert, AlertKind, AlertStatus, Evidence, Finding, Severity

__all__ = [
    "Alert",
    "AlertKind",
    "AlertStatus",
    "Attention",
    "Client",
    "ConfigurationError",
    "EventStream",
    "Evidence",
    "Finding",
    "LogError",
    "RecordError",
    "Severity",
    "attention",
]

"""HTTP: health, readiness, metrics and status of a service, and what else it serves."""

from driftloop.adapters.http.exchange import JSON, TEXT, Exchange
from driftloop.adapters.http.server import Application, StatusServer, status_document

__all__ = ["JSON", "TEXT", "Application", "Exchange", "StatusServer", "status_document"]

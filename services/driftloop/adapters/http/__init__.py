"""HTTP: health, readiness, metrics and status of a service, and what else it serves."""

from driftloop.adapters.http.exchange import JSON, TEXT, Exchange
from driftloop.adapters.http.pages import StatusPages, status_document
from driftloop.adapters.http.server import Application, ApplicationServer
from driftloop.adapters.http.status import StatusServer

__all__ = [
    "JSON",
    "TEXT",
    "Application",
    "ApplicationServer",
    "Exchange",
    "StatusPages",
    "StatusServer",
    "status_document",
]

"""HTTP (aiohttp): health, readiness, metrics and status of a service."""

from driftloop.adapters.http.server import StatusServer, status_document

__all__ = ["StatusServer", "status_document"]

"""A local Apache Kafka for whoever has none: jars, settings, and a process that is looked after.

``LocalBroker`` is the supervisor; ``prepare`` fetches what it needs ahead of time. The facts
(version, coordinates, digests, settings) are TOML in ``data/``. May import the kernel and
``adapters.kafka`` (to ask whether the broker answers); needs the extra ``local``.
"""

from driftloop.adapters.broker.jars import cache_directory, obtain_jars
from driftloop.adapters.broker.prepare import prepare
from driftloop.adapters.broker.supervisor import LocalBroker

__all__ = ["LocalBroker", "cache_directory", "obtain_jars", "prepare"]

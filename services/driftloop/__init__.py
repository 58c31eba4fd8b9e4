"""driftloop: event-driven machine learning on Kafka that keeps itself right.

``kernel`` is pure; ``adapters`` touch the world; each service package holds one core and the shell
that wires it; ``cli`` is the composition root. Users import ``driftloop.client`` only.
"""

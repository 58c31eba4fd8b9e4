"""The same work done by others, each in a process of its own: ``python -m loadtest.peers.NAME``."""

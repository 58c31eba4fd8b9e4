"""The log as lists in this process, behind the same ports as Kafka: for tests and small trials."""

from driftloop.adapters.memory.log import MemoryLog

__all__ = ["MemoryLog"]

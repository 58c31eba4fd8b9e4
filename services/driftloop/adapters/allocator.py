"""Memory that was freed, given back to the system.

glibc keeps what a thread has freed for that thread's next allocations, unless it lies at the very
end of an arena; and every thread, those of each Kafka client too, is given one of some 16 arenas
per two processors. A process that takes much for a moment, each time on other threads, therefore
grows by as much again and again, though little of it is in use.
"""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """Return all free pages of all arenas to the system. For moments after much was freed: it
    takes some milliseconds, and what is needed again is faulted in anew. Whether any was returned;
    False where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False

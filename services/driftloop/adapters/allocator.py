"""Memory that was freed: kept for the next batch, or given back to the system.

Every batch makes arrays of megabytes and frees them. glibc takes such arrays from the system one by
one and gives them back at once; then each page of the next batch's is faulted in and zeroed anew,
an eighth of the time of a service that only counts. Kept, they are there.

glibc keeps what a thread has freed for that thread's next allocations, unless it lies at the very
end of an arena; and every thread, those of each Kafka client too, is given one of some 16 arenas
per two processors. A process that takes much for a moment, each time on other threads, therefore
grows by as much again and again, though little of it is in use.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters' numbers in glibc's malloc.h."""
_KEPT = 128 * 2**20
"""Free bytes that stay at the end of the heap."""
_LARGE = 32 * 2**20
"""From here on an array is still taken from the system by itself."""


def keep() -> bool:
    """Keep what batches need again and again. For the start of a process. Whether that was done;
    False where the C library is another."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    return tune is not None and all(
        tune(name, size) == 1
        for name, size in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _KEPT))
    )


def give_back() -> bool:
    """Return all free pages of all arenas to the system. For moments after much was freed: it
    takes some milliseconds, and what is needed again is faulted in anew. Whether any was returned;
    False where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False

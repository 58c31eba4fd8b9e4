"""librdkafka's own C interface, for the two calls that are made per record.

The Python client makes an object of every record it reads, and takes every record it writes in a
call of its own: 3 to 6 us per record on the machine this was measured on, where the library itself
needs about one. Here whole batches go in and out as columns. Everything else (groups, rebalances,
administration) stays with the Python client.
"""

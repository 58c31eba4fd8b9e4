"""The pure kernel: records, topics, codec, windows, statistics, ports, the runner.

Imports only the standard library's pure parts, numpy, numba, fastavro and orjson. Everything else
in driftloop may import it; it imports nothing of driftloop outside itself.
"""

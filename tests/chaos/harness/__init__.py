"""Chaos: the loop under kills and broker restarts, and whether the log is exact afterwards."""

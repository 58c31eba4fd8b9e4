"""Benchmarks side by side: ``make bench NAME=...``. Each ends with one JSON object on stdout."""

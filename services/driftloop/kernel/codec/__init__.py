"""Bytes and records: framing, single records through fastavro, batches through a compiled plan."""

"""The world: Kafka, memory, HTTP, Faust, artifacts, the local broker."""

"""The log on Apache Kafka. The only package that imports confluent_kafka."""

from driftloop.adapters.kafka.log import KafkaLog

__all__ = ["KafkaLog"]

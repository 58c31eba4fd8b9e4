"""Whether a Kafka answers, and its first group join and first transaction made ahead of time.

On a fresh broker the first of each takes seconds, while the broker makes ``__consumer_offsets``
and ``__transaction_state``; whoever starts a broker provokes both before it is called ready.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from driftloop.kernel.errors import LogUnavailableError

_POLL_S = 0.25


def wait_until_answering(
    bootstrap: str, deadline_s: float, give_up: Callable[[], bool] = lambda: False
) -> str:
    """Asks for the cluster's metadata until a broker answers; the cluster's id.

    Raises LogUnavailableError after ``deadline_s`` seconds, or as soon as ``give_up()`` is true.
    """
    deadline = time.monotonic() + deadline_s
    admin = AdminClient(_settings(bootstrap))
    last = "no broker in the answer"
    while True:
        if give_up():
            raise LogUnavailableError(f"gave up waiting for Kafka at {bootstrap}: {last}")
        left = deadline - time.monotonic()
        if left <= 0:
            raise LogUnavailableError(
                f"Kafka at {bootstrap} did not answer within {deadline_s:g} s: {last}; "
                "is the address right and the broker running?"
            )
        try:
            answer = admin.list_topics(timeout=min(_POLL_S, left))
        except KafkaException as error:
            last = str(error)
            continue
        if answer.brokers:
            return str(answer.cluster_id)


def provoke_internal_topics(bootstrap: str, deadline_s: float) -> None:
    """Joins a group and commits a transaction once, on a topic that is deleted afterwards.

    Raises LogUnavailableError when either does not succeed within ``deadline_s`` seconds.
    """
    deadline = time.monotonic() + deadline_s
    name = f"driftloop.probe.{uuid.uuid4().hex}"
    admin = AdminClient(_settings(bootstrap))
    try:
        _done(admin.create_topics([NewTopic(name, 1, 1)], request_timeout=deadline_s), deadline)
        try:
            with ThreadPoolExecutor(2, thread_name_prefix="probe") as pool:
                # Together: each waits for another internal topic.
                tasks = [
                    pool.submit(_transaction, bootstrap, name, deadline),
                    pool.submit(_group_join, bootstrap, name, deadline),
                ]
                for task in tasks:
                    task.result()
        finally:
            _done(admin.delete_topics([name], request_timeout=deadline_s), deadline)
        _done(admin.delete_consumer_groups([name], request_timeout=deadline_s), deadline)
    except KafkaException as error:
        raise LogUnavailableError(
            f"Kafka at {bootstrap} answers, but a first group join and transaction failed: {error}"
        ) from error


def _transaction(bootstrap: str, name: str, deadline: float) -> None:
    producer = Producer({**_settings(bootstrap), "transactional.id": name, "linger.ms": 0})
    producer.init_transactions(_left(deadline))
    producer.begin_transaction()
    producer.produce(name, b"probe")
    producer.commit_transaction(_left(deadline))


def _group_join(bootstrap: str, name: str, deadline: float) -> None:
    consumer = Consumer(
        {
            **_settings(bootstrap),
            "group.id": name,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([name])
        # The assignment is the aim. A message or an error on the way to it is of no interest.
        while not consumer.assignment():
            consumer.poll(min(_POLL_S, _left(deadline)))
    finally:
        consumer.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise LogUnavailableError("Kafka was too slow with a first group join and transaction")
    return left


def _done(futures: dict[str, Any], deadline: float) -> None:
    for future in futures.values():
        try:
            future.result(_left(deadline))
        except TimeoutError as error:
            raise LogUnavailableError("Kafka was too slow with a request of the probe") from error


def _settings(bootstrap: str) -> dict[str, Any]:
    # A broker that is about to start refuses connections for a while; that is no news.
    return {
        "bootstrap.servers": bootstrap,
        "client.id": "driftloop-probe",
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "log_level": 0,
        "error_cb": lambda error: None,
    }

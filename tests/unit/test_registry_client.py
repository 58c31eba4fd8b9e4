"""The registry's REST requests, against one in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.registry.client import HttpRegistry
from driftloop.adapters.registry.opening import open_wire
from driftloop.adapters.registry.requests import AT_ONCE
from driftloop.kernel.errors import (
    ConfigurationError,
    RegistryUnavailableError,
    SchemaError,
    SettingsError,
)
from driftloop.kernel.schemas import record_schema
from registries import Served, served_registry

TEXT = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}'


@pytest.fixture
def served() -> Iterator[Served]:
    with served_registry() as found:
        yield found


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "registry"}


def test_a_schema_is_registered_once_and_found_by_its_id(served: Served) -> None:
    registry = HttpRegistry(served.url + "/")
    first = registry.register("a/b value", TEXT)
    assert registry.register("a/b value", TEXT) == first
    assert registry.text_of(first) == TEXT
    assert sum(request.endswith("/versions") for request in served.requests) == 1


def test_an_id_the_registry_does_not_know_is_none(served: Served) -> None:
    assert HttpRegistry(served.url).text_of(77) is None


@pytest.mark.parametrize("status", [404, 500, 503, 302, 429])
def test_an_answer_that_is_not_the_registrys_is_waited_over(served: Served, status: int) -> None:
    served.status = status
    with pytest.raises(RegistryUnavailableError, match=str(status)):
        HttpRegistry(served.url).text_of(1)


def test_a_refused_schema_names_its_subject_and_the_reason(served: Served) -> None:
    served.refuses = True
    with pytest.raises(SchemaError, match=r"'flights.events-value'.*incompatible with an earlier"):
        HttpRegistry(served.url).register("flights.events-value", TEXT)


def test_a_password_is_sent_and_its_lack_is_a_setting_to_mend(served: Served) -> None:
    served.user = "Basic YW5uOnBhc3M6d29yZA=="
    with pytest.raises(ConfigurationError, match=r"basic\.auth\.user\.info"):
        HttpRegistry(served.url).text_of(1)
    options = {"basic.auth.user.info": "ann:pass:word"}
    assert HttpRegistry(served.url, options).text_of(1) is None


def test_a_registry_that_is_not_there_is_unavailable(free_port: int) -> None:
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        HttpRegistry(f"http://127.0.0.1:{free_port}").text_of(1)


def test_requests_share_a_connection_and_a_thread_until_they_are_closed(served: Served) -> None:
    before = threads()
    registry = HttpRegistry(served.url)
    assert threads() <= before
    for schema_id in range(20):
        assert registry.text_of(schema_id) is None
    assert len(served.peers) == 1
    assert len(threads() - before) == 1
    registry.close()
    registry.close()
    assert threads() <= before
    # Used again, it begins anew.
    assert registry.text_of(1) is None
    assert len(served.peers) == 2
    assert len(threads() - before) == 1
    del registry
    assert threads() <= before


def test_it_is_asked_from_within_a_loop_too(served: Served) -> None:
    registry = HttpRegistry(served.url)

    async def ask() -> str | None:
        return registry.text_of(1)

    assert asyncio.run(ask()) is None
    registry.close()


def test_ids_are_asked_for_side_by_side_over_a_few_connections(served: Served) -> None:
    registry = HttpRegistry(served.url)
    known = registry.register("s", TEXT)
    answers = dict(registry.texts_of(range(1, 201), 60.0))
    registry.close()
    assert answers == {n: TEXT if n == known else None for n in range(1, 201)}
    assert len(served.peers) <= AT_ONCE


def test_answers_that_come_in_time_are_given_and_the_others_left_out(served: Served) -> None:
    registry = HttpRegistry(served.url)
    served.silent_from = AT_ONCE + 3
    found = [schema_id for schema_id, _ in registry.texts_of(range(1, 100), 1.0)]
    assert found == list(range(1, AT_ONCE + 3))
    assert list(registry.texts_of(range(1, 100), 0.0)) == []
    registry.close()


def test_answers_are_given_before_the_error_of_another(served: Served) -> None:
    registry = HttpRegistry(served.url, {"request.timeout.ms": "500"})
    served.silent_from = 4
    answers = registry.texts_of(range(1, 100), 60.0)
    assert [schema_id for schema_id, _ in islice(answers, 3)] == [1, 2, 3]
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        next(answers)
    registry.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_anew(served: Served) -> None:
    registry = HttpRegistry(served.url)
    assert registry.text_of(1) is None
    served.drops = 1
    assert registry.text_of(2) is None
    served.drops = 9
    with pytest.raises(RegistryUnavailableError):
        registry.text_of(3)
    registry.close()


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("localhost:8081", {}, "is no URL"),
        ("http://ann:secret@host", {}, "holds a password"),
        ("http://host", {"user": "x"}, "no option 'user'"),
        ("http://host", {"basic.auth.user.info": "ann"}, "USER:PASSWORD"),
        ("https://host", {"ssl.ca.location": "/no/such"}, "which is no file"),
        ("https://host", {"ssl.key.location": "/no/such"}, "needs ssl.certificate"),
        ("http://host", {"request.timeout.ms": "soon"}, "request.timeout.ms"),
    ],
)
def test_wrong_settings_say_what_would_be_right(
    url: str, options: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        HttpRegistry(url, options)
    assert "secret" not in str(caught.value)


def test_opening_enrolls_every_version_of_our_records(served: Served) -> None:
    wire = open_wire(served.url, {}, ManualClock())
    assert "driftloop.Prediction" in served.registry.subjects
    assert wire.header(record_schema("prediction"))[:1] == b"\0"
    before = dict(served.registry.schemas)
    open_wire(served.url, {}, ManualClock())
    assert served.registry.schemas == before


def test_opening_gives_up_on_a_silent_registry_after_a_while(free_port: int) -> None:
    clock = ManualClock()
    with pytest.raises(RegistryUnavailableError):
        open_wire(f"http://127.0.0.1:{free_port}", {}, clock)
    assert clock.monotonic() >= 60

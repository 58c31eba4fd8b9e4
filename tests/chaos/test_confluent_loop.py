"""The loop in memory with a registry: every record in Confluent framing, and the same decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.corpus import Corpus, make_corpus

from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.wire import Wire, installed
from driftloop.kernel.records import DeadLetter, Outcome, Prediction, Window
from registries import FakeRegistry


def decoded(corpus: Corpus, topic: str, kind: type[Any]) -> Sequence[Any]:
    return [codec(kind).decode(value) for value in corpus.values[topic]]


def test_a_registry_changes_the_framing_of_every_record_and_nothing_else(tmp_path: Path) -> None:
    plain = make_corpus(tmp_path / "plain")
    registry = FakeRegistry(first=70_000)
    with installed(Wire(registry)) as wire:
        wire.enroll_records()
        framed = make_corpus(tmp_path / "framed")
        own = framed.declared.declaration.topics
        topics = framed.settings.topics
        for topic, kind in (
            (own.predictions, Prediction),
            (own.outcomes, Outcome),
            (topics.dead_letters, DeadLetter),
            (topics.windows, Window),
        ):
            assert len(framed.values[topic]) > 0
            assert {value[:1] for value in framed.values[topic]} == {b"\0"}
            with_registry = decoded(framed, topic, kind)
            if kind in (Prediction, Outcome):
                with installed(Wire()):
                    without = decoded(plain, topic, kind)
                first = sorted((r.event_id, r.event_time) for r in with_registry)
                assert first == sorted((r.event_id, r.event_time) for r in without)
        assert {value[:1] for value in framed.values[topics.versions]} == {b"\0"}
    assert f"{own.events}-value" in registry.subjects

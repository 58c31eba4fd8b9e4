"""No input crashes a core or a decoder, hangs it or grows its memory: each record becomes a value
or a dead letter with its very bytes.

Real records of every topic, changed byte by byte, in either framing, or field by field where they
are JSON. Quick by default; ``make test-slow`` goes on for longer. What whole services make of such
records is in ``test_fuzz_services.py``.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from harness.corpus import Corpus, Source
from harness.fuzzing import (
    ROWS,
    SEED,
    accounted,
    batch_of,
    driven,
    each_framing,
    each_framing_and_shared,
    every_form,
    fuzz,
    one,
    partitioned,
    rounds,
)
from harness.mutation import mutated

from driftloop.cli.applying import load_declaration
from driftloop.cli.flights import load_flights
from driftloop.deployer.core import DeployerCore
from driftloop.drift.core import DriftCore
from driftloop.featurestats.merge import MergeCore, decode_partials
from driftloop.featurestats.sketch import SketchCore
from driftloop.kernel import sharing
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import decode_outcomes, decode_predictions
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.records import RECORDS
from driftloop.kernel.stores import MemoryStore
from driftloop.outcomes.core import OutcomesCore
from driftloop.trainer.core import TrainerCore
from lockstep_loop import DECLARATION

NEW_YEAR_MS = 1_356_998_400_000


@each_framing
def test_there_are_records_of_every_topic(corpus: Corpus) -> None:
    topics = corpus.settings.topics
    empty = {name for name, values in corpus.values.items() if not values}
    assert empty <= {topics.alerts, topics.estimates, topics.dead_letters}


@every_form
@rounds
def test_events_are_decoded_or_rejected(corpus: Corpus, rounds: int) -> None:
    decoders = [EventDecoder(declared.declaration) for declared in corpus.models]

    def take(batch: RecordBatch) -> None:
        for decoder in decoders:
            block, rejected = decoder.decode(batch.values)
            partitioned(block.rows.tolist(), rejected, len(batch))

    fuzz(corpus.source(corpus.declared.declaration.topics.events), 0, rounds, take)


@rounds
def test_events_of_flights_are_decoded_or_rejected(rounds: int) -> None:
    decoder = EventDecoder(load_declaration(DECLARATION).declaration)
    events = list(load_flights(until=NEW_YEAR_MS + 86_400_000).events)

    def take(batch: RecordBatch) -> None:
        block, rejected = decoder.decode(batch.values)
        partitioned(block.rows.tolist(), rejected, len(batch))

    fuzz(Source("flights.events", events, [""] * len(events)), 0, rounds, take)


@every_form
@rounds
def test_labels_are_decoded_or_rejected(corpus: Corpus, rounds: int) -> None:
    decoders = [LabelDecoder(declared.declaration) for declared in corpus.models]

    def take(batch: RecordBatch) -> None:
        for decoder in decoders:
            block, rejected = decoder.decode(batch.values)
            partitioned(block.rows.tolist(), rejected, len(batch))

    fuzz(corpus.source(corpus.declared.declaration.topics.labels), 0, rounds, take)


@each_framing
@rounds
@pytest.mark.parametrize("kind", ["predictions", "outcomes"])
def test_rows_are_decoded_or_rejected(corpus: Corpus, kind: str, rounds: int) -> None:
    declaration = corpus.declared.declaration
    source = corpus.source(getattr(declaration.topics, kind))
    shape = {
        "scores": declaration.scores,
        "numeric": len(declaration.numeric),
        "categorical": len(declaration.categorical),
    }
    decode = decode_predictions if kind == "predictions" else decode_outcomes

    def take(batch: RecordBatch) -> None:
        _, rows, rejected = decode(batch.values, **shape)
        partitioned(rows.tolist(), rejected, len(batch))

    fuzz(source, 0, rounds, take)


@each_framing
@rounds
def test_the_join_takes_or_rejects_every_record_and_lets_go_of_it(
    corpus: Corpus, rounds: int
) -> None:
    """State ends where its records do, by event time; among the changed times are far ones."""
    topics = corpus.declared.declaration.topics
    store = MemoryStore()
    core = OutcomesCore(corpus.catalog, store, NullMeter(), checkpoint_ms=0)
    take = driven(core, "outcomes", [])
    rng = random.Random(f"{SEED} labels")

    def both(batch: RecordBatch) -> None:
        take(batch)
        take(batch_of(rng, corpus.source(topics.labels), 1, batch.offsets[0]))

    fuzz(corpus.source(topics.predictions), 1, rounds, both)
    # Records of the far future stay.
    assert sum(1 for _ in store.scan(b"", b"\xff" * 8)) < 2 * ROWS + rounds // 2


@each_framing
@rounds
def test_what_is_right_among_predictions_and_labels_is_joined(corpus: Corpus, rounds: int) -> None:
    """Far times end everything soon, so a join begins anew after some batches."""
    topics = corpus.declared.declaration.topics
    predictions, labels = corpus.beginning(topics.predictions), corpus.beginning(topics.labels)
    rng = random.Random(f"{SEED} pairs")
    joined = 0
    core = None

    def both(batch: RecordBatch) -> None:
        nonlocal core, joined
        if core is None or rng.random() < 0.2:
            core = OutcomesCore(corpus.catalog, MemoryStore(), NullMeter(), checkpoint_ms=0)
        for some in (batch, batch_of(rng, labels, 0, batch.offsets[0])):
            outputs = core.process(some)
            accounted(some, outputs.dead_letters, "outcomes")
            joined += sum(len(send) for send in outputs.sends)
            for made in (core.on_time(1 << 41), core.flush()):
                if made.committed is not None:
                    made.committed(1 << 41)

    fuzz(predictions, 0, rounds, both)
    assert joined > rounds


@each_framing_and_shared
@rounds
@pytest.mark.parametrize("kind", ["predictions", "outcomes"])
def test_the_sketch_takes_or_rejects_every_row(corpus: Corpus, kind: str, rounds: int) -> None:
    source = corpus.source(getattr(corpus.declared.declaration.topics, kind))
    core = SketchCore(corpus.catalog)
    behind: list[int] = []
    take = driven(core, "featurestats", behind)

    def taken(batch: RecordBatch) -> None:
        core.drop(batch.source)
        if not source.models:
            take(batch)
            return
        for name, rows in sharing.part([batch]).parts.items():
            if name in source.models:
                take(sharing.take(batch, rows, name))

    fuzz(source, 1, rounds, taken)
    # A version that nobody published; most rows must get further than that.
    assert sum(behind) < rounds * ROWS // 4


@each_framing
@rounds
def test_partials_are_merged_or_rejected(corpus: Corpus, rounds: int) -> None:
    source = corpus.source(corpus.settings.topics.partials)

    def take(batch: RecordBatch) -> None:
        core = MergeCore(corpus.catalog)
        partials, letters = decode_partials(batch)
        accounted(batch, letters, "featurestats")
        assert len(partials) + len(letters) == len(batch)
        for received in partials:
            if core.knows(received.partial):
                with suppress(DecodeError):  # a dead letter, too
                    core.merge(received.partial, received.encoded, 1)
        core.let_go(core.silent(1 << 41))
        core.on_time()
        core.entries()

    fuzz(source, 1, rounds, take)


@each_framing
@rounds
@pytest.mark.parametrize(
    ("service", "topic"),
    [
        ("drift", "windows"),
        ("deployer", "windows"),
        ("deployer", "versions"),
        ("deployer", "commands"),
        ("trainer", "windows"),
        ("trainer", "alerts"),
        ("trainer", "commands"),
    ],
)
def test_what_decides_takes_or_rejects_every_record(
    corpus: Corpus, service: str, topic: str, rounds: int
) -> None:
    topics = corpus.settings.topics
    name = getattr(topics, topic)
    home = topics.partition(corpus.declared.declaration.name)
    make = {"drift": DriftCore, "deployer": DeployerCore, "trainer": TrainerCore}[service]
    behind: list[int] = []

    def take(batch: RecordBatch) -> None:
        feed = driven(make(corpus.catalog), service, behind)
        for row in range(len(batch)):
            feed(one(batch, row))

    if corpus.values[name]:
        fuzz(corpus.source(name), home, rounds, take)
    # A model or version that nobody declared; most records must get further than that.
    assert sum(behind) < rounds * ROWS // 4


@each_framing
@rounds
@pytest.mark.parametrize("topic", ["models", "versions", "deployments"])
def test_followers_of_control_topics_note_bad_records_and_go_on(
    corpus: Corpus, topic: str, rounds: int
) -> None:
    topics = corpus.settings.topics
    noted: set[int] = set()
    name = getattr(topics, topic)

    def take(batch: RecordBatch) -> None:
        catalog = Catalog(topics, declaration_of, lambda batch, row, why: noted.add(row))
        catalog.apply(batch)

    fuzz(corpus.source(name), 0, rounds, take)
    assert noted


@each_framing
@rounds
def test_record_codecs_give_a_value_or_a_decode_error(corpus: Corpus, rounds: int) -> None:
    rng = random.Random(SEED)
    kinds = {type: [] for type in RECORDS}  # type: dict[type, list[bytes]]
    everything = [value for values in corpus.values.values() for value in values[:50]]
    for kind in kinds:
        for value in everything:
            try:
                codec(kind).decode(value)
                kinds[kind].append(value)
            except DecodeError:
                continue
    for kind, values in kinds.items():
        for _ in range(rounds * 8 if values else 0):
            try:
                found = codec(kind).decode(mutated(rng, values))
            except DecodeError:
                continue
            assert isinstance(found, kind)

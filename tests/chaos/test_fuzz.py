"""No input crashes a core, hangs it or grows its memory: each record becomes a value or a dead
letter with its very bytes.

Real records of every topic, changed byte by byte, and whatever hypothesis thinks of. Quick by
default; ``make test-slow`` goes on for longer.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from harness.corpus import Corpus, make_corpus
from harness.mutation import mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftloop.cli.applying import load_declaration
from driftloop.cli.flights import load_flights
from driftloop.deployer.core import DeployerCore
from driftloop.drift.core import DriftCore
from driftloop.featurestats.merge import MergeCore, decode_partials
from driftloop.featurestats.sketch import SketchCore
from driftloop.inference.core import InferenceCore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.records import codec
from driftloop.kernel.codec.rows import decode_outcomes, decode_predictions
from driftloop.kernel.declaration_toml import declaration_of
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.metrics import NullMeter
from driftloop.kernel.ports import Headers, RecordBatch
from driftloop.kernel.processor import ControlBehindError, Core, Outputs
from driftloop.kernel.records import RECORDS, DeadLetter
from driftloop.kernel.slices import Slices
from driftloop.kernel.stores import MemoryStore
from driftloop.outcomes.core import OutcomesCore
from driftloop.trainer.core import TrainerCore
from lockstep_loop import DECLARATION

SEED = int(os.environ.get("FUZZ_SEED", "1"))
ROWS = 64
ROUNDS = 25
SLOW_ROUNDS = 1500
BATCH_LIMIT_S = 5.0
"""Of processor time, for a batch that takes milliseconds."""
GROWTH_LIMIT_KB = 64 << 10
NEW_YEAR_MS = 1_356_998_400_000

Take = Callable[[RecordBatch], None]

rounds = pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(ROUNDS, id="quick"),
        pytest.param(SLOW_ROUNDS, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    found = make_corpus(tmp_path_factory.mktemp("corpus"))
    topics = found.settings.topics
    empty = [name for name, values in found.values.items() if not values]
    assert set(empty) <= {topics.alerts, topics.estimates, topics.dead_letters}
    return found


def resident_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(values: Sequence[bytes], topic: str, partition: int, rounds: int, take: Take) -> None:
    """Changed records through ``take``, a batch at a time, each within its time; after a while
    nothing grows any more."""
    rng = random.Random(f"{SEED} {topic}")
    warm = 0
    offset = 0
    for turn in range(rounds):
        batch = batch_of(rng, values, topic, partition, offset)
        offset += 2 * ROWS
        began = time.process_time()
        take(batch)
        assert time.process_time() - began < BATCH_LIMIT_S, f"seed {SEED}, {topic}, batch {turn}"
        if turn == min(rounds // 3, 100):
            warm = resident_kb()
    assert resident_kb() - warm < GROWTH_LIMIT_KB


def batch_of(
    rng: random.Random, values: Sequence[bytes], topic: str, partition: int, offset: int
) -> RecordBatch:
    """Good and bad records, with odd keys, headers, gaps and times."""
    chosen = [
        mutated(rng, values) if rng.random() < 0.8 else rng.choice(values) for _ in range(ROWS)
    ]
    keys = [rng.choice((None, b"", b"k", rng.randbytes(9))) for _ in range(ROWS)]
    headers: list[Headers] | None = None
    if rng.random() < 0.5:
        headers = [
            tuple(
                (rng.choice(("", "a", "ü", "ce_id")), rng.choice((None, b"", rng.randbytes(5))))
                for _ in range(rng.randrange(3))
            )
            for _ in range(ROWS)
        ]
    offsets = sorted(rng.sample(range(offset, offset + 2 * ROWS), ROWS))
    times = [rng.choice((-1, 0, 1 << 41, 1_700_000_000_000)) for _ in range(ROWS)]
    packed: Sequence[bytes | None] = chosen if rng.random() < 0.5 else Slices.of(chosen)
    return RecordBatch(topic, partition, offsets, times, keys, packed, headers)


def one(batch: RecordBatch, row: int) -> RecordBatch:
    """A record in a batch of its own."""
    return RecordBatch(
        batch.topic,
        batch.partition,
        [batch.offsets[row]],
        [batch.timestamps[row]],
        [batch.keys[row]],
        [batch.values[row]],
        None if batch.headers is None else [batch.headers[row]],
    )


def accounted(batch: RecordBatch, outputs: Outputs, service: str) -> int:
    """Checks the dead letters: each has its record's bytes. How many rows are none."""
    rows = {offset: row for row, offset in enumerate(batch.offsets)}
    seen = set()
    for letter in outputs.dead_letters:
        # What cannot be written would stop the service.
        assert codec(DeadLetter).decode(codec(DeadLetter).encode(letter)) == letter
        row = rows[letter.offset]
        seen.add(row)
        assert letter.service == service
        assert letter.value == batch.values[row]
        assert letter.key == batch.keys[row]
        headers = () if batch.headers is None else batch.headers[row]
        assert [(h.key, h.value) for h in letter.headers] == list(headers)
    assert len(seen) == len(outputs.dead_letters)
    return len(batch) - len(seen)


def partitioned(rows: Sequence[int], rejected: Sequence[int], count: int) -> None:
    """Every row is either a value or rejected, in order."""
    assert list(rows) == sorted(rows)
    assert list(rejected) == sorted(rejected)
    assert sorted([*rows, *rejected]) == list(range(count))


@rounds
def test_events_become_predictions_or_dead_letters(corpus: Corpus, rounds: int) -> None:
    core = InferenceCore(corpus.catalog, NullMeter())
    topic = corpus.declared.declaration.topics.events

    def take(batch: RecordBatch) -> None:
        outputs = core.process(batch)
        assert sum(len(send) for send in outputs.sends) == accounted(batch, outputs, "inference")
        if outputs.committed is not None:
            outputs.committed(5)

    fuzz(corpus.values[topic], topic, 1, rounds, take)


@rounds
def test_events_of_flights_are_decoded_or_rejected(rounds: int) -> None:
    decoder = EventDecoder(load_declaration(DECLARATION).declaration)
    events = load_flights(until=NEW_YEAR_MS + 86_400_000).events

    def take(batch: RecordBatch) -> None:
        block, rejected = decoder.decode(batch.values)
        partitioned(block.rows.tolist(), [bad.row for bad in rejected], len(batch))

    fuzz(list(events), "flights.events", 0, rounds, take)


@rounds
def test_labels_are_decoded_or_rejected(corpus: Corpus, rounds: int) -> None:
    declaration = corpus.declared.declaration
    decoder = LabelDecoder(declaration)

    def take(batch: RecordBatch) -> None:
        block, rejected = decoder.decode(batch.values)
        partitioned(block.rows.tolist(), [bad.row for bad in rejected], len(batch))

    fuzz(corpus.values[declaration.topics.labels], declaration.topics.labels, 0, rounds, take)


@rounds
@pytest.mark.parametrize("kind", ["predictions", "outcomes"])
def test_rows_are_decoded_or_rejected(corpus: Corpus, kind: str, rounds: int) -> None:
    declaration = corpus.declared.declaration
    topic = getattr(declaration.topics, kind)
    shape = {
        "scores": declaration.scores,
        "numeric": len(declaration.numeric),
        "categorical": len(declaration.categorical),
    }
    decode = decode_predictions if kind == "predictions" else decode_outcomes

    def take(batch: RecordBatch) -> None:
        _, rows, rejected = decode(batch.values, **shape)
        partitioned(rows.tolist(), [bad.row for bad in rejected], len(batch))

    fuzz(corpus.values[topic], topic, 0, rounds, take)


def driven(core: Core, service: str, behind: list[int]) -> Take:
    """Process, flush and snapshot. A core may ask for control records that are not there (it has
    not changed anything then); counted in ``behind``."""

    def take(batch: RecordBatch) -> None:
        try:
            outputs = core.process(batch)
        except ControlBehindError:
            behind.append(len(batch))
            return
        accounted(batch, outputs, service)
        for made in (outputs, core.on_time(1 << 41), core.flush()):
            if made.committed is not None:
                made.committed(1 << 41)
        core.snapshot()

    return take


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
        values, first = corpus.values[topics.labels], batch.offsets[0]
        take(batch_of(rng, values, topics.labels, 1, first))

    fuzz(corpus.values[topics.predictions], topics.predictions, 1, rounds, both)
    # Records of the far future stay.
    assert sum(1 for _ in store.scan(b"", b"\xff" * 8)) < 2 * ROWS + rounds // 2


@rounds
@pytest.mark.parametrize("kind", ["predictions", "outcomes"])
def test_the_sketch_takes_or_rejects_every_row(corpus: Corpus, kind: str, rounds: int) -> None:
    topic = getattr(corpus.declared.declaration.topics, kind)
    core = SketchCore(corpus.catalog)
    take = driven(core, "featurestats", [])

    def taken(batch: RecordBatch) -> None:
        core.drop(batch.source)
        take(batch)

    fuzz(corpus.values[topic], topic, 1, rounds, taken)


@rounds
def test_partials_are_merged_or_rejected(corpus: Corpus, rounds: int) -> None:
    topic = corpus.settings.topics.partials

    def take(batch: RecordBatch) -> None:
        core = MergeCore(corpus.catalog)
        partials, letters = decode_partials(batch)
        accounted(batch, Outputs(dead_letters=letters), "featurestats")
        assert len(partials) + len(letters) == len(batch)
        for received in partials:
            if core.knows(received.partial):
                with suppress(DecodeError):  # a dead letter, too
                    core.merge(received.partial, received.encoded, 1)
        core.on_time(1 << 41)
        core.entries()

    fuzz(corpus.values[topic], topic, 1, rounds, take)


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
        fuzz(corpus.values[name], name, home, rounds, take)
    # A model or version that nobody declared; most records must get further than that.
    assert sum(behind) < rounds * ROWS // 4


@rounds
@pytest.mark.parametrize("topic", ["models", "versions", "deployments"])
def test_followers_of_control_topics_note_bad_records_and_go_on(
    corpus: Corpus, topic: str, rounds: int
) -> None:
    topics = corpus.settings.topics
    noted: list[int] = []
    name = getattr(topics, topic)

    def take(batch: RecordBatch) -> None:
        catalog = Catalog(topics, declaration_of, lambda batch, row, why: noted.append(row))
        catalog.apply(batch)

    fuzz(corpus.values[name], name, 0, rounds, take)
    assert noted


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


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_hypothesis_thinks_of(corpus: Corpus, data: st.DataObject) -> None:
    """Whole records after a right header, cut and joined as hypothesis likes."""
    declaration = corpus.declared.declaration
    kind = data.draw(st.sampled_from(["events", "labels", "predictions", "outcomes"]))
    topic = getattr(declaration.topics, kind)
    known = corpus.values[topic]
    header = known[0][:10]
    pieces = st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(known[:20]).map(lambda value: value[10:]),
            st.builds(
                lambda value, low, high: value[low:high],
                st.sampled_from(known[:20]), st.integers(0, 60), st.integers(0, 90),
            ),
        ),
        max_size=4,
    )  # fmt: skip
    records = data.draw(
        st.lists(
            st.one_of(st.none(), pieces.map(lambda p: header + b"".join(p))), min_size=1, max_size=8
        )
    )
    n = len(records)
    batch = RecordBatch(topic, 0, range(n), [0] * n, [None] * n, records)
    if kind == "events":
        outputs = InferenceCore(corpus.catalog, NullMeter()).process(batch)
        assert sum(map(len, outputs.sends)) == accounted(batch, outputs, "inference")
    elif kind == "labels":
        outputs = OutcomesCore(corpus.catalog, MemoryStore(), NullMeter()).process(batch)
        accounted(batch, outputs, "outcomes")
    else:
        shape = {"scores": 1, "numeric": 4, "categorical": 2}
        decode = decode_predictions if kind == "predictions" else decode_outcomes
        _, rows, rejected = decode(batch.values, **shape)
        partitioned(rows.tolist(), [bad.row for bad in rejected], n)

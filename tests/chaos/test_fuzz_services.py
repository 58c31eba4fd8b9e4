"""No record crashes a service, hangs it or grows its memory, whatever form the models have: Avro in
either framing, JSON, topics of their own or topics that models of different shapes share.

Whole services, on input as it is given: the runner that parts records by models, the core, and what
is written. Each event is a prediction or a dead letter with its very bytes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from harness.corpus import Corpus, Source
from harness.feeding import Fed, fed
from harness.forms import SHARED
from harness.fuzzing import ROWS, SEED, accounted, batch_of, every_form, fuzz, of_forms, rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftloop.inference.service import InferenceService
from driftloop.kernel import sharing
from driftloop.kernel.codec import wire
from driftloop.kernel.codec.labels import LabelDecoder
from driftloop.kernel.codec.records import codec
from driftloop.kernel.ports import Headers, RecordBatch, Send
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter, Outcome, Prediction
from driftloop.outcomes.service import OutcomesService

ANSWERS_KEPT = 256
"""Instead of 65,536, so that the answers on ids that mean nothing fill their room in a test."""

Open = Callable[[type], Fed]


@pytest.fixture
def running(
    corpus: Corpus, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Starts a service on the corpus' models."""
    monkeypatch.setattr(wire, "REFUSED", ANSWERS_KEPT)
    opened = []

    def start(make: type) -> Fed:
        context = fed(corpus, make, request.node.name.replace("/", "-"))
        opened.append(context)
        return context.__enter__()

    yield start
    for context in opened:
        context.__exit__(None, None, None)


def written(sends: Sequence[Send], topic: str) -> list[tuple[bytes, Headers]]:
    """Values and headers of what was written to one topic."""
    return [
        (value, () if send.headers is None else send.headers[row])
        for send in sends
        if send.topic == topic
        for row, value in enumerate(send.values)
        if value is not None
    ]


def letters(corpus: Corpus, sends: Sequence[Send]) -> list[DeadLetter]:
    found = written(sends, corpus.settings.topics.dead_letters)
    return [codec(DeadLetter).decode(value) for value, _ in found]


def named(batch: RecordBatch, offset: int) -> str:
    """The model that a record says it belongs to; empty where it says none."""
    row = list(batch.offsets).index(offset)
    headers = () if batch.headers is None else batch.headers[row]
    said = [value for name, value in headers if name == sharing.MODEL_HEADER]
    return (said[-1] or b"").decode(errors="replace") if said else ""


def whole(source: Source, partition: int, offset: int) -> RecordBatch:
    """All of a source's records, as they are."""
    n = len(source.values)
    headers: list[Headers] = [
        ((sharing.MODEL_HEADER, owner.encode()),) if owner else () for owner in source.owners
    ]
    offsets = range(offset, offset + n)
    return RecordBatch(
        source.topic, partition, offsets, [-1] * n, [None] * n, source.values, headers
    )


def strangers(source: Source, batch: RecordBatch) -> set[int]:
    """Offsets of records that name no model which shares the topic."""
    if not source.models:
        return set()
    return {offset for offset in batch.offsets if named(batch, offset) not in source.models}


def predicted(corpus: Corpus, source: Source, batch: RecordBatch, sends: Sequence[Send]) -> None:
    """Each event is a prediction of the model it names, or a dead letter."""
    rejected = letters(corpus, sends)
    left = accounted(batch, rejected, "inference")
    found = written(sends, corpus.declared.declaration.topics.predictions)
    offsets = []
    for value, headers in found:
        prediction = codec(Prediction).decode(value)
        assert prediction.source_partition == batch.partition
        offsets.append(prediction.source_offset)
        own = dict(headers).get(sharing.MODEL_HEADER, b"").decode()
        assert own == (named(batch, prediction.source_offset) if source.models else "")
    assert sorted(offsets) == sorted(left)
    unknown = {one.offset for one in rejected if one.reason == Reason.UNKNOWN_MODEL}
    assert unknown == strangers(source, batch)


@every_form
@rounds
def test_events_become_predictions_or_dead_letters(
    corpus: Corpus, running: Open, rounds: int
) -> None:
    source = corpus.source(corpus.declared.declaration.topics.events)
    inference = running(InferenceService)
    rejections = 0

    def take(batch: RecordBatch) -> None:
        nonlocal rejections
        sends = inference.feed(batch)
        predicted(corpus, source, batch, sends)
        rejections += len(letters(corpus, sends))

    fuzz(source, 1, rounds, take)
    assert 0 < rejections < rounds * ROWS


@every_form
@rounds
def test_predictions_and_labels_are_joined_or_dead_letters(
    corpus: Corpus, running: Open, rounds: int
) -> None:
    """And let go of: what waits is a bounded number of records of the far future."""
    topics = corpus.declared.declaration.topics
    labels, predictions = corpus.beginning(topics.labels), corpus.beginning(topics.predictions)
    outcomes = running(OutcomesService)
    rng = random.Random(f"{SEED} labels")
    joined = 0

    def taken(source: Source, batch: RecordBatch) -> int:
        sends = outcomes.feed(batch)
        rejected = letters(corpus, sends)
        accounted(batch, rejected, "outcomes")
        unknown = {one.offset for one in rejected if one.reason == Reason.UNKNOWN_MODEL}
        assert unknown == strangers(source, batch)
        return len([codec(Outcome).decode(v) for v, _ in written(sends, topics.outcomes)])

    def both(batch: RecordBatch) -> None:
        nonlocal joined
        joined += taken(predictions, batch)
        joined += taken(labels, batch_of(rng, labels, 0, batch.offsets[0]))

    fuzz(predictions, 0, rounds, both)
    assert joined > 0
    for source in (corpus.ending(topics.predictions), corpus.ending(topics.labels)):
        taken(source, whole(source, 0, rounds * 2 * ROWS))
    waiting = outcomes.service.status().details["open"]
    assert isinstance(waiting, dict)
    total = sum(sum(own.values()) for own in waiting.values())
    assert total < len(corpus.models) * (2 * ROWS + rounds // 2)


scalars = (
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=5)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def records(known: Sequence[bytes]) -> st.SearchStrategy[bytes | None]:
    """Whole records after a right header, cut and joined; objects of the right fields."""
    frame = {b"{": 0, b"\0": 5}.get(known[0][:1], 10)
    pieces = st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(known[:20]).map(lambda value: value[frame:]),
            st.builds(
                lambda value, low, high: value[low:high],
                st.sampled_from(known[:20]), st.integers(0, 60), st.integers(0, 90),
            ),
        ),
        max_size=4,
    )  # fmt: skip
    found = st.none() | pieces.map(lambda p: known[0][:frame] + b"".join(p))
    objects = [json.loads(value) for value in known[:20] if value[:1] == b"{"]
    if objects:
        fields = st.fixed_dictionaries({}, optional=dict.fromkeys(objects[0], scalars | anything))
        found |= st.builds(
            lambda base, changes: json.dumps(base | changes).encode(),
            st.sampled_from(objects), fields,
        )  # fmt: skip
    return found


def headers(models: Sequence[str]) -> st.SearchStrategy[Headers]:
    names = st.sampled_from([sharing.MODEL_HEADER, "other"]) | st.text(max_size=5)
    values = st.none() | st.binary(max_size=8) | st.sampled_from([name.encode() for name in models])
    return st.lists(st.tuples(names, values), max_size=3).map(tuple)


MODERATE = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@every_form
@MODERATE
@given(data=st.data())
def test_events_that_hypothesis_thinks_of(
    corpus: Corpus, running: Open, started: list[Fed], data: st.DataObject
) -> None:
    if not started:
        started.append(running(InferenceService))
    source = corpus.source(corpus.declared.declaration.topics.events)
    batch = drawn(data, source)
    predicted(corpus, source, batch, started[0].feed(batch))


@every_form
@MODERATE
@given(data=st.data())
def test_labels_that_hypothesis_thinks_of(corpus: Corpus, data: st.DataObject) -> None:
    source = corpus.source(corpus.declared.declaration.topics.labels)
    batch = drawn(data, source)
    for declared in corpus.models:
        block, rejected = LabelDecoder(declared.declaration).decode(batch.values)
        assert sorted([*block.rows.tolist(), *(bad.row for bad in rejected)]) == list(
            range(len(batch))
        )


@pytest.fixture
def started() -> list[Fed]:
    """The one service of all of a test's examples: it keeps nothing of an event."""
    return []


def drawn(data: st.DataObject, source: Source) -> RecordBatch:
    values = data.draw(st.lists(records(source.values), min_size=1, max_size=8))
    n = len(values)
    found = data.draw(st.lists(headers(source.models or [""]), min_size=n, max_size=n))
    return RecordBatch(source.topic, 0, range(n), [0] * n, [None] * n, values, found)


@of_forms(SHARED)
def test_models_of_all_shapes_are_among_those_that_share(corpus: Corpus) -> None:
    """So that what is fuzzed is what it says."""
    source = corpus.source(corpus.declared.declaration.topics.predictions)
    assert set(source.owners) == {declared.declaration.name for declared in corpus.models}
    assert len({len(declared.declaration.numeric) for declared in corpus.models}) > 1
    assert {declared.declaration.events.format for declared in corpus.models} == {"avro", "json"}

"""Batches of changed records, and what must hold of whatever takes them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from driftloop.kernel.codec.records import codec
from driftloop.kernel.header_table import HeaderTable
from driftloop.kernel.ports import Headers, RecordBatch
from driftloop.kernel.processor import ControlBehindError, Core
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter
from driftloop.kernel.slices import Slices

from .corpus import Source
from .forms import CONFLUENT, FORMS, PLAIN, SHARED, Form
from .growth import Growth
from .mutation import RawHeaders, headers_of, mutated

SEED = int(os.environ.get("FUZZ_SEED", "1"))
ROWS = 64
ROUNDS = 25
SLOW_ROUNDS = 1000
BATCH_LIMIT_S = 5.0
"""Of processor time, for a batch that takes milliseconds."""

Take = Callable[[RecordBatch], None]

rounds = pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(ROUNDS, id="quick"),
        pytest.param(SLOW_ROUNDS, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)


def of_forms(*forms: Form) -> pytest.MarkDecorator:
    """Runs a test on a corpus of each of these."""
    return pytest.mark.parametrize(
        "corpus", [pytest.param(form, id=form.name) for form in forms], indirect=True
    )


every_form = of_forms(*FORMS)
each_framing = of_forms(PLAIN, CONFLUENT)
each_framing_and_shared = of_forms(PLAIN, CONFLUENT, SHARED)
"""For what only services write: that is never JSON."""


def fuzz(source: Source, partition: int, rounds: int, take: Take) -> None:
    """Changed records through ``take``, a batch at a time, each within its time; once it is warm
    nothing grows any more."""
    rng = random.Random(f"{SEED} {source.topic}")
    offset = 0
    growth = Growth()
    for turn in range(rounds):
        batch = batch_of(rng, source, partition, offset)
        offset += 2 * ROWS
        began = time.process_time()
        take(batch)
        took = time.process_time() - began
        assert took < BATCH_LIMIT_S, f"seed {SEED}, {source.topic}, batch {turn}"
        growth.took(len(batch))
        del batch  # of random size itself
        if turn == min(rounds // 3, 100):
            growth.warm()
    growth.check()


def batch_of(rng: random.Random, source: Source, partition: int, offset: int) -> RecordBatch:
    """Good and bad records, with odd keys, headers, gaps and times."""
    rows = [rng.randrange(len(source.values)) for _ in range(ROWS)]
    chosen = [
        mutated(rng, source.values, value) if rng.random() < 0.8 else value
        for value in (source.values[row] for row in rows)
    ]
    keys = [rng.choice((None, b"", b"k", rng.randbytes(9))) for _ in range(ROWS)]
    headers: Sequence[Headers] | None = None
    if source.models:
        headers = _table([headers_of(rng, source.owners[row], source.models) for row in rows])
    elif rng.random() < 0.5:
        headers = _table([_odd_headers(rng) for _ in rows])
    if headers is not None and rng.random() < 0.5:
        headers = [headers[row] for row in range(ROWS)]
    offsets = sorted(rng.sample(range(offset, offset + 2 * ROWS), ROWS))
    # Most are not before what they tell of; those of 0 are.
    times = [rng.choice((-1, 1 << 41, 1 << 62, 0)) for _ in range(ROWS)]
    packed: Sequence[bytes | None] = chosen if rng.random() < 0.5 else Slices.of(chosen)
    return RecordBatch(source.topic, partition, offsets, times, keys, packed, headers)


def _odd_headers(rng: random.Random) -> RawHeaders:
    return [
        (
            rng.choice((b"", b"a", "\u00fc".encode(), b"ce_id", b"\xff")),
            rng.choice((None, b"", rng.randbytes(5))),
        )
        for _ in range(rng.randrange(3))
    ]


def _table(rows: Sequence[RawHeaders]) -> HeaderTable:
    """As Kafka's are read: names are bytes."""
    flat = [header for row in rows for header in row]
    names = Slices.of([name + b"\0" for name, _ in flat])
    return HeaderTable(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        Slices(names.data, names.at, names.length - 1),
        Slices.of([value for _, value in flat]),
    )


def one(batch: RecordBatch, row: int) -> RecordBatch:
    """A record in a batch of its own."""
    return replace(
        batch,
        offsets=[batch.offsets[row]],
        timestamps=[batch.timestamps[row]],
        keys=[batch.keys[row]],
        values=[batch.values[row]],
        headers=None if batch.headers is None else [batch.headers[row]],
    )


def accounted(batch: RecordBatch, letters: Sequence[DeadLetter], service: str) -> set[int]:
    """Checks the dead letters: each has its record's bytes. The offsets of what is none.

    With a prediction comes to light that a label before it is too late: that has its place only.
    """
    rows = {offset: row for row, offset in enumerate(batch.offsets)}
    seen = set()
    own = 0
    for letter in letters:
        # What cannot be written would stop the service.
        assert codec(DeadLetter).decode(codec(DeadLetter).encode(letter)) == letter
        assert letter.service == service
        if letter.topic != batch.topic:
            assert (letter.reason, letter.value) == (Reason.LABEL_TOO_LATE, None)
            continue
        own += 1
        assert letter.partition == batch.partition
        row = rows[letter.offset]
        seen.add(letter.offset)
        assert letter.value == batch.values[row]
        assert letter.key == batch.keys[row]
        headers = () if batch.headers is None else batch.headers[row]
        assert [(h.key, h.value) for h in letter.headers] == list(headers)
    assert len(seen) == own
    return set(batch.offsets) - seen


def partitioned(rows: Sequence[int], rejected: Sequence[Any], count: int) -> None:
    """Every row is either a value or rejected, in order."""
    bad = [one.row for one in rejected]
    assert list(rows) == sorted(rows)
    assert bad == sorted(bad)
    assert sorted([*rows, *bad]) == list(range(count))


def driven(core: Core, service: str, behind: list[int]) -> Take:
    """Process, flush and snapshot. A core may ask for control records that are not there (it has
    not changed anything then): the rows are given one by one, and those it asks for them with are
    counted in ``behind``."""

    def take(batch: RecordBatch) -> None:
        try:
            outputs = core.process(batch)
        except ControlBehindError:
            if len(batch) == 1:
                behind.append(1)
            else:
                for row in range(len(batch)):
                    take(one(batch, row))
            return
        accounted(batch, outputs.dead_letters, service)
        for made in (outputs, core.on_time(1 << 41), core.flush()):
            if made.committed is not None:
                made.committed(1 << 41)
        core.snapshot()

    return take

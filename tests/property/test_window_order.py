"""Whatever windows featurestats gives out, what they say beside their statistics is found true; and
what is changed in it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from driftloop.adapters.clock import ManualClock
from driftloop.adapters.memory import MemoryLog
from driftloop.cli.late_rows import Lateness
from driftloop.cli.verifying import verify_windows
from driftloop.cli.window_order import Finding, WindowOrder
from driftloop.featurestats.merge import MergeCore, decode_partials
from driftloop.featurestats.sketch import SketchCore
from driftloop.kernel.ports import Send, TopicSpec
from driftloop.kernel.records import Window
from window_builders import batch, catalog, cut, declaration, outcomes, raw_batch

IDLE = 1000


class World:
    """Rows of two partitions, and the windows that come of them."""

    def __init__(self, random: Random) -> None:
        self.catalog = catalog(1, 2)
        self.log = MemoryLog(ManualClock())
        self.log.ensure_topics([TopicSpec("m.outcomes", 2)])
        producer = self.log.producer("test")
        merge = MergeCore(self.catalog, idle_after_ms=IDLE)
        self.windows: list[Window] = []
        left = []
        for partition in range(2):
            steps = [random.randint(0, 60) for _ in range(random.randint(20, 60))]
            times = [8 * index + step for index, step in enumerate(steps)]
            # One at a time that nothing has, which is no part of any window.
            times[random.randrange(20)] = random.choice([1 << 60, -1, times[0]])
            shadows = [index // 20 + (step == 0) for index, step in enumerate(steps)]
            versions = [1 + (index > 45) for index in range(len(steps))]
            rows = batch(outcomes(times, versions=versions, shadows=shadows), partition=partition)
            producer.send(Send(rows.topic, rows.keys, list(rows.values), partition))
            left.append((SketchCore(self.catalog), rows))
        now = 0
        while any(len(rows) for _, rows in left):
            chosen = random.choice([i for i in range(2) if len(left[i][1])])
            core, rows = left[chosen]
            size = random.randint(1, 25)
            core.process(cut(rows, 0, size))
            left[chosen] = core, cut(rows, size, len(rows))
            now += random.choice([0, 0, 1, IDLE])
            for send in core.flush().sends:
                received, _ = decode_partials(raw_batch(send.values, send.topic))
                for one in received:
                    self.windows += merge.merge(one.partial, one.encoded, now)
            if random.random() < 0.5:
                merge.let_go(merge.silent(now))
                self.windows += merge.on_time()
        merge.let_go(merge.silent(now + IDLE))
        self.windows += merge.on_time()

    def findings(self, windows: Sequence[Window]) -> list[Finding]:
        order = WindowOrder(from_start=True)
        for window in windows:
            order.add(window)
        return order.findings(at_end=True)

    def changed(self, place: int, **fields: int) -> list[Finding]:
        windows = list(self.windows)
        windows[place] = replace(windows[place], **fields)  # type: ignore[arg-type]
        return self.findings(windows)

    @property
    def lateness(self) -> Lateness:
        return Lateness.of(declaration(), 0, [0, 1, 2], self.windows)


@pytest.mark.parametrize("seed", range(40))
def test_what_windows_say_is_true(seed: int) -> None:
    world = World(Random(seed))
    assert not [finding for finding in world.findings(world.windows) if finding.certain]
    found = verify_windows(world.log, world.catalog, world.windows, lateness=world.lateness)
    assert found.ok, found.details
    assert not found.doubts


@pytest.mark.parametrize("seed", range(40))
def test_what_is_changed_in_a_window_is_named(seed: int) -> None:
    random = Random(seed)
    world = World(random)
    place = random.randrange(len(world.windows))
    window = world.windows[place]
    before = world.findings(world.windows)
    added = random.randint(1, 3)
    for fields in (
        {"revision": window.revision + added},
        {"parts": window.parts + 10},
        {"watermark": window.end - added},
    ):
        new = [finding for finding in world.changed(place, **fields) if finding not in before]
        assert window.id in {finding.window for finding in new if finding.certain}
    if place < len(world.windows) - 1:
        latest = max(w.watermark for w in world.windows)
        found = world.changed(place, watermark=latest + 1)
        assert any(finding.certain and "watermark" in finding.text for finding in found)
    newest = {w.id: w for w in world.windows}
    wrong = [replace(w, late=w.late + added) if w.id == window.id else w for w in newest.values()]
    verified = verify_windows(world.log, world.catalog, wrong, lateness=world.lateness)
    assert verified.mismatched == 1
    assert window.id in verified.mismatches[0]
    assert "late" in verified.mismatches[0]

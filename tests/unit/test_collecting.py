"""The first weeks as a reference: what is counted, how much it varies, and that a restart in the
middle changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from decision_builders import BINS, HOUR, declaration, predictions, profile, version
from driftloop.drift.collecting import Collection
from driftloop.drift.detectors import Detectors
from driftloop.drift.parts import Whole
from driftloop.drift.state import Kept
from driftloop.drift.watch import TWO_SIDED, Watch, watch
from driftloop.kernel.records import Stream, Window
from driftloop.models.dispersion import table_dispersion

ROWS = 20


def entries(collection: Collection) -> dict[str, Any]:
    return {part.name: part.plain() for part in collection.parts()}


def watched(season: tuple[str, ...] = (), period: int = 1 << 50) -> Watch:
    alerts = {"reference": "first_weeks", "reference_period": period, "season": season}
    return watch(version(1, profile()), Stream.PREDICTIONS, declaration(alerts=alerts).alerts)


def windows(seed: int, count: int) -> list[Window]:
    """Of x a fifth is the day's."""
    random = np.random.default_rng(seed)
    days = np.repeat(random.integers(0, BINS, count // 24 + 1), 24)
    found = []
    for hour in range(count):
        own = random.multinomial(ROWS - ROWS // 5, np.full(BINS, 1 / BINS))
        own[days[hour]] += ROWS // 5
        score = random.multinomial(ROWS, np.full(BINS, 1 / BINS))
        found.append(predictions(hour, own.tolist(), score=score.tolist(), levels=(ROWS - 2, 2)))
    return found


def kept(watching: Watch, given: list[Window]) -> list[Kept]:
    return [
        Kept.of(number, Whole.of([window]), watching.slot(window), watching.counts(window))
        for number, window in enumerate(given)
    ]


def collected(watching: Watch, given: list[Kept], restart_at: int = -1) -> Collection:
    collection = Collection(watching.policy.reference_period, watching.groups)
    for number, each in enumerate(given):
        if number == restart_at:
            stored = orjson.loads(orjson.dumps(entries(collection)))
            collection = Collection(watching.policy.reference_period, watching.groups)
            collection.load(stored)
        collection.take(each)
    return collection


def test_few_windows_show_what_they_would_show_the_trainer() -> None:
    watching = watched(period=100 * HOUR)
    given = kept(watching, windows(1, 101))
    collection = collected(watching, given)
    assert collection.done
    np.testing.assert_array_equal(
        collection.references[-1], np.sum([k.counts for k in given[:100]], axis=0)
    )
    group = watching.groups[TWO_SIDED]
    flat = group.flat(np.array([k.counts[0] for k in given[:100]])).astype(np.int64)
    expected = [
        table_dispersion(np.arange(100), flat[:, None, group.span(i)], ordered=stream.ordered)
        for i, stream in enumerate(group.streams)
    ]
    found = collection.dispersions(TWO_SIDED)
    np.testing.assert_array_equal(found, expected)
    x = [stream.subject for stream in group.streams].index("x")
    assert found[x] > 3
    assert np.all(np.delete(found, x) == 1.0)


def test_many_windows_are_kept_in_a_few_blocks_and_show_what_lasts() -> None:
    watching = watched(period=2000 * HOUR)
    given = kept(watching, windows(2, 2001))
    collection = Collection(watching.policy.reference_period, watching.groups)
    most = 0
    for each in given:
        collection.take(each)
        most = max(most, len(entries(collection)))
    assert most <= 128 + 3
    x = [s.subject for s in watching.groups[TWO_SIDED].streams].index("x")
    # Of a day's 480 rows 96 hang together: 96^2 / 480 more; of an hour's 20 rows 4: 4^2 / 20 more.
    assert 12 < collection.dispersions(TWO_SIDED)[x] < 40


@pytest.mark.parametrize("season", [(), ("hour_of_day",)])
@pytest.mark.parametrize("restart_at", [1, 90, 200, 299, 300])
def test_a_restart_in_the_middle_changes_nothing(season: tuple[str, ...], restart_at: int) -> None:
    watching = watched(season, period=299 * HOUR)
    given = kept(watching, windows(3, 301))
    one, other = collected(watching, given), collected(watching, given, restart_at)
    assert entries(one) == entries(other)
    assert one.done


def test_what_follows_the_season_is_no_dispersion() -> None:
    watching = watched(("hour_of_day",), period=480 * HOUR)
    plain = watched((), period=480 * HOUR)
    random = np.random.default_rng(4)
    given = []
    for hour in range(481):
        shares = np.roll(np.array([0.55, *([0.05] * 9)]), hour % 24 * BINS // 24)
        x = random.multinomial(ROWS, shares).tolist()
        score = random.multinomial(ROWS, np.full(BINS, 1 / BINS)).tolist()
        given.append(predictions(hour, x, score=score, levels=(ROWS - 2, 2)))
    seasonal = collected(watching, kept(watching, given)).dispersions(TWO_SIDED)
    other = collected(plain, kept(plain, given)).dispersions(TWO_SIDED)
    assert np.all(seasonal == 1.0)
    assert other.max() > 3


def test_entries_are_small_enough_for_the_log_whatever_the_season() -> None:
    watching = watched(("hour_of_day", "day_of_week"), period=1 << 50)
    detectors = Detectors(watching)
    for each in kept(watching, windows(5, 400)):
        assert not detectors.take(replace(windows(5, 1)[0]), each)
    largest = max(len(orjson.dumps(value)) for value in detectors.entries().values())
    assert largest < 100_000

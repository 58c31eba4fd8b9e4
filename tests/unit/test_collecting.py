"""The first weeks as a reference: what is counted, how much it varies, and that a restart in the
middle changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import pytest

from decision_builders import BINS, HOUR, declaration, predictions, profile, version
from driftloop.drift.collecting import Collection
from driftloop.drift.detectors import Detectors
from driftloop.drift.learning import Learning
from driftloop.drift.parts import Whole
from driftloop.drift.state import History, Kept
from driftloop.drift.still import STILL
from driftloop.drift.watch import TWO_SIDED, Watch, watch
from driftloop.kernel.records import Stream, Window
from driftloop.models.dispersion import table_dispersion

ROWS = 20


@dataclass
class Weeks:
    """The first weeks, and what is learnt of them."""

    learning: Learning
    collection: Collection

    @classmethod
    def of(cls, watching: Watch) -> Weeks:
        learning = Learning(watching.groups, watching.layout, watching.trained)
        return cls(learning, Collection(watching.policy.reference_period, learning))


def entries(weeks: Weeks) -> dict[str, Any]:
    parts = (*weeks.collection.parts(), *weeks.learning.parts())
    return {part.name: part.plain() for part in parts}


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


def collected(watching: Watch, given: list[Kept], restart_at: int = -1) -> Weeks:
    weeks = Weeks.of(watching)
    for number, each in enumerate(given):
        if number == restart_at:
            stored = orjson.loads(orjson.dumps(entries(weeks)))
            weeks = Weeks.of(watching)
            weeks.collection.load(stored)
            weeks.learning.load(stored)
        weeks.collection.take(each)
    return weeks


def as_the_trainer(watching: Watch, given: list[Kept]) -> list[float]:
    """The dispersions that the trainer would find in them."""
    group = watching.groups[TWO_SIDED]
    flat = group.flat(np.array([k.counts[0] for k in given])).astype(np.int64)
    return [
        table_dispersion(np.arange(len(given)), flat[:, None, group.span(i)])
        for i, stream in enumerate(group.streams)
    ]


def test_enough_windows_show_what_they_would_show_the_trainer() -> None:
    watching = watched(period=400 * HOUR)
    given = kept(watching, windows(1, 401))
    weeks = collected(watching, given)
    assert weeks.collection.done
    np.testing.assert_array_equal(
        weeks.collection.references[-1], np.sum([k.counts for k in given[:400]], axis=0)
    )
    (found,) = weeks.learning.clumps(TWO_SIDED).least
    np.testing.assert_array_equal(found, as_the_trainer(watching, given[:400]))
    x = [stream.subject for stream in watching.groups[TWO_SIDED].streams].index("x")
    assert found[x] > 3
    assert np.all(np.delete(found, x) == 1.0)
    assert not weeks.learning.retold()


@pytest.mark.parametrize("few", [1, 14, 100])
def test_of_few_windows_rows_count_for_less_until_enough_have_come(few: int) -> None:
    watching = watched(period=few * HOUR)
    given = kept(watching, windows(1, 401))
    weeks = collected(watching, given[: few + 1])
    assert weeks.collection.done
    told = [weeks.learning.clumps(TWO_SIDED).least[0]]
    for each in given[few:400]:
        weeks.learning.follow(each)
        if weeks.learning.retold():
            told.append(weeks.learning.clumps(TWO_SIDED).least[0])
    # The reference is the first weeks, the dispersion of all that was seen.
    np.testing.assert_array_equal(
        weeks.collection.references[-1], np.sum([k.counts for k in given[:few]], axis=0)
    )
    expected = as_the_trainer(watching, given[:400])
    np.testing.assert_array_equal(told[-1], expected)
    if few > 1:
        assert np.all(told[0] >= expected)
        assert np.any(told[0] > expected)
    else:
        assert told[0].max() == ROWS  # All of them count as one.
    # A window after those that were enough says nothing any more.
    weeks.learning.follow(given[-1])
    assert not weeks.learning.retold()
    assert not any("/block/" in name for name in entries(weeks))


def test_a_restart_while_windows_are_followed_changes_nothing() -> None:
    watching = watched(period=14 * HOUR)
    given = kept(watching, windows(6, 420))
    plain, restarted = Detectors(watching), Detectors(watching)
    first = windows(6, 1)[0]
    for number, each in enumerate(given):
        plain.take(first, each)
        restarted.take(first, each)
        if number % 7 == 0:
            stored = orjson.loads(orjson.dumps(restarted.entries()))
            restarted = Detectors(watching)
            assert restarted.load(stored)
            assert restarted.entries() == plain.entries()


def test_what_has_changed_is_not_followed() -> None:
    watching = watched(period=14 * HOUR)
    given = kept(watching, windows(7, 60))
    detectors = Detectors(watching)
    first = windows(7, 1)[0]
    for each in given[:20]:
        detectors.take(first, each)
    head = detectors.entries()["learning/head"]
    key = next(key for _, key in detectors.margins() if key[0] == TWO_SIDED)
    history = History()
    history.append(given[19], 1000)
    member = detectors.recovery.begin(detectors.found(key, history.windows), given[19])
    for each in given[20:40]:
        detectors.take(first, each)
    later = detectors.entries()["learning/head"]
    assert later == head
    detectors.recovery.end(key, given[39], member)
    detectors.take(first, given[40])
    assert detectors.entries()["learning/head"][1] == head[1] + 1


def test_many_windows_are_kept_in_a_few_blocks_and_show_what_lasts() -> None:
    watching = watched(period=2000 * HOUR)
    given = kept(watching, windows(2, 2001))
    weeks = Weeks.of(watching)
    most = 0
    for each in given:
        weeks.collection.take(each)
        most = max(most, len(entries(weeks)))
    assert most <= 512 + 5
    x = [s.subject for s in watching.groups[TWO_SIDED].streams].index("x")
    # Of a day's 480 rows 96 hang together: 96^2 / 480 more; of an hour's 20 rows 4: 4^2 / 20 more.
    assert 12 < weeks.learning.clumps(TWO_SIDED).least[0, x] < 40


@pytest.mark.parametrize("season", [(), ("hour_of_day",)])
@pytest.mark.parametrize("restart_at", [1, 90, 200, 299, 300])
def test_a_restart_in_the_middle_changes_nothing(season: tuple[str, ...], restart_at: int) -> None:
    watching = watched(season, period=299 * HOUR)
    given = kept(watching, windows(3, 301))
    one, other = collected(watching, given), collected(watching, given, restart_at)
    assert entries(one) == entries(other)
    assert one.collection.done


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
    seasonal = collected(watching, kept(watching, given)).learning.clumps(TWO_SIDED).least
    other = collected(plain, kept(plain, given)).learning.clumps(TWO_SIDED).least
    assert np.all(seasonal == 1.0)
    assert other.max() > 3


def test_entries_are_small_enough_for_the_log_whatever_the_season() -> None:
    watching = watched(("hour_of_day", "day_of_week"), period=1 << 50)
    detectors = Detectors(watching)
    for each in kept(watching, windows(5, 400)):
        assert not detectors.take(replace(windows(5, 1)[0]), each)
    largest = max(len(orjson.dumps(value)) for value in detectors.entries().values())
    assert largest < 100_000


def in_segments(watching: Watch, count: int) -> list[Kept]:
    """Of three segments the first is in clumps, the second's rows are independent, the third has
    one window."""
    clumps = [each.counts[0] for each in kept(watching, windows(8, count))]
    random = np.random.default_rng(9)
    plain = []
    for hour in range(count):
        x = random.multinomial(10 * ROWS, np.full(BINS, 1 / BINS)).tolist()
        score = random.multinomial(10 * ROWS, np.full(BINS, 1 / BINS)).tolist()
        plain.append(predictions(hour, x, score=score, levels=(9 * ROWS, ROWS)))
    found = []
    for number, each in enumerate(kept(watching, plain)):
        third = clumps[0] if number == 3 else 0 * clumps[0]
        own = np.stack([clumps[number], each.counts[0], third])
        found.append(replace(each, counts=np.concatenate([[own.sum(axis=0)], own])))
    return found


@pytest.mark.parametrize("few", [60, 400])
def test_a_segments_clumps_show_where_those_of_all_rows_do_not(few: int) -> None:
    watching = watched(period=few * HOUR)
    given = in_segments(watching, few + 1)
    x = [s.subject for s in watching.groups[TWO_SIDED].streams].index("x")
    weeks = collected(watching, given)
    assert entries(collected(watching, given, few // 2)) == entries(weeks)
    found = weeks.learning.clumps(TWO_SIDED).least[:, x]
    # A day's rows of 20 hours: 4 of 20 are alike, so 96 of 480 are.
    assert found[1] > 10
    assert found[1] > 3 * found[0]
    assert np.all(found[1:] >= found[0])
    # Who was seen in one window shows nothing of how windows vary: at most all rows are one.
    assert found[3] == (ROWS if few < 400 else found[0])


def test_blocks_of_many_segments_are_few() -> None:
    watching = watched(period=1 << 50)
    given = [
        replace(each, counts=np.repeat(each.counts, 500, axis=0))
        for each in kept(watching, windows(5, 300))
    ]
    parts = entries(collected(watching, given))
    assert sum("/segments/" in name for name in parts) <= 32


def test_one_value_in_each_window_is_no_feature_that_stands_still() -> None:
    watching = watched(period=50 * HOUR)
    random = np.random.default_rng(10)
    detectors = Detectors(watching)
    for hour in range(250):
        x = np.zeros(BINS, dtype=np.int64)
        at = random.integers(0, BINS)
        x[at] = ROWS
        window = predictions(hour, x.tolist(), score=[2] * BINS, levels=(ROWS - 2, 2))
        numeric = [
            replace(column, minimum=at / BINS, maximum=at / BINS) if column.name == "x" else column
            for column in window.statistics.numeric
        ]
        window = replace(window, statistics=replace(window.statistics, numeric=tuple(numeric)))
        detectors.take(window, kept(watching, [window])[0])
    still = [margin for margin, key in detectors.margins() if key[0] == STILL]
    assert still
    assert max(still) < 0.0

"""The deciding cores decide alike however their input is batched and wherever they restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision_builders import (
    BINS,
    HOUR,
    MODEL,
    TOPICS,
    alert,
    batch,
    catalog,
    command,
    commit,
    declaration,
    outcomes,
    predictions,
    profile,
    restarted,
    sent,
    version,
)
from driftloop.deployer.core import DeployerCore
from driftloop.drift import state
from driftloop.drift.core import DriftCore
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import RecordBatch
from driftloop.kernel.processor import Core
from driftloop.kernel.records import (
    Alert,
    AlertStatus,
    Command,
    CommandAction,
    Deployment,
    Profile,
    Recipe,
    ReferenceCounts,
    Run,
    RunStatus,
    SegmentStatistics,
    Stage,
    Stream,
    Version,
    Window,
)
from driftloop.trainer.core import Failed, Published, TrainerCore

KIND_TOPICS = {
    Window: TOPICS.windows,
    Alert: TOPICS.alerts,
    Command: TOPICS.commands,
    Version: TOPICS.versions,
}
QUICK = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
VERSIONS = tuple(version(number) for number in range(1, 5))

NEAR, FAR = (100,) * BINS, (0, 0, 0, 0, 0, 0, 100, 200, 300, 400)
PUBLISHED = Published(Recipe("logistic", {}, 1), "a", "b", profile(), {}, (), 1000)

seen_windows = st.one_of(
    st.builds(
        predictions,
        st.integers(0, 12),
        st.sampled_from([NEAR, FAR]),
        missing=st.sampled_from([0, 200]),
        version=st.sampled_from([1, 1, 1, 0, 2]),
        revision=st.integers(0, 1),
    ),
    st.builds(
        outcomes,
        st.integers(0, 12),
        st.sampled_from([[0.3] * 300, [2.0] * 300]),
        version=st.sampled_from([1, 1, 1, 0, 2]),
        shadow=st.sampled_from([-1, -1, 3]),
        parts=st.integers(0, 2),
    ),
)

POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"season": ("hour_of_day",)},
    {"reference": "first_weeks", "reference_period": 6 * HOUR},
    {"reference": "first_weeks", "reference_period": 9 * HOUR, "season": ("hour_of_day",)},
    {"segment": "c"},
)


def segmented(reference: Profile) -> Profile:
    """Each level of c by itself too, and by the hour of day."""
    even = (reference.rows // 2 // BINS,) * BINS
    half = reference.rows // 2
    levels = {"a": (half, 0), "b": (0, half)}
    parts = [
        ReferenceCounts(
            Stream.PREDICTIONS, hour, level, half, (*even, 0, 2, *even, 0, 2, *counts, 0, 0)
        )
        for hour in (-1, 0, 1, 2)
        for level, counts in levels.items()
    ]
    return replace(reference, references=tuple(parts))


def seasonal(reference: Profile) -> Profile:
    """Every hour of day as the whole."""
    even = (reference.rows // BINS,) * BINS
    levels = (reference.rows * 9 // 10, reference.rows // 10)
    counts = (*even, 0, 2, *even, 0, 2, *levels, 0, 0)
    parts = [
        ReferenceCounts(Stream.PREDICTIONS, hour, "", reference.rows, counts) for hour in range(24)
    ]
    return replace(reference, references=tuple(parts))


def known_to_drift(alerts: dict[str, Any]) -> Catalog:
    """Versions 1 and 2 as this policy has them trained."""
    reference = profile()
    if alerts.get("segment"):
        reference = segmented(reference)
    elif alerts.get("season") and "reference" not in alerts:
        reference = seasonal(reference)
    return catalog(declaration(alerts=alerts), version(1, reference), version(2, reference))


def in_segments(record: Any) -> Any:
    """A window of predictions, each of its rows in one of two segments."""
    statistics = record.statistics
    if record.stream is not Stream.PREDICTIONS:
        # Of outcomes no segment has a reference.
        return record
    x, score = (column.bins for column in statistics.numeric)
    (c,) = statistics.categorical
    half = [
        (*(n // 2 for n in x), statistics.numeric[0].missing // 2, 0),
        (*(n // 2 for n in score), 0, 0),
    ]
    counts = (*half[0], *half[1], *(n // 2 for n in c.levels), 0, 0)
    parts = tuple(SegmentStatistics(level, statistics.rows // 2, counts) for level in ("a", "b"))
    return replace(record, statistics=replace(statistics, segments=parts))


@st.composite
def drift_inputs(draw: st.DrawFn) -> tuple[dict[str, Any], list[Any]]:
    """A policy, windows as it has them made, and what people say of the alerts these may open."""
    alerts = draw(st.sampled_from(POLICIES))
    said = st.builds(
        lambda subject, action, number, until: replace(
            command(f"c{number}", action),
            alert=f"flights-data_drift-{subject}-v1-{number * HOUR}",
            until=until,
        ),
        st.sampled_from(["x", "score", "c"]),
        st.sampled_from([CommandAction.ACKNOWLEDGE, CommandAction.SNOOZE]),
        st.integers(0, 12),
        st.integers(0, 20).map(lambda hour: hour * HOUR),
    )
    steps = st.one_of(seen_windows, seen_windows, seen_windows, said)
    least = draw(st.sampled_from([0, 25]))
    records = draw(st.lists(steps, min_size=least, max_size=40))
    if alerts.get("segment"):
        records = [in_segments(r) if isinstance(r, Window) else r for r in records]
    return alerts, records


@st.composite
def deployer_inputs(draw: st.DrawFn) -> list[Any]:
    """Versions in turn, and windows mostly of the pairs these lead to; a command now and then."""
    pairs = [(0, 1), (0, 1), (1, 2), (2, 1), (1, 3), (2, 3), (3, 2), (0, 2), (1, -1)]
    steps = st.sampled_from(["window"] * 8 + ["version"] * 2 + ["command"])
    records: list[Any] = []
    published = 0
    for hour, step in enumerate(draw(st.lists(steps, min_size=15, max_size=40))):
        if step == "version":
            published = min(published + 1, len(VERSIONS))
            records.append(VERSIONS[published - 1])
        elif step == "command":
            action = draw(st.sampled_from(CommandAction))
            records.append(command(f"c{hour}", action, draw(st.integers(-1, 4))))
        else:
            champion, shadow = draw(st.sampled_from(pairs))
            difference = draw(st.sampled_from([0.3, 0.3, -0.3, 0.0]))
            records.append(
                outcomes(
                    draw(st.integers(max(0, hour - 2), hour)),
                    difference=[difference] * 100,
                    version=champion,
                    shadow=shadow,
                )
            )
    return [VERSIONS[0], *records] if draw(st.booleans()) else records


@st.composite
def trainer_inputs(draw: st.DrawFn) -> list[Any]:
    """Hours that mostly pass in turn, alerts near the present, ends of runs, few commands."""
    steps = st.sampled_from(["hour"] * 8 + ["revision", "alert", "alert", "end", "end", "command"])
    records: list[Any] = []
    hour = 0
    for step in draw(st.lists(steps, min_size=30, max_size=80)):
        if step == "hour":
            records.append(outcomes(hour, rows=400))
            hour += draw(st.sampled_from([1, 1, 1, 0, 3]))
        elif step == "revision":
            records.append(outcomes(draw(st.integers(0, hour)), rows=450, revision=1))
        elif step == "alert":
            at = draw(st.integers(max(1, hour - 3), hour + 3))
            status = draw(st.sampled_from(AlertStatus))
            records.append(alert(draw(st.sampled_from("abcd")), at, status))
        elif step == "end":
            records.append(draw(st.booleans()))
        elif draw(st.integers(0, 3)) == 0:
            records.append(command(draw(st.sampled_from("xyz")), CommandAction.RETRAIN))
    return records


def batches(records: list[Any], cuts: set[int]) -> list[RecordBatch]:
    """Neighbours of one topic in one batch, unless cut apart."""
    groups: list[list[Any]] = []
    for index, record in enumerate(records):
        if groups and index not in cuts and type(groups[-1][0]) is type(record):
            groups[-1].append(record)
        else:
            groups.append([record])
    return [batch(KIND_TOPICS[type(group[0])], *group) for group in groups]


def outputs_of(
    make: Callable[[], Core], given_batches: list[RecordBatch], restarts: set[int]
) -> list[Any]:
    """What a core says to the batches, each committed; restarted before those whose numbers are
    given."""
    core, store, out = make(), dict[str, bytes](), []
    for index, each in enumerate(given_batches):
        if index in restarts:
            core = restarted(core, store, make)
        said = core.process(each)
        out += [*sent(said), *(letter.value for letter in said.dead_letters)]
        commit(core, store)
    return out


places = st.sets(st.integers(0, 40))
remembered = pytest.mark.parametrize("entries", [0, 3, 5], ids=lambda n: f"{n} entries" * bool(n))
"""As many as a history may have, or few: old windows come to lie together."""


@contextmanager
def remembering(entries: int) -> Iterator[None]:
    """While a history has so many entries; 0: as usual."""
    few = {"_LEAST_ENTRIES": 2, "_MOST_ENTRIES": entries, "_ROWS": 20_000, "_FINENESS": 1}
    with ExitStack() as stack:
        for name, value in few.items() if entries else ():
            stack.enter_context(patch.object(state, name, value))
        yield


@remembered
@QUICK
@given(drift_inputs(), places, places)
def test_drift_does_not_depend_on_batches_and_restarts(
    entries: int,
    given_inputs: tuple[dict[str, Any], list[Any]],
    cuts: set[int],
    restarts: set[int],
) -> None:
    alerts, records = given_inputs
    known = known_to_drift(alerts)
    with remembering(entries):
        whole = outputs_of(lambda: DriftCore(known), batches(records, set()), set())
        parts = outputs_of(lambda: DriftCore(known), batches(records, cuts), restarts)
    # As text: an estimate before the labels come has NaN for them.
    assert list(map(repr, parts)) == list(map(repr, whole))


@remembered
@QUICK
@given(drift_inputs(), places)
def test_the_state_of_drift_is_the_same_however_often_it_was_committed(
    entries: int, given_inputs: tuple[dict[str, Any], list[Any]], cuts: set[int]
) -> None:
    alerts, records = given_inputs
    stores: list[dict[str, bytes]] = []
    with remembering(entries):
        for often in (True, False):
            core, store = DriftCore(known_to_drift(alerts)), dict[str, bytes]()
            for each in batches(records, cuts):
                core.process(each)
                if often:
                    commit(core, store)
            commit(core, store)
            stores.append(store)
    assert stores[0] == stores[1]


@remembered
@QUICK
@given(
    st.sampled_from(POLICIES[:4]),
    st.sampled_from(POLICIES[:4]),
    st.lists(seen_windows, min_size=5, max_size=20),
    st.lists(seen_windows, max_size=20),
    places,
)
def test_drift_does_not_depend_on_restarts_around_a_new_declaration(
    entries: int,
    before: dict[str, Any],
    after: dict[str, Any],
    first: list[Any],
    then: list[Any],
    restarts: set[int],
) -> None:
    def said(restarts: set[int]) -> list[str]:
        known = known_to_drift(before)
        core: Core = DriftCore(known)
        store: dict[str, bytes] = {}
        out: list[str] = []
        for index, record in enumerate([*first, *then]):
            if index == len(first):
                known.models[MODEL] = declaration(alerts=after)  # type: ignore[index]
            if index in restarts:
                core = restarted(core, store, lambda: DriftCore(known))
            outputs = core.process(batch(KIND_TOPICS[type(record)], record))
            out += [repr(each) for each in sent(outputs)]
            assert not outputs.dead_letters
        return out

    with remembering(entries):
        assert said(restarts | {len(first)}) == said(set())


@QUICK
@given(
    st.lists(st.tuples(st.sampled_from([NEAR, NEAR, FAR]), st.integers(0, 3)), min_size=20),
    st.sampled_from([(), ("hour_of_day",), ("day_of_week",)]),
    places,
)
def test_drift_takes_windows_that_lie_together_back_after_a_restart(
    windows: list[tuple[tuple[int, ...], int]], season: tuple[str, ...], restarts: set[int]
) -> None:
    records = [
        predictions(hour, x, missing=100 * missing) for hour, (x, missing) in enumerate(windows)
    ]
    each = set(range(len(records)))
    known = known_to_drift({"season": season} if season else {})
    with remembering(5):
        whole = outputs_of(lambda: DriftCore(known), batches(records, each), set())
        parts = outputs_of(lambda: DriftCore(known), batches(records, each), restarts)
    assert list(map(repr, parts)) == list(map(repr, whole))


def check_order(said: list[Any]) -> None:
    """Each alert is opened once, under an id that none before had, and over when it is resolved."""
    newest: dict[str, Alert] = {}
    for each in said:
        if not isinstance(each, Alert):
            continue
        before = newest.get(each.id)
        if each.status is AlertStatus.OPENED:
            assert before is None
            assert each.sequence == 0
        else:
            assert before is not None
            assert before.status is not AlertStatus.RESOLVED
            assert each.sequence == before.sequence + 1
        newest[each.id] = each


@QUICK
@given(drift_inputs())
def test_drift_opens_resolves_and_numbers_alerts_in_order(
    given_inputs: tuple[dict[str, Any], list[Any]],
) -> None:
    alerts, records = given_inputs
    known = known_to_drift(alerts)
    check_order(outputs_of(lambda: DriftCore(known), batches(records, set()), set()))


redeclarations = st.sampled_from(
    [{}, {"shares": {"data_drift": 1.0}}, {"false_alarms_per_100k": 0.5}, POLICIES[2]]
)
side_by_side = st.one_of(
    st.builds(
        predictions,
        st.integers(0, 5),
        st.sampled_from([FAR, FAR, NEAR]),
        version=st.sampled_from([1, 1, 1, 2]),
    ),
    st.builds(
        outcomes,
        st.integers(0, 2),
        st.sampled_from([[2.0] * 300, [2.0] * 300, [0.3] * 300]),
        version=st.sampled_from([1, 1, 1, 2]),
        shadow=st.integers(-1, 4),
        parts=st.integers(0, 3),
    ),
)
"""Windows that start together, of several shadows and versions, and late ones."""


@QUICK
@given(st.lists(st.one_of(side_by_side, side_by_side, redeclarations), max_size=20), places)
def test_no_two_alerts_have_one_id_whatever_is_declared_between_windows_of_one_start(
    inputs: list[Any], restarts: set[int]
) -> None:
    def said(restarts: set[int]) -> list[Any]:
        known = known_to_drift({})
        core: Core = DriftCore(known)
        store: dict[str, bytes] = {}
        out: list[Any] = []
        for index, each in enumerate(inputs):
            if index in restarts:
                core = restarted(core, store, lambda: DriftCore(known))
            if isinstance(each, Window):
                out += sent(core.process(batch(TOPICS.windows, each)))
            else:
                known.declare(declaration(alerts=each))
        return out

    whole = said(set())
    check_order(whole)
    assert list(map(repr, said(restarts))) == list(map(repr, whole))


@QUICK
@given(deployer_inputs(), places, places)
def test_the_deployer_does_not_depend_on_batches_and_restarts(
    records: list[Any], cuts: set[int], restarts: set[int]
) -> None:
    known = catalog(declaration(promotion={"maximum_rows": 300, "guard_rows": 200}))
    whole = outputs_of(lambda: DeployerCore(known), batches(records, set()), set())
    parts = outputs_of(lambda: DeployerCore(known), batches(records, cuts), restarts)
    assert parts == whole


@QUICK
@given(deployer_inputs())
def test_deployments_are_a_walk_of_the_state_machine(records: list[Any]) -> None:
    known = catalog(declaration(promotion={"maximum_rows": 300, "guard_rows": 200}))
    said = outputs_of(lambda: DeployerCore(known), batches(records, set()), set())
    deployments = [each for each in said if isinstance(each, Deployment)]
    champion = 0
    for number, each in enumerate(deployments, 1):
        assert each.sequence == number
        assert (each.shadow == -1) == (each.stage is Stage.STEADY)
        assert each.shadow != each.champion
        if each.champion != champion:
            assert each.reason in ("promoted", "rolled_back")
        champion = each.champion


class Loop:
    """A trainer core with a shell that finishes its runs when told to."""

    def __init__(self, restarts: set[int]) -> None:
        self.known = catalog(declaration(training={"schedule": 28_800_000, "cooldown": 7_200_000}))
        self.core = TrainerCore(self.known)
        self.restarts = restarts
        self.store: dict[str, bytes] = {}
        self.working: list[Run] = []
        self.said: list[Any] = []

    def give(self, records: list[Any]) -> list[Any]:
        for index, record in enumerate(records):
            if index in self.restarts:
                core = restarted(self.core, self.store, lambda: TrainerCore(self.known))
                assert isinstance(core, TrainerCore)
                self.core = core
                # The shell's workers died too; it is handed the active run again.
                self.working = core.take_starts()
            if isinstance(record, bool):
                self.end(record)
            else:
                self.said += sent(self.core.process(batch(KIND_TOPICS[type(record)], record)))
            self.working += self.core.take_starts()
        return self.said

    def end(self, well: bool) -> None:
        for run in self.working:
            self.core.finish(run.id, PUBLISHED if well else Failed("killed"))
        self.working = []
        self.said += sent(self.core.on_time(0))


@QUICK
@given(trainer_inputs(), places)
def test_the_trainer_does_not_depend_on_restarts(records: list[Any], restarts: set[int]) -> None:
    assert Loop(restarts).give(records) == Loop(set()).give(records)


@QUICK
@given(trainer_inputs())
def test_runs_follow_one_another_and_versions_count_up(records: list[Any]) -> None:
    active: Run | None = None
    runs, versions = 0, 0
    for each in Loop(set()).give(records):
        if isinstance(each, Version):
            versions += 1
            assert each.version == versions
        elif each.status is RunStatus.STARTED:
            assert active is None
            runs += 1
            assert each.id == f"flights-{runs}"
            assert each.period_end <= each.at
            active = each
        else:
            assert active is not None
            assert each.id == active.id
            active = None

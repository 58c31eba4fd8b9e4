"""What drift says about windows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from decision_builders import (
    BINS,
    HOUR,
    LEAD,
    MODEL,
    TOPICS,
    alerts_of,
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
from driftloop.drift.core import DriftCore
from driftloop.drift.detectors import Readings
from driftloop.drift.shiryaev import EMPTY, advance, earliest_onset, onset
from driftloop.drift.streams import watched_streams
from driftloop.kernel.declaration import Task, WindowPolicy
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import (
    Alert,
    AlertKind,
    AlertStatus,
    CommandAction,
    Estimate,
    Load,
    Profile,
    ReferenceCounts,
    SegmentStatistics,
    Severity,
    Stream,
    Window,
)

SHIFTED = (20, 40, 60, 80, 100, 100, 120, 140, 160, 180)
FAR = (0, 0, 0, 0, 0, 0, 100, 200, 300, 400)
LOW_LOSS = [0.2, 0.6] * 250
HIGH_LOSS = [0.5, 0.9] * 250


class Watching:
    """A drift core that knows versions 1 to 3, and what it says."""

    def __init__(self, **alerts: Any) -> None:
        self.catalog = catalog(declaration(alerts=alerts), version(1), version(2), version(3))
        self.core = DriftCore(self.catalog)

    def declare(self, digest: str = "", **alerts: Any) -> None:
        """Change the declaration."""
        made = replace(declaration(alerts=alerts), digest=digest)
        self.catalog.models[MODEL] = made  # type: ignore[index]

    def give(self, *windows: Window, timestamp: int = 0) -> list[Alert]:
        return alerts_of(self.core.process(batch(TOPICS.windows, *windows, timestamp=timestamp)))


def opening(alerts: list[Alert]) -> Alert:
    (first,) = [a for a in alerts if a.status is AlertStatus.OPENED]
    return first


def test_no_alert_while_windows_look_like_the_reference() -> None:
    watching = Watching()
    windows = [*(predictions(h) for h in range(30)), *(outcomes(h, LOW_LOSS) for h in range(30))]
    assert not watching.give(*windows)


def test_a_shifted_feature_opens_one_alert_about_it() -> None:
    watching = Watching()
    watching.give(*(predictions(h) for h in range(5)))
    said = watching.give(*(predictions(h, SHIFTED) for h in range(5, 10)))
    first = opening(said)
    assert (first.kind, first.subject, first.version) == (AlertKind.DATA_DRIFT, "x", 1)
    assert {a.id for a in said} == {first.id}


def test_an_alert_brings_its_evidence() -> None:
    watching = Watching()
    watching.give(*(predictions(h) for h in range(5)))
    first = opening(watching.give(*(predictions(h, SHIFTED) for h in range(5, 10))))
    evidence = first.evidence
    # Two features share three tenths of the budget.
    assert evidence.e_value >= evidence.threshold == pytest.approx(np.log(2 * 100_000 / 0.3))
    assert evidence.share == pytest.approx(0.15)
    assert (evidence.effect_name, evidence.effect_floor) == ("psi", 0.1)
    assert evidence.effect == pytest.approx(0.30, abs=0.02)
    assert [(f.subject, f.effect_name) for f in evidence.findings] == [("x", "psi")]
    assert first.onset == 5 * HOUR
    assert evidence.rows == (first.at - first.onset) // HOUR * 1000
    assert evidence.windows[0] == "flights/predictions/18000000/1/-"
    (source,) = first.onset_sources
    assert (source.start, source.end) == (5000, first.at // HOUR * 1000)
    assert "PSI" in first.summary
    assert "x" in first.action


def test_alert_ids_are_safe_and_name_their_cause() -> None:
    watching = Watching()
    said = watching.give(*(predictions(h, FAR) for h in range(5)))
    assert opening(said).id == "flights-data_drift-x-v1-0"
    assert re.fullmatch(r"[\w.-]+", said[0].id)


def test_alerts_carry_cloud_events_headers() -> None:
    watching = Watching()
    outputs = watching.core.process(batch(TOPICS.windows, *(predictions(h, FAR) for h in range(5))))
    assert outputs.sends[0].headers is not None
    headers = dict(outputs.sends[0].headers[0])
    assert headers["ce_type"] == b"driftloop.alert.opened"
    assert headers["ce_id"] == b"flights-data_drift-x-v1-0/0"


def test_a_slight_change_however_significant_opens_nothing() -> None:
    slight = (80, 80, 90, 90, 100, 100, 110, 110, 120, 120)
    assert not Watching().give(*(predictions(h, slight) for h in range(60)))
    assert Watching(shift_floor=0.1).give(*(predictions(h, slight) for h in range(60)))


def test_a_large_change_is_found_behind_a_long_slight_one() -> None:
    slight = (80, 80, 90, 90, 100, 100, 110, 110, 120, 120)
    watching = Watching()
    watching.give(*(predictions(h, slight) for h in range(60)))
    first = opening(watching.give(*(predictions(h, FAR) for h in range(60, 63))))
    assert first.onset == 60 * HOUR


def test_shifted_scores_open_an_alert_about_predictions() -> None:
    first = opening(Watching().give(*(predictions(h, score=SHIFTED) for h in range(6))))
    assert (first.kind, first.subject) == (AlertKind.PREDICTION_DRIFT, "score")


def test_changed_shares_of_levels_open_an_alert() -> None:
    first = opening(Watching().give(*(predictions(h, levels=(700, 300)) for h in range(6))))
    assert (first.kind, first.subject) == (AlertKind.DATA_DRIFT, "c")


def test_levels_never_seen_open_an_alert() -> None:
    windows = [predictions(h, levels=(850, 100), unseen=50) for h in range(6)]
    (new,) = [
        a
        for a in Watching().give(*windows)
        if (a.kind, a.status) == (AlertKind.NEW_CATEGORIES, AlertStatus.OPENED)
    ]
    assert new.subject == "c"
    assert new.evidence.effect == pytest.approx(0.05, abs=0.002)


def test_one_new_value_in_a_hundred_is_found() -> None:
    windows = [predictions(h, levels=(890, 100), unseen=10) for h in range(6)]
    assert opening(Watching().give(*windows)).kind is AlertKind.NEW_CATEGORIES


def test_values_out_of_range_open_an_alert() -> None:
    first = opening(Watching().give(*(predictions(h, outside=20) for h in range(4))))
    assert (first.kind, first.subject) == (AlertKind.OUT_OF_RANGE, "x")
    assert first.evidence.effect == pytest.approx(0.02, abs=0.001)


def test_a_feature_that_stands_still_opens_an_alert_until_it_moves() -> None:
    watching = Watching()
    watching.give(predictions(0))
    still = [predictions(h, (0, 0, 0, 1000, 0, 0, 0, 0, 0, 0), constant=True) for h in (1, 2)]
    (first,) = [a for a in watching.give(*still) if a.kind is AlertKind.CONSTANT]
    assert (first.subject, first.onset) == ("x", HOUR)
    assert first.evidence.effect_name == "constant_rows"
    (over,) = [a for a in watching.give(predictions(3)) if a.kind is AlertKind.CONSTANT]
    assert (over.id, over.status) == (first.id, AlertStatus.RESOLVED)


def test_a_category_that_repeats_itself_opens_an_alert_until_others_come() -> None:
    watching = Watching()
    watching.give(predictions(0))
    # The index of this change is .1: as an effect of a distribution hardly one.
    still = [predictions(h, levels=(1000, 0)) for h in (1, 2)]
    (first,) = [a for a in watching.give(*still) if a.kind is AlertKind.CONSTANT]
    assert (first.subject, first.onset) == ("c", HOUR)
    (over,) = [a for a in watching.give(predictions(3)) if a.kind is AlertKind.CONSTANT]
    assert (over.id, over.status) == (first.id, AlertStatus.RESOLVED)


@pytest.mark.parametrize(
    "windows",
    [
        [predictions(h, levels=(999, 1)) for h in range(1, 9)],
        [predictions(h, levels=(0, 0), unseen=1000) for h in range(1, 9)],
    ],
    ids=["one row of another", "a value that nobody knows"],
)
def test_what_is_not_one_known_category_in_all_rows_does_not_stand_still(
    windows: list[Window],
) -> None:
    watching = Watching()
    watching.give(predictions(0))
    assert AlertKind.CONSTANT not in {a.kind for a in watching.give(*windows)}


def test_one_row_that_moves_ends_no_alert_of_a_feature_that_stands_still() -> None:
    watching = Watching()
    watching.give(predictions(0))
    bins = (0, 0, 0, 1000, 0, 0, 0, 0, 0, 0)
    windows = [predictions(h, bins, constant=True) for h in (1, 2, 4, 5)]
    windows.insert(2, predictions(3, (1, 0, 0, 999, 0, 0, 0, 0, 0, 0)))
    said = [a for a in watching.give(*windows) if a.kind is AlertKind.CONSTANT]
    first = opening(said)
    assert {(a.id, a.status is AlertStatus.RESOLVED) for a in said} == {(first.id, False)}
    (over,) = [a for a in watching.give(predictions(6)) if a.kind is AlertKind.CONSTANT]
    assert over.status is AlertStatus.RESOLVED
    assert over.summary.startswith("Feature x moves again: 1,000 rows have moved")


def test_features_that_change_together_are_one_alert() -> None:
    watching = Watching()
    watching.give(*(predictions(h) for h in range(4)))
    said = watching.give(*(predictions(h, FAR, levels=(500, 500)) for h in range(4, 9)))
    data = [a for a in said if a.kind is AlertKind.DATA_DRIFT]
    assert len({a.id for a in data}) == 1
    assert {f.subject for f in data[-1].evidence.findings} == {"x", "c"}


def test_a_change_that_begins_after_an_alert_is_another_alert() -> None:
    watching = Watching()
    watching.give(*(predictions(h, FAR) for h in range(6)))
    said = watching.give(*(predictions(h, FAR, levels=(500, 500)) for h in range(6, 12)))
    second = opening(said)
    assert (second.kind, second.subject) == (AlertKind.DATA_DRIFT, "c")


def test_missing_values_open_an_alert() -> None:
    first = opening(Watching().give(*(predictions(h, missing=100) for h in range(3))))
    assert (first.kind, first.subject) == (AlertKind.MISSING_VALUES, "x")
    assert first.evidence.effect == pytest.approx(100 / 1100)


def test_higher_loss_opens_an_alert_about_the_concept() -> None:
    watching = Watching()
    watching.give(*(outcomes(h, LOW_LOSS) for h in range(5)))
    first = opening(watching.give(*(outcomes(h, HIGH_LOSS) for h in range(5, 10))))
    assert (first.kind, first.subject) == (AlertKind.CONCEPT_DRIFT, "loss")
    assert first.onset == 5 * HOUR
    assert first.evidence.effect == pytest.approx(0.3)


def test_more_errors_open_an_alert_about_the_concept() -> None:
    watching = Watching()
    watching.give(*(outcomes(h, LOW_LOSS, errors=50) for h in range(5)))
    said = watching.give(*(outcomes(h, LOW_LOSS, errors=90) for h in range(5, 12)))
    first = opening(said)
    assert (first.kind, first.subject) == (AlertKind.CONCEPT_DRIFT, "errors")
    assert first.evidence.effect == pytest.approx(0.08)


def never_wrong(least: float = 0.0) -> Profile:
    """Of a model that made no errors, with one and the same loss for every row; ``least``: of its
    scores."""
    known = profile()
    x, score = known.numeric
    loss = replace(
        known.loss,
        edges=(),
        counts=(known.rows,),
        means=(0.001,),
        errors=0,
        score_errors=(0,) * BINS,
        score_losses=(0.001 * known.rows / BINS,) * BINS,
    )
    return replace(known, numeric=(x, replace(score, minimum=least)), loss=loss)


def test_the_first_errors_of_a_model_that_was_never_wrong_are_told_of() -> None:
    core = DriftCore(catalog(declaration(), version(1, never_wrong())))

    def give(hours: range, errors: int) -> list[Alert]:
        windows = []
        for hour in hours:
            window = outcomes(hour, [7.0 if n < errors else 0.001 for n in range(500)])
            assert window.statistics.loss is not None
            loss = replace(window.statistics.loss, errors=errors, bins=(500,))
            windows.append(replace(window, statistics=replace(window.statistics, loss=loss)))
        return alerts_of(core.process(batch(TOPICS.windows, *windows)))

    assert not give(range(10), 0)
    first = opening(give(range(10, 12), 500))
    assert (first.kind, first.subject) == (AlertKind.CONCEPT_DRIFT, "errors")
    assert first.evidence.effect == pytest.approx(1.0)
    assert first.onset == 10 * HOUR


def test_a_regression_of_one_loss_has_no_errors_to_watch() -> None:
    policy = declaration().alerts
    watched = [
        watched_streams(never_wrong(least), Stream.OUTCOMES, policy).all() for least in (0.0, -1.0)
    ]
    assert [[one.subject for one in streams] for streams in watched] == [["errors"], []]


def test_what_has_no_share_of_the_budget_is_not_watched() -> None:
    shares = {"concept_drift": 1.0}
    windows = [predictions(h, FAR, missing=500, unseen=300) for h in range(6)]
    assert not Watching(shares=shares).give(*windows)
    assert Watching(shares=shares).give(*(outcomes(h, HIGH_LOSS) for h in range(5)))


def test_severity_grows_with_the_effect() -> None:
    mildly = [0.2] * 200 + [0.6] * 300
    mild = opening(Watching(loss_floor=0.025).give(*(outcomes(h, mildly) for h in range(40))))
    grave = opening(Watching().give(*(outcomes(h, HIGH_LOSS) for h in range(5))))
    assert (mild.severity, grave.severity) == (Severity.INFO, Severity.CRITICAL)


def test_updates_are_few_and_count_up() -> None:
    said = Watching().give(*(predictions(h, FAR) for h in range(60)))
    assert [a.sequence for a in said] == list(range(len(said)))
    assert {a.status for a in said[1:]} == {AlertStatus.UPDATED}
    assert len(said) <= 8


def test_an_alert_is_resolved_when_the_evidence_has_turned() -> None:
    watching = Watching()
    first = opening(watching.give(*(predictions(h, FAR) for h in range(4))))
    (over,) = watching.give(predictions(4))
    assert (over.id, over.status, over.at) == (first.id, AlertStatus.RESOLVED, 5 * HOUR)
    assert over.evidence.effect < 0.05


def test_a_few_rows_like_the_reference_resolve_nothing() -> None:
    watching = Watching()
    watching.give(*(predictions(h, SHIFTED) for h in range(6)))
    few = (3, 3, 3, 3, 3, 3, 3, 3, 3, 3)
    assert not any(
        a.status is AlertStatus.RESOLVED
        for a in watching.give(predictions(6, few, score=few, levels=(27, 3)))
    )


def test_nothing_flaps_while_a_stream_comes_and_goes() -> None:
    watching = Watching()
    rng = np.random.default_rng(3)
    slight = np.array(SHIFTED) / 1000
    said = []
    for hour in range(200):
        x = tuple(rng.multinomial(60, slight if hour % 4 else np.full(BINS, 0.1)).tolist())
        even = (6,) * BINS
        said += watching.give(predictions(hour, x, score=even, levels=(54, 6)))
    assert len([a for a in said if a.status is AlertStatus.OPENED]) <= 2


def test_a_resolved_alert_comes_back_under_another_id() -> None:
    watching = Watching()
    first = opening(watching.give(*(predictions(h, FAR) for h in range(4))))
    watching.give(*(predictions(h) for h in range(4, 9)))
    second = opening(watching.give(*(predictions(h, FAR) for h in range(9, 13))))
    assert second.id != first.id
    assert second.onset == 9 * HOUR


def test_a_new_version_resolves_the_old_ones_alerts() -> None:
    watching = Watching()
    first = opening(watching.give(*(predictions(h, FAR) for h in range(4))))
    (over,) = watching.give(predictions(4, version=2))
    assert (over.id, over.status) == (first.id, AlertStatus.RESOLVED)
    assert "Version 2 serves" in over.summary


def test_the_window_a_version_takes_over_in_is_not_tested() -> None:
    # It holds the hours since the swap only, and the old version's last one those before.
    watching = Watching()
    watching.give(*(predictions(h) for h in range(4)))
    morning, evening = (200,) * 5 + (0,) * 5, (0,) * 5 + (200,) * 5
    swapped = [predictions(4, evening, version=2), predictions(4, morning, version=1)]
    assert not watching.give(*swapped, *(predictions(h, version=2) for h in range(5, 9)))
    assert watching.give(*(predictions(h, FAR, version=2) for h in range(9, 12)))


def test_stragglers_of_the_old_version_bring_nothing_back() -> None:
    watching = Watching()
    watching.give(predictions(0, FAR), predictions(1, version=2))
    assert not watching.give(*(predictions(h, FAR, version=1) for h in (1, 2)))
    assert not watching.give(predictions(2, version=2))


def test_a_version_rolled_back_to_is_watched_again() -> None:
    watching = Watching()
    watching.give(predictions(0), predictions(1, version=2))
    said = watching.give(*(predictions(h, FAR, version=1) for h in range(3, 12)))
    assert opening(said).version == 1


def late_beside_new(hours: range) -> list[Window]:
    """A few labels of version 1's events, and those of version 2, in the order of their windows."""
    pairs = [
        (outcomes(h, HIGH_LOSS[:100], version=1), outcomes(h, HIGH_LOSS, version=2)) for h in hours
    ]
    return [window for pair in pairs for window in pair]


def test_late_labels_of_an_old_version_bring_it_back_neither_at_once_nor_for_long() -> None:
    watching = Watching()
    watching.give(outcomes(0, LOW_LOSS), outcomes(1, LOW_LOSS, version=2))
    few = HIGH_LOSS[:100]
    # The new version's labels pause; a few of the old one's events come in.
    assert not watching.give(*(outcomes(h, few, version=1) for h in range(2, 6)))
    assert not watching.give(outcomes(6, LOW_LOSS, version=2))
    # Both come from now on, and the new version's count.
    assert opening(watching.give(*late_beside_new(range(7, 12)))).version == 2


def test_a_new_version_returns_as_soon_as_it_has_as_many_rows() -> None:
    watching = Watching()
    watching.give(outcomes(0, LOW_LOSS), outcomes(1, LOW_LOSS, version=2))
    # A long pause: the old version's labels are as many as the new one's were.
    watching.give(*(outcomes(h, HIGH_LOSS, version=1) for h in range(3, 5)))
    assert opening(watching.give(*late_beside_new(range(5, 12)))).version == 2


def test_a_version_that_serves_is_watched_however_many_late_labels_there_were() -> None:
    watching = Watching()
    watching.give(outcomes(0, LOW_LOSS), outcomes(1, LOW_LOSS, version=2))
    watching.give(outcomes(3, LOW_LOSS * 5, version=1))
    said = watching.give(*(outcomes(h, HIGH_LOSS, version=2) for h in range(4, 12)))
    assert opening(said).version == 2


def test_a_version_promoted_again_with_fewer_rows_is_watched() -> None:
    watching = Watching()
    watching.give(outcomes(0, LOW_LOSS), outcomes(1, LOW_LOSS, version=2))
    watching.give(*(outcomes(h, LOW_LOSS) for h in range(3, 6)))
    said = watching.give(*(outcomes(h, HIGH_LOSS[:300], version=2) for h in range(6, 16)))
    assert opening(said).version == 2


def test_the_rows_of_a_window_are_those_beside_all_shadows() -> None:
    watching = Watching()
    watching.give(outcomes(0, LOW_LOSS))
    for hour in (1, 2):
        watching.give(outcomes(hour, LOW_LOSS, version=2, shadow=-1, parts=2))
        watching.give(outcomes(hour, LOW_LOSS[:2], version=2, shadow=3, parts=2))
    # A late window of an older hour says nothing about the newest.
    watching.give(outcomes(0, LOW_LOSS[:2], version=2, shadow=3))
    watching.give(outcomes(4, HIGH_LOSS[:4], version=1))
    said = watching.give(*(outcomes(h, HIGH_LOSS, version=2) for h in range(4, 12)))
    assert opening(said).onset == 4 * HOUR


def test_version_0_has_no_reference_to_drift_from() -> None:
    windows = [predictions(h, FAR, missing=500, version=0) for h in range(10)]
    assert not Watching().give(*windows, *(outcomes(h, HIGH_LOSS, version=0) for h in range(10)))


def test_duplicates_and_revisions_of_a_window_do_not_count() -> None:
    watching = Watching()
    few = tuple(n // 25 for n in SHIFTED)
    windows = [
        predictions(0, few, score=(4,) * BINS, levels=(36, 4), revision=r) for r in (0, 0, 1, 2, 3)
    ]
    assert not watching.give(*windows * 10)


def test_predictions_and_outcomes_decide_apart() -> None:
    bad = [*(predictions(h, FAR) for h in range(4))], [*(outcomes(h, HIGH_LOSS) for h in range(4))]
    in_turn = Watching().give(*bad[0], *bad[1])
    mixed = Watching().give(*(w for pair in zip(*bad, strict=True) for w in pair))
    assert sorted(in_turn, key=lambda a: (a.id, a.sequence)) == sorted(
        mixed, key=lambda a: (a.id, a.sequence)
    )


def test_a_stream_that_falls_silent_is_stale_until_a_window_comes() -> None:
    watching = Watching()
    watching.give(predictions(0), timestamp=1_000_000)
    watching.core.on_time(1_000_000)
    assert not watching.core.on_time(HOUR + 1_060_000)
    (stale,) = sent(watching.core.on_time(HOUR + 1_061_000))
    assert (stale.kind, stale.subject, stale.at) == (AlertKind.STALE, "stream", HOUR)
    assert not watching.core.on_time(HOUR + 1_063_000)
    (worse,) = sent(watching.core.on_time(2 * HOUR + 1_130_000))
    assert (worse.status, worse.severity) == (AlertStatus.UPDATED, Severity.WARNING)
    (over,) = watching.give(predictions(1), timestamp=2 * HOUR + 1_200_000)
    assert (over.id, over.status) == (stale.id, AlertStatus.RESOLVED)


@pytest.mark.parametrize("minutes", [1, 60, 7 * 24 * 60], ids=["minute", "hour", "week"])
def test_a_regular_stream_is_never_stale(minutes: int) -> None:
    size = minutes * 60_000
    declared = replace(declaration(), windows=WindowPolicy(size, size // 6, size))
    drift = DriftCore(catalog(declared, version(1)))
    drift.on_time(0)
    for number in range(10):
        window = replace(predictions(0), start=number * size, end=(number + 1) * size)
        drift.process(batch(TOPICS.windows, window, timestamp=number * size))
        for step in range(60):
            assert not drift.on_time(number * size + step * size // 60)
    last = 9 * size
    assert not drift.on_time(last + size + size // 6 + 60_000)
    assert alerts_of(drift.on_time(last + size + size // 6 + 61_000))


def test_a_service_that_was_down_does_not_call_the_stream_stale() -> None:
    watching = Watching()
    watching.give(predictions(0), timestamp=1_000_000)
    again = restarted(watching.core, {}, lambda: DriftCore(watching.catalog))
    assert not again.on_time(9_000_000)
    assert sent(again.on_time(HOUR + 9_060_001))


def test_a_model_that_never_served_is_not_stale() -> None:
    watching = Watching()
    watching.give(outcomes(0, LOW_LOSS))
    watching.core.on_time(0)
    assert not watching.core.on_time(10**9)


def test_an_unknown_version_waits_for_the_control_topics() -> None:
    core = Watching().core
    with pytest.raises(ControlBehindError):
        core.process(batch(TOPICS.windows, predictions(0), predictions(1, version=9)))
    assert core.snapshot() == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rows": 2**63 - 1}, "counts of 1000"),
        ({"rows": 999}, "counts of 1000"),
        ({"end": 8 * HOUR}, "is no window of 3600000 ms"),
        ({"start": 5 * HOUR + 1, "end": 6 * HOUR + 1}, "is no window of 3600000 ms"),
        ({"start": -HOUR, "end": 0}, "outside of events' times"),
        ({"end": 2**62}, "outside of events' times"),
    ],
)
def test_windows_with_an_impossible_frame_become_dead_letters_and_change_nothing(
    changes: dict[str, int], why: str
) -> None:
    spoilt, sound = (DriftCore(catalog(declaration(), version(1))) for _ in range(2))
    wrong = replace(predictions(5), **changes)  # type: ignore[arg-type]
    said = []
    for hour in range(20):
        windows = [predictions(hour)] if hour < 8 else [predictions(hour, SHIFTED)]
        expected = alerts_of(sound.process(batch(TOPICS.windows, *windows, first=2 * hour)))
        more = [wrong, *windows] if hour == 5 else windows
        outputs = spoilt.process(batch(TOPICS.windows, *more, first=2 * hour))
        assert alerts_of(outputs) == expected
        said += expected
        assert [why in letter.detail for letter in outputs.dead_letters] == [True] * (hour == 5)
    assert said


def test_labels_may_come_as_long_after_the_last_event_as_is_declared() -> None:
    declared = declaration()
    declared = replace(
        declared,
        events=replace(declared.events, latest=HOUR),
        labels=replace(declared.labels, horizon=5 * HOUR),
    )
    core = DriftCore(catalog(declared, version(1)))
    windows = [outcomes(hour, LOW_LOSS) for hour in range(8)]
    outputs = core.process(batch(TOPICS.windows, *windows))
    assert [letter.offset for letter in outputs.dead_letters] == [7]


def test_what_was_watched_of_a_version_is_not_read_when_the_prior_takes_over() -> None:
    watching = Watching()
    watching.give(*(predictions(hour) for hour in range(3)))
    ((stream, readings),) = watching.core.readings()
    assert stream is Stream.PREDICTIONS
    assert len(readings.streams) == len(readings.effects) == len(readings.evidence) > 2
    assert watching.core.readings() == []
    watching.give(*(predictions(hour, version=0) for hour in range(3, 10)))
    assert watching.core.readings() == [(Stream.PREDICTIONS, Readings(MODEL, (), (), ()))]


def test_windows_that_do_not_fit_the_profile_become_dead_letters() -> None:
    core = Watching().core
    windows = (predictions(0, (1,) * (BINS + 1)), predictions(1))
    outputs = core.process(batch(TOPICS.windows, *windows, b"garbage", first=5))
    assert sorted(letter.offset for letter in outputs.dead_letters) == [5, 7]


def test_a_dropped_partition_is_forgotten() -> None:
    core = Watching().core
    core.process(batch(TOPICS.windows, *(predictions(h, FAR) for h in range(4))))
    assert core.open_alerts()[MODEL]
    core.drop(LEAD)
    assert not core.open_alerts()
    assert core.snapshot() == {}


def test_the_statistic_grows_by_the_rows_and_multiplies_by_the_e_value() -> None:
    log_m = advance(np.array([EMPTY]), np.log([2.0]), np.array([10.0]))
    log_m = advance(log_m, np.log([3.0]), np.array([5.0]))
    assert np.exp(log_m[0]) == pytest.approx((10 * 2 + 5) * 3)


def test_the_onset_is_where_the_evidence_begins() -> None:
    assert onset(np.array([-1.0, 2.0, -5.0, 1.0, 3.0])) == 3
    assert onset(np.array([1.0])) == 0


def test_a_change_may_have_begun_before_it_most_likely_did() -> None:
    assert earliest_onset(np.array([-5.0, 2.0, -5.0, 1.0, 3.0])) == 1
    assert earliest_onset(np.array([-1.0, 2.0, -9.0, 1.0, 3.0])) == 3
    assert earliest_onset(np.array([1.0])) == 0


def test_alerts_that_end_together_end_in_one_order_also_after_a_restart() -> None:
    def ended(*, restart: bool) -> list[str]:
        watching = Watching()
        store: dict[str, bytes] = {}
        watching.give(*(predictions(h, FAR, missing=500) for h in range(6)))
        if restart:
            watching.core = restarted(  # type: ignore[assignment]
                watching.core, store, lambda: DriftCore(watching.catalog)
            )
        said = watching.give(predictions(6, version=2))
        return [alert.subject for alert in said if alert.status is AlertStatus.RESOLVED]

    assert len(ended(restart=False)) > 1
    assert ended(restart=True) == ended(restart=False)


def test_who_acknowledges_or_snoozes_an_alert_is_written_on_it() -> None:
    watching = Watching()
    store: dict[str, bytes] = {}
    first = opening(watching.give(*(predictions(h, FAR) for h in range(3))))
    known = replace(command("c1", CommandAction.ACKNOWLEDGE), alert=first.id)
    (said,) = sent(watching.core.process(batch(TOPICS.commands, known)))
    assert (said.id, said.status, said.acknowledged_by) == (
        first.id,
        AlertStatus.UPDATED,
        "someone",
    )
    known_at = said.sequence
    watching.core = restarted(  # type: ignore[assignment]
        watching.core, store, lambda: DriftCore(watching.catalog)
    )
    later = replace(command("c2", CommandAction.SNOOZE), alert=first.id, until=5)
    (said,) = sent(watching.core.process(batch(TOPICS.commands, later)))
    assert (said.sequence, said.snoozed_until) == (known_at + 1, 5)
    (over,) = [
        a
        for a in watching.give(*(predictions(h) for h in range(3, 6)))
        if a.status is AlertStatus.RESOLVED
    ]
    assert (over.acknowledged_by, over.snoozed_until) == ("someone", 5)


def test_what_people_say_decides_nothing() -> None:
    plain, told = Watching(), Watching()
    windows = [predictions(h, FAR if h < 5 else (100,) * BINS) for h in range(10)]
    first = opening(told.give(*windows[:2]))
    told.core.process(
        batch(TOPICS.commands, replace(command("c", CommandAction.ACKNOWLEDGE), alert=first.id))
    )
    plain.give(*windows[:2])

    def decided(alerts: list[Alert]) -> list[Alert]:
        return [replace(a, sequence=0, acknowledged_by="") for a in alerts]

    assert decided(told.give(*windows[2:])) == decided(plain.give(*windows[2:]))


def test_a_command_about_no_open_alert_is_a_dead_letter() -> None:
    core = Watching().core
    wrong = replace(command("c1", CommandAction.SNOOZE), alert="other", until=5)
    (letter,) = core.process(batch(TOPICS.commands, wrong)).dead_letters
    assert "no alert 'other' is open" in letter.detail


def test_nothing_is_kept_of_models_that_nobody_declared() -> None:
    # Of the model's partition, or they would be refused for that.
    names = [f"n{n}" for n in range(500) if TOPICS.partition(f"n{n}") == TOPICS.partition(MODEL)]
    core = Watching().core
    asked = [replace(command("c1", CommandAction.SNOOZE), model=name, until=5) for name in names]
    loads = [Load(name, "0", 1, 2, -1, 2, "gone", 0) for name in names]
    for topic, records in ((TOPICS.commands, asked), (TOPICS.loads, loads)):
        outputs = core.process(batch(topic, *records))
        assert len(outputs.dead_letters) == len(names) > 0
        assert not outputs.sends
    assert not core.models()
    assert core.snapshot() == {}


def test_each_segment_is_watched_on_its_own() -> None:
    counts = {"a": 900, "b": 100}

    def layout(level: str, x: Sequence[int], rows: int) -> tuple[int, ...]:
        even = (rows // BINS,) * BINS
        levels = (rows, 0) if level == "a" else (0, rows)
        return (*x, 0, 0, *even, 0, 0, *levels, 0, 0)

    def even(rows: int) -> tuple[int, ...]:
        return (rows // BINS,) * BINS

    references = tuple(
        ReferenceCounts(stream, -1, level, 20 * n, layout(level, even(20 * n), 20 * n))
        for stream in (Stream.PREDICTIONS,)
        for level, n in counts.items()
    )
    whole = replace(profile(), references=references)
    known = catalog(declaration(alerts={"segment": "c"}), version(1, whole))
    core = DriftCore(known)

    def hour(number: int, b: Sequence[int]) -> Window:
        parts = tuple(
            SegmentStatistics(level, n, layout(level, x, n))
            for (level, n), x in zip(counts.items(), (even(900), b), strict=True)
        )
        made = predictions(number, tuple(90 + n for n in b))
        return replace(made, statistics=replace(made.statistics, segments=parts))

    quiet = [hour(h, even(100)) for h in range(5)]
    moved = [hour(h, (0, 0, 0, 0, 0, 20, 20, 20, 20, 20)) for h in range(5, 12)]
    assert not alerts_of(core.process(batch(TOPICS.windows, *quiet)))
    first = opening(alerts_of(core.process(batch(TOPICS.windows, *moved))))
    assert (first.kind, first.subject, first.segment) == (AlertKind.DATA_DRIFT, "x", "b")
    assert "x[b]" in first.summary


def test_a_window_is_compared_with_the_reference_of_its_hour() -> None:
    low, high = (200,) * 5 + (0,) * 5, (0,) * 5 + (200,) * 5

    def counts(x: Sequence[int], times: int) -> tuple[int, ...]:
        rows = 1000 * times
        even = (rows // BINS,) * BINS
        return (*(n * times for n in x), 0, 2, *even, 0, 2, rows * 9 // 10, rows // 10, 0, 0)

    references = tuple(
        ReferenceCounts(Stream.PREDICTIONS, hour, "", 10_000, counts(high if hour % 2 else low, 10))
        for hour in range(24)
    )
    seasonal = replace(profile(), references=references)
    policy = {"season": ("hour_of_day",)}
    known = catalog(declaration(alerts=policy), version(1, seasonal))
    core = DriftCore(known)
    usual = [predictions(h, high if h % 2 else low) for h in range(48)]
    assert not alerts_of(core.process(batch(TOPICS.windows, *usual)))
    swapped = [predictions(h, low if h % 2 else high) for h in range(48, 52)]
    first = opening(alerts_of(core.process(batch(TOPICS.windows, *swapped))))
    assert (first.subject, first.onset) == ("x", 48 * HOUR)
    assert first.evidence.reference == "training by hour_of_day"


def test_what_stands_still_every_night_raises_nothing_but_does_by_day() -> None:
    night, day = (1000,) + (0,) * 9, (100,) * 10
    whole = (*night, 0, 2, *(100,) * BINS, 0, 2, 900, 100, 0, 0)
    references = tuple(
        ReferenceCounts(
            Stream.PREDICTIONS,
            hour,
            "",
            10_000,
            tuple(10 * n for n in ((*night, *whole[10:]) if hour < 8 else (*day, *whole[10:]))),
        )
        for hour in range(24)
    )
    seasonal = replace(profile(), references=references)
    known = catalog(declaration(alerts={"season": ("hour_of_day",)}), version(1, seasonal))
    core = DriftCore(known)
    usual = [
        predictions(h, night, constant=True) if h % 24 < 8 else predictions(h, day)
        for h in range(96)
    ]
    assert not alerts_of(core.process(batch(TOPICS.windows, *usual)))
    # Nor does the night's standing still count towards that of the day after.
    stuck = [predictions(h, night, constant=True) for h in range(96, 110)]
    said = alerts_of(core.process(batch(TOPICS.windows, *stuck)))
    first = opening([a for a in said if a.kind is AlertKind.CONSTANT])
    assert first.onset == (96 + 8) * HOUR


def test_the_first_weeks_can_be_the_reference() -> None:
    watching = Watching(reference="first_weeks", reference_period=24 * HOUR)
    assert not watching.give(*(predictions(h, SHIFTED) for h in range(48)))
    said = watching.give(*(predictions(h) for h in range(48, 56)))
    first = opening([a for a in said if a.kind is AlertKind.DATA_DRIFT])
    assert (first.subject, first.onset) == ("x", 48 * HOUR)
    assert first.evidence.reference == "first_weeks"


def test_an_hour_that_the_first_weeks_did_not_have_is_compared_with_all_of_them() -> None:
    watching = Watching(
        reference="first_weeks", reference_period=10 * 24 * HOUR, season=("hour_of_day",)
    )
    days = [predictions(h) for h in range(240) if h % 24 < 12]
    assert not watching.give(*days)
    nights = [predictions(h) for h in range(240, 312) if h % 24 >= 12]
    assert not watching.give(*nights)
    said = watching.give(*(predictions(h, FAR) for h in range(312, 360) if h % 24 >= 12))
    first = opening([a for a in said if a.kind is AlertKind.DATA_DRIFT])
    assert first.evidence.effect > first.evidence.effect_floor


@pytest.mark.parametrize("season", [(), ("hour_of_day",)])
@pytest.mark.parametrize(
    ("period", "changed"),
    [
        (0, range(20, 30)),  # An alert opens and recovers: bags of all slots are given back.
        (24 * HOUR, range(60, 70)),
        (140 * HOUR, range(200, 210)),  # More blocks than are kept apart.
        (400 * HOUR, range(0)),  # Still collecting.
    ],
)
def test_what_is_kept_of_detectors_is_all_there_is(
    season: tuple[str, ...], period: int, changed: range
) -> None:
    policy: dict[str, Any] = {"season": season}
    if period:
        policy |= {"reference": "first_weeks", "reference_period": period}
    often, once = Watching(**policy), Watching(**policy)
    last = changed.stop + 8 if changed else 300
    windows = [predictions(h, FAR if h in changed else (100,) * BINS) for h in range(last)]
    kept: dict[str, bytes] = {}
    said: list[Alert] = []
    for window in windows:
        often.give(window)
        commit(often.core, kept)
        said += once.give(window)
        if changed and window.start == (changed.start - 2) * HOUR:
            # The same is watched, with another floor: other detectors go on.
            for each in (often, once):
                each.declare(**policy, loss_floor=0.06)
    assert {a.status for a in said} >= (
        {AlertStatus.OPENED, AlertStatus.RESOLVED} if changed else set()
    )
    whole: dict[str, bytes] = {}
    commit(once.core, whole)
    assert kept == whole
    # Taken back, it is all of it again.
    again = Watching(**policy)
    again.core.restore(LEAD, kept)
    again.catalog.models[MODEL] = once.catalog.models[MODEL]  # type: ignore[index]
    more = [predictions(h, FAR) for h in range(last, last + 120)]
    assert again.give(*more) == once.give(*more)
    commit(again.core, kept)
    commit(once.core, whole)
    assert kept == whole


def test_a_changed_declaration_begins_anew_and_says_so() -> None:
    watching = Watching()
    first = opening(watching.give(*(predictions(h, FAR) for h in range(3))))
    watching.declare(shares={"data_quality": 1.0})
    (over,) = watching.give(predictions(3, FAR))
    assert (over.id, over.status) == (first.id, AlertStatus.RESOLVED)
    assert "declaration was changed" in over.summary


def test_an_alert_names_the_declaration_that_its_evidence_was_tested_under() -> None:
    watching = Watching()
    watching.declare("a")
    first = opening(watching.give(*(predictions(h, FAR) for h in range(3))))
    assert first.declaration == "a"
    # The same is watched, so it goes on.
    watching.declare("b", false_alarms_per_100k=0.5)
    assert not watching.give(predictions(3, FAR))
    said = replace(command("c", CommandAction.ACKNOWLEDGE), alert=first.id)
    (known,) = alerts_of(watching.core.process(batch(TOPICS.commands, said)))
    assert known.declaration == "b"
    # What ends it tests nothing of it.
    watching.declare("c", shares={"data_quality": 1.0})
    (over,) = watching.give(predictions(4, FAR))
    assert (over.status, over.declaration) == (AlertStatus.RESOLVED, "b")
    assert over.evidence == known.evidence


def test_an_alert_with_an_earlier_onset_than_one_before_has_an_id_of_its_own() -> None:
    watching = Watching()
    watching.give(*(predictions(h) for h in range(3, 6)))
    first = opening(watching.give(predictions(6, FAR)))
    kept: dict[str, bytes] = {}
    alone, both = {"data_drift": 1.0}, {"data_drift": 0.8, "prediction_drift": 0.2}
    for number, shares in enumerate((alone, both, alone)):
        watching.declare(shares=shares)
        core = restarted(watching.core, kept, lambda: DriftCore(watching.catalog))
        assert isinstance(core, DriftCore)
        watching.core = core
        # A late one, after what the declaration changed has ended what was found.
        over, new = watching.give(predictions(2 - number, FAR))
        assert (over.status, new.status) == (AlertStatus.RESOLVED, AlertStatus.OPENED)
        onset = (2 - number) * HOUR
        assert (new.id, new.onset) == (f"flights-data_drift-x-v1-{onset}-{4 + number}", onset)
    assert first.id == f"flights-data_drift-x-v1-{6 * HOUR}"


def test_an_alert_that_has_recovered_names_what_it_recovered_under() -> None:
    watching = Watching()
    watching.declare("a")
    opening(watching.give(*(predictions(h, FAR) for h in range(3))))
    watching.declare("b", false_alarms_per_100k=0.5)
    over = watching.give(*(predictions(h) for h in range(3, 20)))[-1]
    assert (over.status, over.declaration) == (AlertStatus.RESOLVED, "b")


def test_an_alert_that_another_version_ends_names_what_it_was_tested_under() -> None:
    watching = Watching()
    watching.declare("a")
    opening(watching.give(*(predictions(h, FAR) for h in range(3))))
    watching.declare("b")
    (over,) = watching.give(predictions(3, FAR, version=2))
    assert (over.status, over.declaration) == (AlertStatus.RESOLVED, "a")


@pytest.mark.parametrize(("on", "off", "most"), [(1, 1, 2), (12, 12, 6)])
def test_a_strong_change_that_comes_and_goes_is_soon_one_alert(
    on: int, off: int, most: int
) -> None:
    watching = Watching()
    said = watching.give(
        *(predictions(h, FAR if h % (on + off) >= off else (100,) * BINS) for h in range(240))
    )
    assert 1 <= len([a for a in said if a.status is AlertStatus.OPENED]) <= most


def test_an_alert_is_resolved_although_fewer_rows_come_now() -> None:
    watching = Watching()
    first = opening(watching.give(*(predictions(h, tuple(10 * n for n in FAR)) for h in range(2))))
    few = (1,) * BINS
    said = watching.give(
        *(predictions(h, few, score=few, levels=(9, 1)) for h in range(2, 2 + 2400))
    )
    assert [a.status for a in said if a.id == first.id][-1] is AlertStatus.RESOLVED


def test_still_windows_of_other_values_do_not_add_up() -> None:
    watching = Watching()
    column = (0, 0, 0, 20, 0, 0, 0, 0, 0, 0)
    even = (2,) * BINS

    def still(hour: int, value: float) -> Window:
        made = predictions(hour, column, score=even, levels=(18, 2), constant=True)
        x, score = made.statistics.numeric
        statistics = replace(
            made.statistics, numeric=(replace(x, minimum=value, maximum=value), score)
        )
        return replace(made, statistics=statistics)

    others = watching.give(*(still(h, float(h)) for h in range(40)))
    assert not [a for a in others if a.kind is AlertKind.CONSTANT]
    same = watching.give(*(still(h, 7.0) for h in range(40, 44)))
    first = opening([a for a in same if a.kind is AlertKind.CONSTANT])
    assert first.evidence.effect <= 80


def test_a_feature_that_stands_still_now_and_then_is_one_alert() -> None:
    watching = Watching()
    still = (0, 0, 0, 1000, 0, 0, 0, 0, 0, 0)
    said = watching.give(
        *(predictions(h, still, constant=True) if h % 2 else predictions(h) for h in range(1, 60))
    )
    opened = [a for a in said if (a.kind, a.status) == (AlertKind.CONSTANT, AlertStatus.OPENED)]
    assert len(opened) <= 3


def test_a_revision_does_not_say_that_the_stream_goes_on() -> None:
    watching = Watching()
    watching.give(predictions(0), timestamp=1_000_000)
    watching.core.on_time(1_000_000)
    (stale,) = sent(watching.core.on_time(HOUR + 1_060_001))
    assert not watching.give(predictions(0, revision=1), timestamp=HOUR + 1_070_000)
    (over,) = watching.give(predictions(1), timestamp=HOUR + 1_200_000)
    (again,) = sent(watching.core.on_time(2 * HOUR + 1_260_001))
    assert over.id == stale.id != again.id


def test_late_rows_do_not_keep_a_stream_that_stands_from_being_stale() -> None:
    watching = Watching()
    watching.give(predictions(1), timestamp=1_000_000)
    watching.core.on_time(1_000_000)
    # A revision of the newest window, and a first window of an hour before it.
    assert not watching.give(predictions(1, revision=1), timestamp=HOUR)
    assert not watching.give(predictions(0), timestamp=HOUR)
    (stale,) = sent(watching.core.on_time(HOUR + 1_060_001))
    assert (stale.kind, stale.at) == (AlertKind.STALE, 2 * HOUR)
    assert stale.evidence.effect == HOUR + 60_001


def test_shares_of_the_budget_add_up_with_segments_too() -> None:
    for segments in ((), ("a", "b")):
        counts = (100,) * BINS + (0, 2) + (100,) * BINS + (0, 2) + (900, 100, 0, 0)
        parts = tuple(
            ReferenceCounts(Stream.PREDICTIONS, -1, level, 1000, counts) for level in segments
        )
        known = replace(profile(), references=parts)
        policy = declaration().alerts
        spent = sum(
            watched.share * (2 if segments and watched.kind is not AlertKind.CONSTANT else 1)
            for stream in Stream
            for watched in watched_streams(known, stream, policy).all()
        )
        assert spent == pytest.approx(1.0)


def test_a_season_declared_later_holds_from_the_next_version_on() -> None:
    low, high = (200,) * 5 + (0,) * 5, (0,) * 5 + (200,) * 5

    def counts(x: Sequence[int]) -> tuple[int, ...]:
        return (*(n * 10 for n in x), 0, 2, *(1000,) * BINS, 0, 2, 9000, 1000, 0, 0)

    references = tuple(
        ReferenceCounts(Stream.PREDICTIONS, hour, "", 10_000, counts(high if hour % 2 else low))
        for hour in range(24)
    )
    seasonal = replace(profile(), references=references)
    for season in ((), ("day_of_week",), ("hour_of_day", "day_of_week")):
        known = catalog(declaration(alerts={"season": season}), version(1, seasonal))
        usual = [predictions(h, high if h % 2 else low) for h in range(48)]
        assert not alerts_of(DriftCore(known).process(batch(TOPICS.windows, *usual)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: replace(x, bins=(-100,) * BINS),
        lambda x: replace(x, count=-5),
        lambda x: replace(x, outside=2000),
        lambda x: replace(x, bins=(2**62,) * BINS),
        lambda x: replace(x, bins=(1000,) * BINS),
    ],
)
def test_counts_that_no_rows_give_become_dead_letters_and_blind_nothing(change: Any) -> None:
    watching = Watching()
    hostile = predictions(0)
    x, score = hostile.statistics.numeric
    statistics = replace(hostile.statistics, numeric=(change(x), score))
    outputs = watching.core.process(batch(TOPICS.windows, replace(hostile, statistics=statistics)))
    assert len(outputs.dead_letters) == 1
    assert opening(watching.give(*(predictions(h, FAR) for h in range(1, 5)))).subject == "x"


@pytest.mark.parametrize(("start", "end"), [(10**15, 10**15 + HOUR), (2**62, 2**62 + 1), (5, 5)])
def test_a_window_of_an_impossible_time_becomes_a_dead_letter(start: int, end: int) -> None:
    watching = Watching()
    strange = replace(predictions(0), start=start, end=end)
    outputs = watching.core.process(batch(TOPICS.windows, strange))
    assert len(outputs.dead_letters) == 1
    assert watching.give(*(predictions(h, FAR) for h in range(1, 5)))


def test_a_slight_change_does_not_look_large_in_a_few_rows() -> None:
    # .05 standard deviations, a quarter of the floor, in windows of 20 rows.
    rng = np.random.default_rng(5)
    slight = np.array((88, 92, 95, 97, 99, 101, 103, 105, 108, 112)) / 1000
    watching = Watching()
    said = []
    for hour in range(1500):
        x = tuple(rng.multinomial(20, slight).tolist())
        said += watching.give(predictions(hour, x, score=(2,) * BINS, levels=(18, 2)))
    assert not said


def test_a_version_that_lost_nothing_on_its_held_out_rows_is_estimated_to_lose_nothing() -> None:
    whole = profile()
    nothing = replace(
        whole.loss,
        mean=0.0,
        counts=(whole.rows,),
        edges=(),
        means=(0.0,),
        errors=0,
        score_errors=(0,) * BINS,
        score_losses=(0.0,) * BINS,
    )
    regression = replace(declaration(), task=Task.REGRESSION, error_bound=10.0)
    core = DriftCore(catalog(regression, version(1, replace(whole, loss=nothing))))
    outputs = core.process(batch(TOPICS.windows, predictions(0)))
    assert not outputs.dead_letters
    found = [record for record in sent(outputs) if isinstance(record, Estimate)]
    # It may lose something yet.
    assert [(e.estimate, e.lower) for e in found] == [(0.0, 0.0)]
    assert all(0.0 < e.upper <= 10.0 for e in found)

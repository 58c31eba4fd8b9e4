"""What drift says about windows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from decision_builders import (
    BINS,
    HOUR,
    LEAD,
    MODEL,
    TOPICS,
    batch,
    catalog,
    declaration,
    outcomes,
    predictions,
    restarted,
    sent,
    version,
)
from driftloop.drift.bounds import divergence_radius, largest_means, share_upper_bound
from driftloop.drift.core import DriftCore
from driftloop.drift.shiryaev import advance, level, onset
from driftloop.kernel.processor import ControlBehindError
from driftloop.kernel.records import Alert, AlertKind, AlertStatus, Severity, Window

SHIFTED = (20, 40, 60, 80, 100, 100, 120, 140, 160, 180)
FAR = (0, 0, 0, 0, 0, 0, 100, 200, 300, 400)
LOW_LOSS = [0.2, 0.6] * 250
HIGH_LOSS = [0.5, 0.9] * 250


class Watching:
    """A drift core that knows versions 1 to 3, and what it says."""

    def __init__(self, **alerts: Any) -> None:
        self.catalog = catalog(declaration(alerts=alerts), version(1), version(2), version(3))
        self.core = DriftCore(self.catalog)

    def give(self, *windows: Window, timestamp: int = 0) -> list[Alert]:
        return sent(self.core.process(batch(TOPICS.windows, *windows, timestamp=timestamp)))


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
    assert evidence.e_value >= evidence.threshold == pytest.approx(np.log(6 * 100_000))
    assert (evidence.effect_name, evidence.effect_floor) == ("psi", 0.1)
    assert evidence.effect == pytest.approx(0.30, abs=0.02)
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
    first = opening(Watching().give(*windows))
    assert (first.kind, first.subject) == (AlertKind.DATA_DRIFT, "c")


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


def test_severity_grows_with_the_effect() -> None:
    mild = opening(Watching().give(*(outcomes(h, [0.47] * 500) for h in range(40))))
    grave = opening(Watching().give(*(outcomes(h, HIGH_LOSS) for h in range(5))))
    assert (mild.severity, grave.severity) == (Severity.INFO, Severity.CRITICAL)


def test_updates_are_few_and_count_up() -> None:
    said = Watching().give(*(predictions(h, FAR) for h in range(60)))
    assert [a.sequence for a in said] == list(range(len(said)))
    assert {a.status for a in said[1:]} == {AlertStatus.UPDATED}
    assert len(said) <= 8


def test_an_alert_is_resolved_when_the_effect_has_gone_for_three_windows() -> None:
    watching = Watching()
    first = opening(watching.give(*(predictions(h, FAR) for h in range(4))))
    assert not watching.give(predictions(4), predictions(5))
    (over,) = watching.give(predictions(6))
    assert (over.id, over.status, over.at) == (first.id, AlertStatus.RESOLVED, 7 * HOUR)
    assert over.evidence.effect < 0.05


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


def test_stragglers_of_the_old_version_bring_nothing_back() -> None:
    watching = Watching()
    watching.give(predictions(0, FAR), predictions(1, version=2))
    assert not watching.give(*(predictions(h, FAR, version=1) for h in (1, 2)))
    assert not watching.give(predictions(2, version=2))


def test_a_version_rolled_back_to_is_watched_again() -> None:
    watching = Watching()
    watching.give(predictions(0), predictions(1, version=2))
    said = watching.give(*(predictions(h, FAR, version=1) for h in range(3, 8)))
    assert opening(said).version == 1


def test_version_0_has_no_reference_to_drift_from() -> None:
    windows = [predictions(h, FAR, missing=500, version=0) for h in range(10)]
    assert not Watching().give(*windows, *(outcomes(h, HIGH_LOSS, version=0) for h in range(10)))


def test_duplicates_and_revisions_of_a_window_do_not_count() -> None:
    watching = Watching()
    windows = [predictions(0, FAR, revision=r) for r in (0, 0, 1, 2, 3)]
    assert not watching.give(*windows, *windows)


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
    assert not watching.core.on_time(1_060_000)
    (stale,) = sent(watching.core.on_time(1_060_001))
    assert (stale.kind, stale.subject, stale.at) == (AlertKind.STALE, "stream", HOUR)
    assert not watching.core.on_time(1_060_002)
    (worse,) = sent(watching.core.on_time(1_130_000))
    assert (worse.status, worse.severity) == (AlertStatus.UPDATED, Severity.WARNING)
    (over,) = watching.give(predictions(1), timestamp=1_200_000)
    assert (over.id, over.status) == (stale.id, AlertStatus.RESOLVED)


def test_a_service_that_was_down_does_not_call_the_stream_stale() -> None:
    watching = Watching()
    watching.give(predictions(0), timestamp=1_000_000)
    again = restarted(watching.core, {}, lambda: DriftCore(watching.catalog))
    assert not again.on_time(9_000_000)
    assert sent(again.on_time(9_060_001))


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


def test_the_largest_mean_is_reached_within_the_divergence_and_not_beyond() -> None:
    rng = np.random.default_rng(5)
    shares, payoffs, radius = [0.5, 0.3, 0.2, 0.0], [0.5, 1.0, 1.5, 3.0], 0.02
    (bound,) = largest_means(np.array(shares), np.array([payoffs]), radius)
    candidates = rng.dirichlet([50, 30, 20, 0.5], 20_000)
    with np.errstate(divide="ignore"):
        divergence = -(np.array(shares[:3]) * np.log(candidates[:, :3] / shares[:3])).sum(axis=1)
    means = candidates[divergence <= radius] @ payoffs
    assert means.max() <= bound
    assert means.max() > bound - 0.02


def test_the_radius_covers_the_truth_as_often_as_promised() -> None:
    rng = np.random.default_rng(6)
    truth = np.full(8, 1 / 8)
    shares = rng.multinomial(500, truth, 4000) / 500
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(shares > 0, shares * np.log(shares / truth), 0.0).sum(axis=1)
    assert (divergence >= divergence_radius(500, 8, 0.05)).mean() <= 0.05


def test_a_share_never_seen_is_bounded_by_the_size_of_the_reference() -> None:
    assert share_upper_bound(0, 1000, 0.05) == pytest.approx(1 - 0.05 ** (1 / 1000))
    assert share_upper_bound(0, 0, 0.05) == 1.0


def test_the_statistic_grows_by_the_rows_and_multiplies_by_the_e_value() -> None:
    log_m = advance(advance(None, [np.log(2.0)], 10), [np.log(3.0)], 5)
    assert np.exp(level(log_m)) == pytest.approx((10 * 2 + 5) * 3)


def test_the_onset_is_where_the_evidence_begins() -> None:
    assert onset([-1.0, 2.0, -5.0, 1.0, 3.0]) == 3
    assert onset([1.0]) == 0


def test_alerts_that_end_together_end_in_one_order_also_after_a_restart() -> None:
    def ended(*, restart: bool) -> list[str]:
        watching = Watching()
        store: dict[str, bytes] = {}
        watching.give(*(predictions(h, FAR, levels=(100, 900)) for h in range(6)))
        if restart:
            watching.core = restarted(  # type: ignore[assignment]
                watching.core, store, lambda: DriftCore(watching.catalog)
            )
        said = watching.give(predictions(6, version=2))
        return [alert.subject for alert in said if alert.status is AlertStatus.RESOLVED]

    assert len(ended(restart=False)) > 1
    assert ended(restart=True) == ended(restart=False)

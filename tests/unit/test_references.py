"""References by season and segment, and dispersions: of the rows that the profile is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftloop.drift.streams import Measure
from driftloop.drift.watch import TWO_SIDED, UPPER, watch
from driftloop.kernel.codec.blocks import Categories, Features
from driftloop.kernel.codec.records import codec
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.records import (
    CategoricalProfile,
    NumericProfile,
    Profile,
    Recipe,
    ReferenceCounts,
    Stream,
    Version,
)
from driftloop.kernel.seasons import slot
from driftloop.kernel.statistics.layout import PREDICTED, Layout
from driftloop.models import references
from driftloop.models.profile import make_profile
from driftloop.models.reference_rows import ReferencePolicy, ReferenceRows
from driftloop.models.references import with_references
from driftloop.models.shifts import shift_metrics

PREDICTIONS = Stream.PREDICTIONS
HOUR = 3_600_000
ROWS, HELD_OUT = 2000, 500
BOTH = ReferencePolicy(HOUR, ("hour_of_day", "day_of_week"), "kind")


def rows(seed: int = 0, *, persistent: bool = False) -> ReferenceRows:
    """By event time over 20 days; outcomes are known a day later."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 20 * 24 * HOUR, ROWS))
    numeric = random.normal(size=(ROWS, 2))
    if persistent:
        numeric[:, 0] += 3 * random.normal(size=20)[times // (24 * HOUR)]
    numeric[random.random((ROWS, 2)) < 0.1] = np.nan
    codes = random.integers(-1, 3, size=(ROWS, 1)).astype(np.int32)
    scores = random.random(HELD_OUT)
    return ReferenceRows(
        Features(numeric, Categories(codes, (("a", "b", "c"),))),
        times,
        times + 24 * HOUR,
        scores,
        random.random(HELD_OUT),
        random.random(HELD_OUT) < 0.2,
        Categories(np.zeros((HELD_OUT, 0), dtype=np.int32), ()),
    )


def plain_profile(given: ReferenceRows) -> Profile:
    labels = (np.arange(HELD_OUT) % 2).astype(float)
    made = make_profile(["x", "y"], ["kind"], given.features, given.scores[:, None], labels)
    edges = (0.25, 0.5, 0.75)
    counts = np.bincount(np.searchsorted(edges, given.losses), minlength=4)
    loss = replace(
        made.loss, edges=edges, counts=tuple(counts.tolist()), errors=int(given.errors.sum())
    )
    return replace(made, loss=loss)


def made(given: ReferenceRows, policy: ReferencePolicy) -> Profile:
    return with_references(plain_profile(given), given, policy)


def version_of(profile: Profile) -> Version:
    return Version("m", 1, Recipe("t", {}, 0), "a", "0" * 64, profile, {}, (), 0, 1, "r", 0)


def parts(profile: Profile, stream: Stream) -> list[ReferenceCounts]:
    return [part for part in profile.references if part.stream is stream]


@pytest.mark.parametrize("stream", list(Stream))
def test_parts_of_all_slots_add_up_to_the_reference(stream: Stream) -> None:
    profile = made(rows(), BOTH)
    layout = Layout(profile, stream)
    by_slot = [p for p in parts(profile, stream) if p.slot >= 0 and not p.segment]
    expected = layout.reference()
    found = np.sum([part.counts for part in by_slot], axis=0)
    numeric = [place.other for place in layout.places if place.numeric]
    if stream is PREDICTIONS:  # there the extremes stand for what is outside
        expected[numeric] = found[numeric] = 0
    np.testing.assert_array_equal(found, expected)
    assert sum(part.rows for part in by_slot) == (ROWS if stream is PREDICTIONS else HELD_OUT)


@pytest.mark.parametrize("stream", list(Stream))
def test_a_part_counts_the_rows_of_its_slot_and_segment(stream: Stream) -> None:
    given = rows()
    profile = made(given, BOTH)
    season = BOTH.season
    times = given.event_times if stream is PREDICTIONS else given.outcome_times
    slots = np.array([slot(season, time) for time in times.tolist()])
    kinds = given.features.categories
    first = 0 if stream is PREDICTIONS else ROWS - HELD_OUT
    found = {(p.slot, p.segment): p for p in parts(profile, stream)}
    assert len(found) == len(parts(profile, stream))
    checked = 0
    for (at, segment), part in found.items():
        chosen = np.ones(ROWS, dtype=bool)
        if at >= 0:
            chosen &= slots == at
        if segment:
            chosen &= kinds.codes[:, 0] == kinds.levels[0].index(segment)
        chosen[:first] = False
        assert part.rows == chosen.sum() > 0
        if stream is PREDICTIONS:
            x = profile.numeric[0]
            values = given.features.numeric[chosen, 0]
            present = values[~np.isnan(values)]
            bins = np.bincount(np.searchsorted(x.edges, present), minlength=len(x.counts))
            assert part.counts[: len(x.counts)] == tuple(bins)
            assert part.counts[len(x.counts)] == part.rows - len(present)
            assert part.counts[len(x.counts) + 1] == min(2, len(present))
        else:
            late = chosen[first:]
            bins = np.bincount(np.searchsorted(profile.loss.edges, given.losses[late]), minlength=4)
            assert part.counts == (*bins, given.errors[late].sum())
        checked += 1
    assert checked > 100


def test_there_are_no_references_where_nothing_is_declared() -> None:
    assert made(rows(), ReferencePolicy(HOUR)).references == ()


def test_only_segments_where_no_season_is_declared() -> None:
    profile = made(rows(), ReferencePolicy(HOUR, (), "kind"))
    assert {(p.slot, p.segment) for p in profile.references} == {(-1, "a"), (-1, "b"), (-1, "c")}


def test_slots_by_segment_are_left_out_where_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = made(rows(), BOTH)
    apart = [p for p in whole.references if p.slot < 0 or not p.segment]
    monkeypatch.setattr(references, "MOST_COUNTS", sum(len(p.counts) for p in apart))
    found = made(rows(), BOTH).references
    # Windows of a segment are then compared with those of all hours: they vary by more.
    assert [replace(p, variations=()) for p in found] == [replace(p, variations=()) for p in apart]


def test_a_version_with_as_many_references_as_may_be_is_small() -> None:
    given = rows()
    profile = made(given, BOTH)
    length = Layout(profile, PREDICTIONS).length
    many = ReferenceCounts(PREDICTIONS, 1, "a", 10**6, (10**6,) * length)
    full = replace(profile, references=(many,) * (references.MOST_COUNTS // length))
    assert len(codec(Version).encode(version_of(full))) < 500_000


def test_columns_that_stay_for_a_day_have_a_dispersion_and_the_others_none() -> None:
    profile = made(rows(persistent=True), ReferencePolicy(HOUR))
    x, y, score = profile.numeric
    assert x.dispersion > 5
    assert x.missing_dispersion == y.dispersion == score.dispersion == 1.0
    assert profile.categorical[0].dispersion == profile.loss.dispersion == 1.0
    assert profile.loss.error_dispersion == 1.0


def test_a_segment_whose_rows_come_in_clumps_has_a_dispersion_of_its_own() -> None:
    given = rows()
    kind = given.features.categories.codes[:, 0]
    numeric = given.features.numeric.copy()
    # One in three rows: "b", of which all of a day are alike.
    days = np.random.default_rng(2).normal(size=20)[given.event_times // (24 * HOUR)]
    numeric[kind == 1, 0] = days[kind == 1]
    given = replace(given, features=replace(given.features, numeric=numeric))
    profile = made(given, ReferencePolicy(HOUR, (), "kind"))
    watched = watch(
        version_of(profile),
        PREDICTIONS,
        AlertPolicy(1.0, 0.1, 0.05, 0.02, 60_000, segment="kind"),
    )
    x = [s.subject for s in watched.streams.two_sided].index("x")
    whole, a, b, c = watched.clumps[TWO_SIDED].least[:, x]
    assert watched.streams.segments == ("a", "b", "c")
    assert b > 2 * whole
    assert a == c == whole == profile.numeric[0].dispersion
    missing = [(s.subject, s.measure) for s in watched.streams.upper].index(("x", Measure.MISSING))
    assert (watched.clumps[UPPER].least[:, missing] >= 1.0).all()
    # A profile of before says nothing of it.
    before = replace(
        profile, references=tuple(replace(p, dispersions=()) for p in profile.references)
    )
    known = watch(
        version_of(before),
        PREDICTIONS,
        AlertPolicy(1.0, 0.1, 0.05, 0.02, 60_000, segment="kind"),
    )
    assert (known.clumps[TWO_SIDED].least[:, x] == whole).all()


def test_what_is_not_kept_by_slot_is_no_excuse_for_clumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a slot's rows are not kept its windows are compared with all of them: then what follows
    the season is a dispersion."""
    given = rows()
    hours = given.event_times // HOUR % 24
    numeric = given.features.numeric + 3.0 * np.sin(hours / 24 * 2 * np.pi)[:, None]
    given = replace(given, features=replace(given.features, numeric=numeric))
    policy = ReferencePolicy(HOUR, ("hour_of_day",), "kind")

    def kept() -> tuple[Profile, set[tuple[bool, bool]]]:
        profile = made(given, policy)
        return profile, {(p.slot >= 0, p.segment != "") for p in parts(profile, PREDICTIONS)}

    def segments(profile: Profile) -> list[float]:
        return [p.dispersions[0] for p in parts(profile, PREDICTIONS) if p.slot < 0]

    all_of_it, found = kept()
    assert found == {(False, True), (True, False), (True, True)}
    assert all_of_it.numeric[0].dispersion < 2
    assert max(segments(all_of_it)) < 2
    sizes = [
        sum(len(p.counts) for p in all_of_it.references if (p.slot >= 0, p.segment != "") == which)
        for which in ((False, True), (True, False))
    ]
    monkeypatch.setattr(references, "MOST_COUNTS", sum(sizes))
    without_both, found = kept()
    assert found == {(False, True), (True, False)}
    assert without_both.numeric[0].dispersion < 2
    assert min(segments(without_both)) > 3
    monkeypatch.setattr(references, "MOST_COUNTS", sizes[0])
    without_slots, found = kept()
    assert found == {(False, True)}
    assert without_slots.numeric[0].dispersion > 3
    assert min(segments(without_slots)) > 3


def test_a_profile_says_how_many_rows_its_windows_have() -> None:
    given = rows()
    profile = made(given, ReferencePolicy(HOUR, (), "kind"))
    of_windows = np.unique(given.event_times // HOUR, return_counts=True)[1]
    assert profile.window_rows == pytest.approx((of_windows**2).sum() / of_windows.sum())
    held_out = given.outcome_times[-HELD_OUT:] // HOUR
    of_outcomes = np.unique(held_out, return_counts=True)[1]
    assert profile.loss.window_rows == pytest.approx((of_outcomes**2).sum() / of_outcomes.sum())
    inside = [p.window_rows for p in parts(profile, PREDICTIONS)]
    assert all(0 < rows < profile.window_rows for rows in inside)
    # Consecutive rows are no windows.
    assert made(given, ReferencePolicy(0)).window_rows == 0.0


def test_a_profile_says_how_few_windows_vary() -> None:
    given = rows(persistent=True)
    policy = ReferencePolicy(8 * HOUR, (), "kind")
    profile = made(given, policy)
    # Two for each number, the score and the category; of the values, then of those missing.
    assert len(profile.variations) == 8
    assert [v.windows for v in profile.variations[:2]] == [60, 60]
    held_out = len(np.unique(given.event_times[-HELD_OUT:] // (8 * HOUR)))
    assert profile.variations[4].windows == held_out
    x = profile.variations[0]
    assert x.rows == np.count_nonzero(~np.isnan(given.features.numeric[:, 0]))
    # A day's three windows are alike.
    assert max(x.ratios) > 10 * max(profile.variations[2].ratios)
    assert [v.rows for v in profile.loss.variations] == [HELD_OUT, HELD_OUT]
    for part in parts(profile, PREDICTIONS):
        assert len(part.variations) == len(part.dispersions)
    # Of enough windows their number is enough; of consecutive rows nothing is known.
    assert not any(v.ratios for v in made(given, ReferencePolicy(HOUR)).variations[:4])
    assert not made(given, ReferencePolicy(0)).variations


def test_what_is_measured_of_few_windows_is_left_out_where_it_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, policy = rows(), ReferencePolicy(8 * HOUR, (), "kind")
    whole = made(given, policy)
    numbers = 3 * sum(len(v.ratios) for v in (*whole.loss.variations, *whole.variations))
    monkeypatch.setattr(references, "MOST_MEASURED", numbers)
    profile = made(given, policy)
    assert profile.variations == whole.variations
    inside = [v for part in profile.references for v in part.variations]
    assert inside
    assert not any(v.ratios or v.least for v in inside)
    assert all(v.windows for v in inside)


def test_larger_windows_than_those_of_training_have_a_larger_dispersion() -> None:
    profile = made(rows(persistent=True), ReferencePolicy(HOUR))
    watched = watch(version_of(profile), PREDICTIONS, AlertPolicy(1.0, 0.1, 0.05, 0.02, 60_000))
    clumps = watched.clumps[TWO_SIDED]
    usual = clumps.among(np.array([profile.window_rows]))
    assert usual.max() > 2
    tenfold = clumps.among(np.array([10 * profile.window_rows]))
    np.testing.assert_allclose(tenfold - 1.0, (usual - 1.0) * 10, rtol=0.3)


def test_losses_that_stay_have_a_dispersion() -> None:
    given = rows()
    days = given.outcome_times[-HELD_OUT:] // (6 * HOUR)
    bad = np.random.default_rng(1).random(int(days.max()) + 1)[days] < 0.5
    given = replace(given, losses=np.where(bad, 0.9, 0.1), errors=bad)
    loss = made(given, ReferencePolicy(HOUR)).loss
    assert loss.dispersion > 5
    assert loss.error_dispersion > 5


def test_predicted_classes_are_those_of_the_held_out_rows() -> None:
    given = rows()
    classes = np.arange(HELD_OUT, dtype=np.int32)[:, None] % 3
    given = replace(given, predicted=Categories(classes, (("p", "q", "r"),)))
    plain = plain_profile(given)
    predicted = CategoricalProfile(PREDICTED, ("p", "q", "r"), (167, 167, 166), 0)
    plain = replace(plain, categorical=(*plain.categorical, predicted))
    profile = with_references(plain, given, BOTH)
    by_slot = [p for p in parts(profile, PREDICTIONS) if p.slot >= 0 and not p.segment]
    place = Layout(profile, PREDICTIONS).places[-1]
    found = np.sum([part.counts for part in by_slot], axis=0)
    assert found[place.bins].tolist() == [167, 167, 166]
    assert profile.categorical[-1].dispersion == 1.0
    assert {"error_shift", "loss_shift"} <= set(shift_metrics(profile, given))


def test_a_column_without_values_is_no_harm() -> None:
    given = rows()
    given.features.numeric[:, 0] = np.nan
    profile = made(given, BOTH)
    empty: NumericProfile = profile.numeric[0]
    assert (empty.dispersion, empty.missing_dispersion) == (1.0, 1.0)
    assert all(part.counts[2] == 0 for part in parts(profile, PREDICTIONS))


def test_the_same_rows_give_the_same_profile() -> None:
    assert repr(made(rows(), BOTH)) == repr(made(rows(), BOTH))

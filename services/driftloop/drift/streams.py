"""What is watched: every stream of counts of one version, and the groups they are tested in."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.drift.shiryaev import threshold
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.records import AlertKind, CategoricalProfile, NumericProfile, Profile, Stream
from driftloop.kernel.statistics.layout import LOSS, PREDICTED, SCORE, Layout, Place
from driftloop.models.payoffs import Betting

ERRORS = "errors"

BUDGET_OF: Mapping[AlertKind, str] = {
    AlertKind.CONCEPT_DRIFT: "concept_drift",
    AlertKind.DATA_DRIFT: "data_drift",
    AlertKind.PREDICTION_DRIFT: "prediction_drift",
    AlertKind.MISSING_VALUES: "data_quality",
    AlertKind.NEW_CATEGORIES: "data_quality",
    AlertKind.OUT_OF_RANGE: "data_quality",
    AlertKind.CONSTANT: "data_quality",
}
"""Which share of the budget pays for an alert's kind; the others are no tests."""


class Measure(enum.Enum):
    """How large a change is, and the effect's name."""

    DISTRIBUTION = "psi"
    """Population stability index; of an ordered stream also ``standardised_shift``."""
    LOSS = "loss_increase"
    ERRORS = "error_increase"
    MISSING = "missing_share"
    UNSEEN = "unseen_share"
    OUTSIDE = "outside_share"
    CONSTANT = "constant_rows"


@dataclass(frozen=True, slots=True)
class Watched:
    """One stream: ordered bins of a window's counts, and the test on them."""

    kind: AlertKind
    subject: str
    measure: Measure
    ordered: bool
    """Whether the order of the bins means anything."""
    bins: tuple[tuple[int, ...], ...]
    """Per bin the places in the layout whose counts are added."""
    less: int
    """Place whose count is taken off the first bin again; -1: none."""
    column: int
    """Which of the layout's columns it is of."""
    dispersion: float
    """Of all rows of training; see ``Watch.clumps``."""
    threshold: float
    """Of the log of its M."""
    share: float
    """Of the model's budget."""

    @property
    def betting(self) -> Betting:
        """Which bets are on it."""
        if self.measure is not Measure.DISTRIBUTION:
            return Betting.UPPER
        return Betting.ORDERED if self.ordered else Betting.UNORDERED


@dataclass(frozen=True, slots=True)
class Streams:
    """Everything watched of one version on one of its two kinds of windows."""

    two_sided: tuple[Watched, ...]
    upper: tuple[Watched, ...]
    still: tuple[Watched, ...]
    """Numeric features that may stop changing. Their one bin is all values."""
    segments: tuple[str, ...]
    """Levels that are watched on their own too."""

    def all(self) -> tuple[Watched, ...]:
        """Of all families."""
        return (*self.two_sided, *self.upper, *self.still)


def watched_streams(profile: Profile, stream: Stream, policy: AlertPolicy) -> Streams:
    """The streams of a version with this profile.

    Each part of the budget (``AlertPolicy.shares``) is shared evenly by its streams, whichever of
    the two kinds of windows they read: outcomes are no more rows than predictions. A part with
    share 0 is not watched; that of a part without streams goes to the others.
    """
    segments = tuple(
        part.segment
        for part in profile.references
        if part.stream is stream and part.slot < 0 and part.segment
    )
    # Segments are there for both kinds of windows or for none.
    split = any(part.segment for part in profile.references)
    makers = [_Maker(profile, which) for which in Stream]
    drafts = {maker.stream: maker.drafts() for maker in makers}
    counts: dict[str, int] = {}
    for found in drafts.values():
        for draft in found:
            part = BUDGET_OF[draft.kind]
            counts[part] = counts.get(part, 0) + 1
    spent = sum(policy.shares.get(part, 0.0) for part in counts)
    two_sided: list[Watched] = []
    upper: list[Watched] = []
    still: list[Watched] = []
    for draft in drafts[stream]:
        part = BUDGET_OF[draft.kind]
        share = policy.shares.get(part, 0.0)
        if share <= 0.0:
            continue
        share /= spent
        together = counts[part] * (2 if split and draft.kind is not AlertKind.CONSTANT else 1)
        watched = Watched(
            draft.kind,
            draft.subject,
            draft.measure,
            draft.ordered,
            draft.bins,
            draft.less,
            draft.column,
            max(1.0, draft.dispersion),
            threshold(together, policy.false_alarms_per_100k * share),
            share / together,
        )
        match draft.measure:
            case Measure.DISTRIBUTION:
                two_sided.append(watched)
            case Measure.CONSTANT:
                still.append(watched)
            case _:
                upper.append(watched)
    return Streams(tuple(two_sided), tuple(upper), tuple(still), segments)


@dataclass(frozen=True, slots=True)
class _Draft:
    kind: AlertKind
    subject: str
    measure: Measure
    bins: tuple[tuple[int, ...], ...]
    column: int
    dispersion: float
    ordered: bool = True
    less: int = -1


class _Maker:
    def __init__(self, profile: Profile, stream: Stream) -> None:
        self.stream = stream
        self._profile = profile
        self._layout = Layout(profile, stream)

    def drafts(self) -> list[_Draft]:
        if self.stream is Stream.OUTCOMES:
            return self._losses()
        out: list[_Draft] = []
        profile = self._profile
        columns: list[NumericProfile | CategoricalProfile] = [
            *profile.numeric,
            *profile.categorical,
        ]
        for index, (place, column) in enumerate(zip(self._layout.places, columns, strict=True)):
            bins = range(place.bins.start, place.bins.stop)
            kind = AlertKind.DATA_DRIFT
            if column.name in (SCORE, PREDICTED):
                kind = AlertKind.PREDICTION_DRIFT
            if len(bins) > 1:
                # Categories lie in the order of their names, which means nothing; one that came
                # from their counts would make new rows differ from the reference by itself.
                single = tuple((at,) for at in bins)
                out.append(
                    _Draft(
                        kind,
                        column.name,
                        Measure.DISTRIBUTION,
                        single,
                        index,
                        column.dispersion,
                        place.numeric,
                    )
                )
            if kind is AlertKind.DATA_DRIFT:
                out += self._quality(index, place, column.dispersion, column.missing_dispersion)
        return out

    def _quality(
        self, index: int, place: Place, dispersion: float, missing_dispersion: float
    ) -> list[_Draft]:
        bins = tuple(range(place.bins.start, place.bins.stop))
        present = bins if place.numeric else (*bins, place.other)
        name = place.name
        out = [
            _Draft(
                AlertKind.MISSING_VALUES,
                name,
                Measure.MISSING,
                (present, (place.missing,)),
                index,
                missing_dispersion,
            )
        ]
        other = (bins, (place.other,))
        if place.numeric:
            kind, measure, less = AlertKind.OUT_OF_RANGE, Measure.OUTSIDE, place.other
        else:
            kind, measure, less = AlertKind.NEW_CATEGORIES, Measure.UNSEEN, -1
        out.append(_Draft(kind, name, measure, other, index, dispersion, less=less))
        if len(bins) > 1:
            out.append(
                _Draft(AlertKind.CONSTANT, name, Measure.CONSTANT, (bins,), index, dispersion)
            )
        return out

    def _losses(self) -> list[_Draft]:
        baseline = self._profile.loss
        if not baseline.counts:
            return []
        (place,) = self._layout.places
        bins = tuple(range(place.bins.start, place.bins.stop))
        kind = AlertKind.CONCEPT_DRIFT
        single = tuple((at,) for at in bins)
        out = []
        # Losses that are errors (of scores that are 0 or 1) are watched once.
        same = baseline.counts[1:] == (baseline.errors,)
        if len(bins) > 1 and not same:
            out.append(_Draft(kind, LOSS, Measure.LOSS, single, 0, baseline.dispersion))
        # A classifier that made none is watched by its losses, if they differ; where all are alike,
        # its first errors are all that could show a change.
        if baseline.errors > 0 or not (out or self._regression()):
            out.append(
                _Draft(
                    kind,
                    ERRORS,
                    Measure.ERRORS,
                    (bins, (place.other,)),
                    0,
                    baseline.error_dispersion,
                    less=place.other,
                )
            )
        return out

    def _regression(self) -> bool:
        """Whether the profile shows that scores are no probabilities; there are no errors then."""
        scores = (column for column in self._profile.numeric if column.name == SCORE)
        return any(column.minimum < 0.0 or column.maximum > 1.0 for column in scores)

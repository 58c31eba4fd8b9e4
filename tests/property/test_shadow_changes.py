"""A shadow that comes and goes in the middle of windows changes nothing that drift decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_builders import TOPICS, alerts_of, batch, catalog, declaration, outcomes, restarted
from decision_builders import version as version_of
from driftloop.drift.core import DriftCore
from driftloop.kernel.records import Alert, Window

LOSSES = ([0.2, 0.6] * 150, [0.5, 0.9] * 150, [2.0] * 40)


@st.composite
def days(draw: st.DrawFn) -> tuple[list[Window], list[list[Window]]]:
    """Windows of outcomes, and the same rows in windows cut where the shadow changed."""
    whole, cut = [], []
    for hour in range(draw(st.integers(4, 14))):
        losses = draw(st.sampled_from(LOSSES[:1] * 3 if hour < 3 else LOSSES))
        wrong = draw(st.integers(0, 2)) * len(losses) // 10
        number = draw(st.sampled_from([1, 1, 1, 2]))
        whole.append(outcomes(hour, losses, errors=wrong, version=number))
        shadows = sorted(draw(st.sets(st.integers(-1, 4), min_size=1, max_size=3)))
        ends = sorted(draw(st.integers(0, len(losses))) for _ in shadows[1:])
        parts = []
        left = wrong
        for shadow, first, last in zip(shadows, [0, *ends], [*ends, len(losses)], strict=True):
            own = min(left, last - first)
            left -= own
            parts.append(
                outcomes(
                    hour,
                    losses[first:last],
                    errors=own,
                    version=number,
                    shadow=shadow,
                    parts=len(shadows),
                )
            )
        cut.append(draw(st.permutations(parts)))
    return whole, cut


def decided(alert: Alert) -> Alert:
    """All but what the windows are called."""
    return replace(alert, evidence=replace(alert.evidence, windows=()))


def core() -> DriftCore:
    return DriftCore(catalog(declaration(), version_of(1), version_of(2)))


@settings(max_examples=60, deadline=None)
@given(days(), st.sets(st.integers(0, 40)))
def test_alerts_are_those_of_the_stream_without_a_shadow(
    given_days: tuple[list[Window], list[list[Window]]], restarts: set[int]
) -> None:
    whole, cut = given_days
    plain = core()
    expected = [a for w in whole for a in alerts_of(plain.process(batch(TOPICS.windows, w)))]
    parted: Any = core()
    store: dict[str, bytes] = {}
    said: list[Alert] = []
    for index, window in enumerate(part for parts in cut for part in parts):
        if index in restarts:
            parted = restarted(parted, store, core)
        said += alerts_of(parted.process(batch(TOPICS.windows, window)))
    assert [decided(alert) for alert in said] == [decided(alert) for alert in expected]
    assert [decided(a) for a in parted.open_alerts().get("flights", ())] == [
        decided(a) for a in plain.open_alerts().get("flights", ())
    ]

"""The demo's views."""

from __future__ import annotations

import io

from rich.console import Console

from driftloop.adapters.clock import ManualClock
from driftloop.cli.live import LiveView, PlainView, Progress, spark
from driftloop.cli.observer import Seen

PROGRESS = Progress(
    now=1357034400000, sent=10, total=100, rate=5.0, behind_ms=0, waiting_for="", seconds=3.0
)


def test_a_sparkline_spans_the_bars() -> None:
    assert spark([0.0, 0.5, 1.0]) == "▁▅█"


def test_a_sparkline_stops_at_its_top() -> None:
    assert spark([0.0, 9.0], top=1.0) == "▁█"


def test_a_sparkline_of_zeros_is_flat() -> None:
    assert spark([0.0, 0.0]) == "▁▁"


def test_the_plain_view_speaks_now_and_then_only() -> None:
    out, clock = io.StringIO(), ManualClock()
    view = PlainView(Console(file=out, width=200), clock)
    view.show(PROGRESS, Seen())
    view.show(PROGRESS, Seen())
    assert out.getvalue().count("10 of 100 flights") == 1
    clock.advance(10_000)
    view.show(PROGRESS, Seen())
    assert out.getvalue().count("10 of 100 flights") == 2


def test_the_live_view_draws_before_anything_has_happened() -> None:
    out = io.StringIO()
    with LiveView(Console(file=out, width=120, force_terminal=True)) as view:
        view.note("something happened")
        view.show(PROGRESS, Seen())
    assert "something happened" in out.getvalue()
    assert "no version with a reference profile serves yet" in out.getvalue()

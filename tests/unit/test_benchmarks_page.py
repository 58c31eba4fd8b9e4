"""The page of benchmarks says what was recorded, of every benchmark there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loadtest.__main__ import BENCHMARKS
from loadtest.profiles import summary
from loadtest.report import PAGE, PLOTS, pages
from loadtest.results import ROOT, recorded
from loadtest.scale import curve_of, nowhere_convex, proportional_at_most
from loadtest.svg import bars, lines
from loadtest.wanted import BENCHMARKS as LISTED
from loadtest.wanted import Wanted

DOCS = ROOT / "docs"


def test_the_page_and_its_plots_are_those_of_the_recorded_results() -> None:
    made = pages(recorded())

    found = {path: (DOCS / path).read_text(encoding="utf-8") for path in made}

    assert found == made, "make bench-report"


def test_no_plot_is_left_that_no_result_has() -> None:
    plots = {f"{PLOTS}/{path.name}" for path in (DOCS / PLOTS).glob("*.svg")}

    assert plots <= set(pages(recorded()))


def test_every_benchmark_is_on_the_page() -> None:
    page = (DOCS / PAGE).read_text(encoding="utf-8")

    missing = [name for name in (*BENCHMARKS, "chaos") if f"(`{name}`)" not in page]

    assert not missing


def test_every_benchmark_has_a_plain_number_at_each_wanted_key() -> None:
    wrong = [
        (name, wanted.key)
        for name, result in recorded().items()
        for wanted in LISTED[name].wanted
        if not isinstance(result.get(wanted.key), bool | int | float)
    ]

    assert not wrong


def test_a_shortfall_is_said() -> None:
    text = pages({"many": {"cost_ratio": 3.0, "spread": {"cost_ratio": [2.0, 4.0]}}})[PAGE]

    assert "- `many`, `cost_ratio`: 3, wanted <= 1.5" in text
    assert "| **3** | 2 to 4 |" in text


@pytest.mark.parametrize(
    ("wanted", "value", "met"),
    [
        (Wanted("k", "", least=2), 2.0, True),
        (Wanted("k", "", least=2), 1.9, False),
        (Wanted("k", "", most=0), 0.0, True),
        (Wanted("k", "", most=0), 1.0, False),
    ],
)
def test_bounds_are_met_or_not(wanted: Wanted, value: float, met: bool) -> None:
    assert wanted.met(value) is met


def test_a_cost_that_grows_faster_than_what_it_is_for_is_not_linear() -> None:
    assert proportional_at_most([(1, 1.0), (10, 4.0), (100, 40.0)])
    assert not proportional_at_most([(1, 1.0), (10, 20.0)])


def test_a_curve_that_bends_upwards_behind_a_fixed_cost_is_not_linear() -> None:
    bent = [(float(n), 10.0 + 0.01 * n * n) for n in (1, 4, 16, 64)]
    assert proportional_at_most(bent)
    assert not nowhere_convex(bent)
    assert nowhere_convex([(1.0, 1.0), (10.0, 1.9), (100.0, 10.9)])


def test_one_bad_round_does_not_decide_whether_a_curve_bends() -> None:
    def points(most: float) -> list[dict[str, Any]]:
        costs = {1: (2.0, 2.1), 16: (2.0, most), 64: (9.0, 9.2)}
        return [
            {"features": n, "payload": 0, "processes": 1, "spread": spread}
            for n, spread in costs.items()
        ]

    for most in (2.1, 9.0):
        assert not nowhere_convex(curve_of(points(most), "features", 1))


def test_plots_are_well_formed(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    for svg in (
        bars("a & b", {"x < y": 0.5, "z": 200.0}, "times", logarithmic=True),
        lines("t", {"s": [(1.0, 2.0), (64.0, 3.0)]}, "features", "us"),
    ):
        ElementTree.fromstring(svg)


def test_a_profile_tells_functions_with_what_they_call() -> None:
    stacks = [
        "run (driftloop/kernel/runner.py);poll (a.py);loop (b.py) 6",
        "run (driftloop/kernel/runner.py);poll (a.py) 2",
        "run (driftloop/kernel/runner.py);poll (a.py);poll (a.py) 2",
    ]

    found = summary(stacks)

    assert found["samples"] == 10
    assert found["functions"]["run (driftloop/kernel/runner.py)"] == {
        "alone": 0.0,
        "with what it calls": 1.0,
    }
    assert found["functions"]["poll (a.py)"] == {"alone": 0.4, "with what it calls": 1.0}
    assert found["functions"]["loop (b.py)"]["alone"] == 0.6

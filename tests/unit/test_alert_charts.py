"""Charts of text say with their characters what is so."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from driftloop.cli.alert_charts import UNICODE, glyphs, level_over_time, paired_bars
from driftloop.cli.alert_evidence import Bar, Comparison, Point


def over_time(
    values: list[float], threshold: float, width: int = 60, marks: tuple[tuple[str, int], ...] = ()
) -> list[str]:
    points = [Point((f"w{i}",), i, value) for i, value in enumerate(values)]
    return [line.plain for line in level_over_time(points, threshold, marks, width, UNICODE)]


@pytest.mark.parametrize("highest", [5.6, 8.0, 14.0, 40.0])
@pytest.mark.parametrize("threshold", [1.2, 5.52, 7.77])
def test_only_what_passes_the_threshold_reaches_into_its_row(
    threshold: float, highest: float
) -> None:
    values = [0.0, threshold * 0.999, threshold, threshold * 1.001, threshold + highest]
    (row,) = (line for line in over_time(values, threshold) if UNICODE.line in line)
    assert row.startswith(f"{threshold:6.1f} ")
    cells = row.partition(UNICODE.axis)[2]
    wide = len(cells) // len(values)
    shown = [cells[i * wide] for i in range(len(values))]
    assert [cell == UNICODE.line for cell in shown] == [True, True, False, False, False]


@pytest.mark.parametrize("width", [30, 40, 60, 100])
def test_marks_stand_under_their_windows(width: int) -> None:
    values = [float(i % 5) for i in range(20)]
    for at in range(20):
        lines = over_time(values, 5.5, width, (("opened", at),))
        wide = max(1, min(4, (width - 10) // 20))
        places = [line.index(UNICODE.mark) for line in lines if UNICODE.mark in line]
        assert places == [8 + at * wide]
        assert max(map(len, lines)) <= width


def test_labels_of_wide_characters_take_their_cells() -> None:
    bars = tuple(Bar(name, 0.5, 0.2, 0.2) for name in ("漢字" * 20, "é", "plain"))
    lines = paired_bars(Comparison("c", 10, 0, bars), 60, UNICODE)
    ends = {
        cell_len(line.plain.partition(UNICODE.eighths[-1])[0])
        for line in lines
        if line.plain.startswith("  ") and UNICODE.eighths[-1] * 5 in line.plain
    }
    assert len(ends) == 1


def test_an_output_of_ascii_gets_ascii() -> None:
    drawn = glyphs("ascii")
    points = [Point(("w",), i, float(i)) for i in range(9)]
    lines = level_over_time(points, 5.5, [("onset", 3)], 60, drawn)
    lines += paired_bars(Comparison("c", 10, 0, (Bar("a", 0.5, 0.2, 0.1),)), 60, drawn)
    assert all(line.plain.isascii() for line in lines)

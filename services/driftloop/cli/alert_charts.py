"""Charts of text: paired bars of two distributions, and a detector's level over time.

Colour says nothing that the characters do not say too, and where the output takes ASCII only they
are of ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from driftloop.cli.alert_evidence import Comparison, Point
from driftloop.cli.records_text import moment

_HEIGHT = 12
_MOST_LABEL = 24
_PERCENT = 8


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Of one repertoire of characters."""

    eighths: str
    """From the least part of a cell that shows to all of it, from the left."""
    rising: str
    """The same from below."""
    reference: str
    line: str
    axis: str
    floor: str
    corner: str
    mark: str


UNICODE = Glyphs("▏▎▍▌▋▊▉█", "▁▂▃▄▅▆▇█", "░", "╌", "│", "─", "└", "▲")
ASCII = Glyphs("#", "#", "-", "-", "|", "-", "+", "^")


def glyphs(encoding: str) -> Glyphs:
    """For an output with this encoding."""
    return UNICODE if encoding.lower().replace("-", "").startswith("utf") else ASCII


def paired_bars(compared: Comparison, width: int, drawn: Glyphs) -> list[Text]:
    """Two lines per bin: the rows now, and under them the reference. In brackets, where it differs,
    what the test ranks rows among: the reference and the rows before the change."""
    label = min(_MOST_LABEL, max(cell_len(bar.label) for bar in compared.bars))
    differs = any(_percent(bar.before) != _percent(bar.reference) for bar in compared.bars)
    room = max(8, width - label - _PERCENT * (2 if differs else 1) - 6)
    most = max([max(bar.now, bar.reference) for bar in compared.bars] + [1e-9])
    now = Text("  ").append(drawn.eighths[-1] * 2, style="bold cyan")
    now.append(f" {compared.rows:,} rows from the onset to {moment(compared.until)}  ")
    now.append(drawn.reference * 2, style="dim").append(" reference")
    lines = [Text(compared.subject), now]
    if differs:
        brackets = "  in brackets: the reference and the rows before the change"
        lines.append(Text(brackets, style="dim"))
    for bar in compared.bars:
        now = Text(f"  {_label(bar.label, label)} ")
        now.append(_bar(bar.now / most * room, drawn), style="bold cyan")
        now.append(f" {_percent(bar.now)}")
        then = Text(f"  {'':>{label}} ")
        then.append(drawn.reference * round(bar.reference / most * room), style="dim")
        then.append(f" {_percent(bar.reference)}", style="dim")
        if differs:
            then.append(f" ({_percent(bar.before)})", style="dim")
        lines += [now, then]
    return lines


def _label(text: str, cells: int) -> str:
    """Of so many cells, to the right: some characters take two."""
    if cell_len(text) > cells:
        text = set_cell_size(text, cells - 2) + ".."
    return " " * (cells - cell_len(text)) + text


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def level_over_time(
    points: Sequence[Point],
    threshold: float,
    marks: Sequence[tuple[str, int]],
    width: int,
    drawn: Glyphs,
) -> list[Text]:
    """Columns of log10 e-values over windows, against a threshold; ``marks`` are names and moments
    to be shown below."""
    columns = _columns(points, max(16, width - 10))
    values = [point.log10_e or 0.0 for point in columns]
    # Evidence grows without bound while a change lasts; the threshold must stay visible. It is the
    # lower edge of its row, so what does not pass it does not reach into that.
    top = max(1.5 * threshold, min(max(values), 3.0 * threshold), 1.0)
    below = max(1, round(threshold / top * _HEIGHT))
    top = threshold / below * _HEIGHT if threshold > 0.0 else top
    wide = max(1, min(4, (width - 10) // len(columns)))
    lines = []
    for row in range(_HEIGHT, 0, -1):
        here = row == below + 1
        named = f"{threshold:.1f}" if here else f"{top:.1f}" if row == _HEIGHT else ""
        line = Text(f"{named:>6} {drawn.axis}")
        for value in values:
            cell = _part(value / top * _HEIGHT - (row - 1), drawn.rising)
            if here:
                # Not more or less than it is by rounding.
                passed = value >= threshold
                cell = (cell if cell != " " else drawn.rising[0]) if passed else " "
            if cell == " " and here:
                line.append(drawn.line * wide, style="red")
            else:
                line.append(cell * wide, style="bold red" if value >= threshold else "cyan")
        lines.append(line)
    lines.append(Text(f"{'0':>6} {drawn.corner}{drawn.floor * (wide * len(columns))}"))
    for name, at in marks:
        column = next((i for i, point in enumerate(columns) if point.at >= at), None)
        if column is not None:
            lines += _mark(8 + column * wide, f"{name} {moment(at)}", width, drawn)
    if max(values) > top:
        lines.append(Text(f"       cut off at {top:.1f}; the highest is {max(values):.1f}"))
    return lines


def _columns(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many: neighbours become the one with the highest level."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // most)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        Point(group[-1].windows, group[-1].at, max((p.log10_e or 0.0 for p in group), default=0.0))
        for group in groups
    ]


def _mark(column: int, text: str, width: int, drawn: Glyphs) -> list[Text]:
    """Under its column, whatever room there is beside it."""
    if column + len(text) + 2 <= width:
        return [Text(f"{'':{column}}{drawn.mark} {text}")]
    if len(text) < column:
        return [Text(f"{text + ' ' + drawn.mark:>{column + 1}}")]
    return [Text(f"{'':{column}}{drawn.mark}"), Text(f"{text:>{width}}")]


def _bar(cells: float, drawn: Glyphs) -> str:
    whole = int(cells)
    return drawn.eighths[-1] * whole + _part(cells - whole, drawn.eighths).rstrip()


def _part(filled: float, parts: str) -> str:
    """One cell of which so much is filled."""
    steps = round(min(1.0, filled) * len(parts))
    return parts[steps - 1] if steps > 0 else " "

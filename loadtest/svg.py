"""Bars and lines as SVG, the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_FONT = "font-family='sans-serif' font-size='12'"
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")
_WIDTH = 760


def bars(title: str, values: Mapping[str, float], unit: str, *, logarithmic: bool = False) -> str:
    """Horizontal bars; a line at 1 where they are ratios on a logarithmic scale."""
    left, right, row, top = 250, 90, 24, 44
    height = top + row * len(values) + 12
    room = _WIDTH - left - right
    largest = max(values.values(), default=1.0)
    if logarithmic:
        low = math.floor(math.log10(min([v for v in values.values() if v > 0] + [1.0])))
        span = max(math.ceil(math.log10(max(largest, 1.0))) - low, 1)

        def place(value: float) -> float:
            return room * max(math.log10(value) - low, 0.0) / span if value > 0 else 0.0
    else:

        def place(value: float) -> float:
            return room * value / largest if largest else 0.0

    parts = [_text(12, 20, f"{title} ({unit})", weight="bold")]
    for number, (name, value) in enumerate(values.items()):
        y = top + row * number
        parts.append(_text(left - 8, y + 12, name, anchor="end"))
        parts.append(
            f"<rect x='{left}' y='{y}' width='{place(value):.1f}' height='{row - 8}' "
            f"fill='{_COLOURS[0]}'/>"
        )
        parts.append(_text(left + place(value) + 6, y + 12, f"{value:,.3g}"))
    if logarithmic:
        x = left + place(1.0)
        parts.append(
            f"<line x1='{x:.1f}' y1='{top - 8}' x2='{x:.1f}' y2='{height - 8}' stroke='#333' "
            "stroke-dasharray='4 3'/>"
        )
    return _page(height, parts)


def lines(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str
) -> str:
    """Curves over a logarithmic x axis, from 0 upwards."""
    left, right, top, height = 64, 220, 44, 360
    bottom = height - 48
    xs = sorted({x for points in series.values() for x, _ in points})
    most = max((y for points in series.values() for _, y in points), default=1.0) * 1.1
    low, high = math.log10(xs[0]), math.log10(xs[-1])
    span = (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (_WIDTH - left - right) * (math.log10(x) - low) / span,
            bottom - (bottom - top) * y / most,
        )

    parts = [_text(12, 20, title, weight="bold")]
    parts.append(f"<path d='M{left} {top}V{bottom}H{_WIDTH - right}' fill='none' stroke='#333'/>")
    parts += [_text(at(x, 0)[0], bottom + 16, f"{x:,.0f}", anchor="middle") for x in xs]
    for step in range(5):
        y = most * step / 4
        parts.append(_text(left - 6, at(xs[0], y)[1] + 4, f"{y:.3g}", anchor="end"))
    parts.append(_text((left + _WIDTH - right) / 2, height - 10, across, anchor="middle"))
    parts.append(_text(left, top - 10, up))
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in points)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        for x, y in points:
            cx, cy = at(x, y)
            parts.append(f"<circle cx='{cx:.1f}' cy='{cy:.1f}' r='3' fill='{colour}'/>")
        y = top + 18 * number
        parts.append(
            f"<rect x='{_WIDTH - right + 14}' y='{y}' width='12' height='12' fill='{colour}'/>"
        )
        parts.append(_text(_WIDTH - right + 32, y + 11, name))
    return _page(height, parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}' {_FONT}>"
        f"{escape(text)}</text>"
    )


def _page(height: int, parts: Sequence[str]) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{height}' "
        f"viewBox='0 0 {_WIDTH} {height}'>"
    )
    ground = f"<rect width='{_WIDTH}' height='{height}' fill='white'/>"
    return "\n".join([head, ground, *parts, "</svg>", ""])

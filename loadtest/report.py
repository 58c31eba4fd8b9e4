"""``python -m loadtest.report``: docs/benchmarks.md and its plots, from the recorded results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.results import ROOT, recorded
from loadtest.shortfalls import HELD_BY
from loadtest.svg import bars, lines
from loadtest.wanted import BENCHMARKS, Detail, Wanted

PAGE = "benchmarks.md"
PLOTS = "benchmarks"

Results = Mapping[str, Mapping[str, Any]]

_HEAD = (
    "# Benchmarks\n\n"
    "<!-- Made by `make bench-report` from loadtest/results, which `make bench` makes. -->\n\n"
    "Peers and ours run in turns on one machine, do the same work on the same records, and their "
    "outputs are compared before anything is timed. Costs are processor time of whole processes, "
    "threads included. Every peer has the best reasonable settings known to us; they are in its "
    "code, in `loadtest/`, with the reasons. A figure is the median of the rounds; the spread is "
    "their least and most. What holds a figure back is read off profiles of the process that is "
    "measured: `make bench NAME=... ARGS=--profile`, below where one was kept.\n"
)


def pages(results: Results) -> dict[str, str]:
    """Every file below docs/, by its path there."""
    plots = _plots(results)
    text = "\n".join([_HEAD, *_summary(results), *_shortfalls(results), *_each(results, plots)])
    return {PAGE: text, **{f"{PLOTS}/{name}.svg": svg for name, svg in plots.items()}}


def write(results: Results, docs: Path) -> None:
    made = pages(results)
    for path in (docs / PLOTS).glob("*.svg"):
        if f"{PLOTS}/{path.name}" not in made:
            path.unlink()
    for name, text in made.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def number(result: Mapping[str, Any], key: str) -> float | None:
    """What a result says of a key; None where it says nothing."""
    value = result.get(key)
    return float(value) if isinstance(value, bool | int | float) else None


def _summary(results: Results) -> list[str]:
    lines = [
        "## Wanted and reached",
        "",
        "| benchmark | key | what it says | wanted | reached | spread | command |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, benchmark in BENCHMARKS.items():
        result = results.get(name, {})
        lines += [
            f"| {name} | `{wanted.key}` | {wanted.says} | {wanted.bound} | "
            f"{_reached(result, wanted)} | {_spread(result, wanted.key)} | "
            f"`make bench NAME={name}` |"
            for wanted in benchmark.wanted
        ]
    return [*lines, ""]


def _reached(result: Mapping[str, Any], wanted: Wanted) -> str:
    value = number(result, wanted.key)
    if value is None:
        return "not recorded"
    shown = f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return shown if wanted.met(value) else f"**{shown}**"


def _spread(result: Mapping[str, Any], key: str) -> str:
    found = result.get("spread", {}).get(key)
    if not found:
        return ""
    least, most = (found["least"], found["most"]) if isinstance(found, dict) else found
    return f"{least:,.3g} to {most:,.3g}"


def _shortfalls(results: Results) -> list[str]:
    lines = ["## Shortfalls", ""]
    for name, benchmark in BENCHMARKS.items():
        if name not in results:
            lines.append(f"- `{name}`: no result is recorded.")
            continue
        for wanted in benchmark.wanted:
            value = number(results[name], wanted.key)
            if value is not None and not wanted.met(value):
                why = HELD_BY.get((name, wanted.key), "Not explained by a profile yet.")
                bound = wanted.least if wanted.least is not None else wanted.most
                share = f", {value / bound:.0%} of it" if bound else ""
                lines.append(
                    f"- `{name}`, `{wanted.key}`: {value:,.3g}, wanted {wanted.bound}{share}. {why}"
                )
    if len(lines) == 2:
        lines.append("None.")
    return [*lines, ""]


def _each(results: Results, plots: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for name, benchmark in BENCHMARKS.items():
        lines += [f"## {benchmark.title} (`{name}`)", ""]
        result = results.get(name)
        if result is None:
            lines += [f"No result is recorded: `make bench NAME={name}`.", ""]
            continue
        lines += [_where(result.get("environment", {})), ""]
        if "seed" in result:
            lines += [f'Again: `make bench NAME={name} ARGS="--seed {result["seed"]}"`.', ""]
        for detail in benchmark.details:
            lines += _detail(result, detail)
        lines += [
            f"![{plot}]({PLOTS}/{plot}.svg)\n" for plot in plots if plot.partition("-")[0] == name
        ]
        if "profile" in result:
            lines += _profile(name, result["profile"])
    return [*lines, *_ratios_plot(plots)]


def _profile(name: str, profile: Mapping[str, Any]) -> list[str]:
    around = profile["environment"]
    threads = ", ".join(
        f"{thread} {used:.2f}" for thread, used in profile["us_by_thread"].items() if used >= 0.01
    )
    lines = [
        f"Where the time of ours goes (`make bench NAME={name} ARGS=--profile`, "
        f"{around['at'][:10]}, commit {around['commit'][:12] or 'unknown'}). "
        f"By thread, us of each of {profile['events']:,}: {threads}. Of the threads that run "
        f"Python, {profile['samples']:,} samples, in percent:",
        "",
        "| function | with what it calls | alone |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{function}` | {100 * share['with what it calls']:.0f} | {100 * share['alone']:.0f} |"
        for function, share in profile["functions"].items()
    ]
    return [*lines, ""]


def _ratios_plot(plots: Mapping[str, str]) -> list[str]:
    if "ratios" not in plots:
        return []
    return [
        "## Reached against wanted",
        "",
        "Bars that pass the dashed line reach what was wanted.",
        "",
        f"![ratios]({PLOTS}/ratios.svg)",
        "",
    ]


def _where(around: Mapping[str, Any]) -> str:
    if not around:
        return "Where it was measured is not recorded."
    machine = around["machine"]
    packages = around["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}"
        for name in (
            "confluent-kafka", "faust-streaming", "fastavro", "river", "lightgbm", "numpy", "numba",
        )
        if name in packages
    )  # fmt: skip
    commit = around["commit"][:12] or "unknown"
    changed = " (tree changed since)" if around["dirty"] else ""
    return (
        f"{around['at'][:10]}, commit {commit}{changed}; "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, "
        f"{machine['os']}; load {around['load'][0]:.1f} at the start; "
        f"Python {around['python']}, {versions}."
    )


def _detail(result: Mapping[str, Any], detail: Detail) -> list[str]:
    rows = _rows(result, detail)
    if not rows:
        return []
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    unit = f", {detail.unit}" if detail.unit else ""
    lines = [f"{detail.says}{unit}:", ""]
    lines += [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_shown(row.get(c)) for c in columns)} |")
    return [*lines, ""]


def _rows(result: Mapping[str, Any], detail: Detail) -> dict[str, dict[str, Any]]:
    """By name: the columns of a row."""
    found = {key: result[key] for key in detail.keys if key in result}
    if len(detail.keys) > 1:
        return {_words(key): {"": value} for key, value in found.items()}
    rows: dict[str, dict[str, Any]] = {}
    for value in found.values():
        named = (
            {str(k): row for k, row in enumerate(value, 1)} if isinstance(value, list) else value
        )
        for name, row in named.items():
            cells = row if isinstance(row, dict) else {"": row}
            rows[_words(name)] = {_words(column): cell for column, cell in cells.items()}
    return rows


def _words(key: str) -> str:
    return key.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)


def _plots(results: Results) -> dict[str, str]:
    plots: dict[str, str] = {}
    for name, benchmark in BENCHMARKS.items():
        for detail in benchmark.details:
            values = _plotted(_rows(results.get(name, {}), detail), detail) if detail.plot else {}
            if values:
                plots[f"{name}-{detail.plot}"] = bars(
                    f"{benchmark.title}: {detail.says}",
                    values,
                    detail.unit or _words(detail.column) or "count",
                    logarithmic=detail.logarithmic,
                )
    if "scale" in results:
        points = results["scale"]["points"]
        for axis, name in (("features", "features"), ("event_bytes", "bytes of an event")):
            series = _series(points, axis)
            if series:
                plots[f"scale-{axis}"] = lines(
                    f"CPU per event by {name}", series, name, "us per event"
                )
    shares = {
        f"{name} {wanted.key}": value
        for name, benchmark in BENCHMARKS.items()
        for wanted in benchmark.wanted
        if (value := _share(results.get(name, {}), wanted)) is not None
    }
    if shares:
        plots["ratios"] = bars("Reached against wanted", shares, "1: as wanted", logarithmic=True)
    return plots


def _plotted(rows: Mapping[str, Mapping[str, Any]], detail: Detail) -> dict[str, float]:
    chosen = _words(detail.column)
    found: dict[str, float] = {}
    for name, row in rows.items():
        for column, value in row.items():
            if not chosen or column == chosen:
                found[f"{name}, {column}" if column and not chosen else name] = float(value)
    return found


def _share(result: Mapping[str, Any], wanted: Wanted) -> float | None:
    value = number(result, wanted.key)
    if value is None or isinstance(result[wanted.key], bool):
        return None
    if wanted.least:
        return value / wanted.least
    return wanted.most / value if wanted.most and value else None


def _series(points: Sequence[Mapping[str, Any]], axis: str) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if (point["payload"] == 0) == (axis == "features"):
            name = f"{point['service']}, {point['processes']} process"
            name += "es" if point["processes"] > 1 else ""
            series.setdefault(name, []).append((float(point[axis]), float(point["us_per_event"])))
    return {name: sorted(found) for name, found in series.items() if len(found) > 1}


if __name__ == "__main__":
    write(recorded(), ROOT / "docs")
    sys.stderr.write(f"{ROOT / 'docs' / PAGE}\n")

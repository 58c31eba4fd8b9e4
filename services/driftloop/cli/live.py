"""The demo's face: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from driftloop.cli.observer import Seen
from driftloop.cli.printable import printable
from driftloop.kernel.ports import Clock

_BARS = "▁▂▃▄▅▆▇█"
_LINES = 9
_ALERTS = 6
_FEATURES = 10
_PLAIN_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the replay stands."""

    now: int
    """Event time, ms."""
    sent: int
    total: int
    rate: float
    """Events per second over the last seconds."""
    behind_ms: int
    """Event time that the windows are behind the replay."""
    waiting_for: str
    seconds: float


class View(Protocol):
    """Shows progress. A context manager."""

    def note(self, line: str) -> None: ...

    def show(self, progress: Progress, seen: Seen) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class PlainView:
    """A line for everything that happens, and one now and then for the rest."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to take down."""

    def note(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, progress: Progress, seen: Seen) -> None:
        if self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + _PLAIN_EVERY_S
        loss = f", champion's loss {seen.losses[-1]:.3f}" if seen.losses else ""
        wait = f", waits for {progress.waiting_for}" if progress.waiting_for else ""
        self.note(
            f"[{progress.seconds:5.0f} s] {_day(progress.now)}  {progress.sent:,} of "
            f"{progress.total:,} flights, {progress.rate:,.0f}/s, {len(seen.windows)} windows, "
            f"alerts open: {len(seen.open_alerts)}{loss}{wait}"
        )


class LiveView:
    """Redraws a few times a second."""

    def __init__(self, console: Console) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def note(self, line: str) -> None:
        self._lines.append(line)

    def show(self, progress: Progress, seen: Seen) -> None:
        self._live.update(
            Group(
                Panel(_head(progress, seen), title="driftloop: the flights of 2013"),
                Panel(_features(seen), title="drift per feature (PSI by window)"),
                Panel(_alerts(seen), title=f"alerts open: {len(seen.open_alerts)}"),
                Panel(Text("\n".join(self._lines)), title="what happened"),
            )
        )


def spark(values: Sequence[float], top: float | None = None) -> str:
    """A sparkline; ``top`` is the value of a full bar, the largest if not given."""
    highest = max(values, default=0.0) if top is None else top
    if highest <= 0:
        return _BARS[0] * len(values)
    steps = len(_BARS) - 1
    return "".join(_BARS[round(min(max(v / highest, 0.0), 1.0) * steps)] for v in values)


def _head(progress: Progress, seen: Seen) -> Table:
    table = Table.grid(padding=(0, 2))
    deployment = seen.deployment
    champion = 0 if deployment is None else deployment.champion
    shadow = "-" if deployment is None or deployment.shadow < 0 else str(deployment.shadow)
    table.add_row("event time", _day(progress.now), "flights", f"{progress.sent:,}")
    table.add_row("throughput", f"{progress.rate:,.0f}/s", "windows", f"{len(seen.windows):,}")
    table.add_row(
        "windows lag", f"{progress.behind_ms / 86_400_000:.1f} days", "version", str(champion)
    )
    table.add_row("versions", str(len(seen.versions)), "shadow", shadow)
    table.add_row("dead letters", str(len(seen.dead_letters)), "waits for", progress.waiting_for)
    loss = list(seen.losses)
    table.add_row("champion's loss", spark(loss), f"{loss[-1]:.3f}" if loss else "", "")
    table.add_row(
        "replayed", ProgressBar(total=progress.total, completed=progress.sent, width=40), "", ""
    )
    return table


def _features(seen: Seen) -> Table:
    table = Table.grid(padding=(0, 2))
    newest = sorted(seen.drift.items(), key=lambda item: -item[1][-1])
    for name, points in newest[:_FEATURES]:
        table.add_row(name, spark(points, top=2.0), f"{points[-1]:.2f}")
    if not newest:
        table.add_row("no version with a reference profile serves yet")
    return table


def _alerts(seen: Seen) -> Text:
    text = Text()
    for alert in sorted(seen.open_alerts, key=lambda a: -a.at)[:_ALERTS]:
        text.append(f"{alert.severity.value:9}", style=_STYLES[alert.severity.value])
        text.append(f"{alert.kind.value} {printable(alert.subject)}: {alert.evidence.effect_name} ")
        text.append(f"{alert.evidence.effect:.2f} since {_day(alert.onset)}\n")
    return text


_STYLES = {"info": "cyan", "warning": "yellow", "critical": "red"}


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M")

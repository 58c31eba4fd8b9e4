"""Recomputing many windows from the log at once: one pass over each topic partition.

``kernel.verification`` does the same for one window. Here every row is read and decoded once, and
goes to the one window that its event time, version and shadow put it in; what partitions gave is
added up at the end, which loses nothing (sums are exact).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from driftloop.adapters.clock import SystemClock
from driftloop.cli.held_offsets import HeldOffsets
from driftloop.cli.late_rows import Lateness
from driftloop.cli.recomputing import Lane, Pass, Task, Told
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import Log, TopicPartition
from driftloop.kernel.records import Stream, Window
from driftloop.kernel.window_rows import topic_of

_LANES = 8
"""Partitions read side by side; each takes a connection."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What recomputing found. ``windows`` is the sum of the three other counts."""

    windows: int
    verified: int
    """Equal to what the log gives, bit for bit."""
    mismatched: int
    unverifiable: int
    """The log, the model or the version needed is not there any more."""
    mismatches: tuple[str, ...]
    """One line for each window that mismatched."""
    problems: tuple[str, ...]
    """One line for each window that is unverifiable."""
    doubts: tuple[str, ...] = ()
    """One line for each verified window that has another count of late rows than is likely, where
    it does not follow from what was read."""

    @property
    def details(self) -> tuple[str, ...]:
        """One line for each window that was not verified."""
        return (*self.mismatches, *self.problems)

    @property
    def ok(self) -> bool:
        return self.verified == self.windows


def verify_windows(
    log: Log,
    catalog: Catalog,
    windows: Iterable[Window],
    progress: Callable[[str], None] = lambda line: None,
    lateness: Lateness | None = None,
) -> Verification:
    """Recompute windows, of any models, from the offset ranges they name, and compare.

    Of several revisions of a window the newest counts. ``progress`` gets a line now and then. With
    ``lateness``, of the windows' one stream, late rows are counted too. Raises :class:`LogError`
    when the log does not answer.
    """
    (found,) = verify_groups(log, catalog, [windows], progress, lateness)
    return found


def verify_groups(
    log: Log,
    catalog: Catalog,
    groups: Sequence[Iterable[Window]],
    progress: Callable[[str], None] = lambda line: None,
    lateness: Lateness | None = None,
) -> list[Verification]:
    """As :func:`verify_windows` with all of them: the fewer rows are left out, the more is certain.
    No window is in two groups."""
    newest: list[dict[str, Window]] = []
    for group in groups:
        newest.append({})
        for window in group:
            known = newest[-1].get(window.id)
            if known is None or known.revision < window.revision:
                newest[-1][window.id] = window
    windows = [window for group in newest for window in group.values()]
    models = catalog.models
    # No other topics are asked for than the models': a record may name any.
    topics = {topic_of(models[w.model], w.stream) for w in windows if w.model in models}
    held = HeldOffsets.of(log, topics)
    tasks, mismatched, gone = _tasks(held, catalog, windows)
    equal: set[str] = set()
    doubts: dict[str, str] = {}
    passes = _passes(tasks, lateness, held.starts)
    total = sum(lane.total for one in passes for lane in one.lanes)
    told = Told(progress, total, SystemClock())
    for one in passes:
        # A window is done with its last partition; then its statistics need not be kept.
        for task in one.run(log, told):
            id, difference = task.window.id, task.difference()
            if difference:
                mismatched[id] = f"{task.name} does not follow from the log: {difference}"
                continue
            equal.add(id)
            if doubt := task.doubt():
                doubts[id] = f"{task.name}: {doubt}"
    return [_of(group, equal, mismatched, gone, doubts) for group in newest]


def _of(
    windows: Collection[str],
    equal: Set[str],
    mismatched: Mapping[str, str],
    gone: Mapping[str, str],
    doubts: Mapping[str, str],
) -> Verification:
    wrong, problems, unsure = (
        tuple(text for id, text in found.items() if id in windows)
        for found in (mismatched, gone, doubts)
    )
    return Verification(
        windows=len(windows),
        verified=sum(id in equal for id in windows),
        mismatched=len(wrong),
        unverifiable=len(problems),
        mismatches=wrong,
        problems=problems,
        doubts=unsure,
    )


def _tasks(
    held: HeldOffsets, catalog: Catalog, windows: Sequence[Window]
) -> tuple[list[Task], dict[str, str], dict[str, str]]:
    """What can be recomputed; and by the ids of the others what they say that cannot be, or what
    is gone."""
    tasks: list[Task] = []
    mismatched: dict[str, str] = {}
    gone: dict[str, str] = {}
    for window in windows:
        named = f"window {window.id} revision {window.revision}"
        declaration = catalog.models.get(window.model)
        version = catalog.versions.get((window.model, window.version))
        if declaration is None:
            missing = f"model {window.model!r} is not declared any more"
        elif false := held.false(window, topic_of(declaration, window.stream)):
            mismatched[window.id] = f"{named} does not follow from the log: {false}"
            continue
        elif version is None and window.version > 0:
            missing = f"version {window.version} is not on the versions topic"
        else:
            missing = held.gone(window)
        if missing or declaration is None:
            gone[window.id] = f"{named} cannot be recomputed: {missing}"
            continue
        tasks.append(Task(window, declaration, version.profile if version else None))
    return tasks, mismatched, gone


def _passes(
    tasks: Iterable[Task], lateness: Lateness | None, starts: Mapping[TopicPartition, int]
) -> list[Pass]:
    lanes: dict[tuple[str, Stream, TopicPartition], Lane] = {}
    for task in tasks:
        window = task.window
        for source in window.sources:
            at = TopicPartition(source.topic, source.partition)
            key = (window.model, window.stream, at)
            if key not in lanes:
                lanes[key] = Lane(
                    at,
                    window.stream,
                    task.declaration,
                    lateness,
                    from_start=starts.get(at) == 0,
                )
            lanes[key].add(task, source)
    together: dict[tuple[str, Stream, str], list[Lane]] = defaultdict(list)
    for model, stream, at in sorted(lanes):
        together[model, stream, at.topic].append(lanes[model, stream, at])
    return [
        Pass(found[first : first + _LANES])
        for found in together.values()
        for first in range(0, len(found), _LANES)
    ]


def evenly(windows: Sequence[Window], count: int) -> Sequence[Window]:
    """``count`` of the windows, spread over all of them; all for 0."""
    if count <= 0 or count >= len(windows):
        return windows
    return [windows[i * len(windows) // count] for i in range(count)]

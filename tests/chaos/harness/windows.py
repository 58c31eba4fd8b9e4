"""Windows against the rows of their streams: placed, counted and summed here once more, with
nothing of the product's windowing; and recomputed bit for bit by ``driftloop verify``'s code."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from driftloop.cli.verifying import verify_windows
from driftloop.kernel.catalog import Catalog
from driftloop.kernel.ports import Log
from driftloop.kernel.records import NumericStatistics, Stream, Window
from driftloop.kernel.records.windows import window_id
from driftloop.kernel.statistics.exact import exact_sum

from . import model
from .findings import Findings
from .rows import Rows
from .truth import F64, I64

_CLOSE_MS = model.WINDOW_MS + model.LATENESS_MS


def check_windows(
    log: Log,
    catalog: Catalog,
    windows: Sequence[Window],
    streams: dict[Stream, Rows],
    x0: F64,
    found: Findings,
    name: str = model.NAME,
) -> int:
    """How many windows there are of the model ``name``. ``x0`` is the first feature per slot."""
    found.once("window", ((w.id, w.revision) for w in windows))
    by_id: dict[str, list[Window]] = defaultdict(list)
    for window in windows:
        by_id[window.id].append(window)
    for id, revisions in by_id.items():
        if [w.revision for w in revisions] != list(range(len(revisions))):
            found.mismatched(f"revisions of {id}: {[w.revision for w in revisions]}")
        if any(a.rows >= b.rows for a, b in pairwise(revisions)):
            found.mismatched(f"rows of {id} over its revisions: {[w.rows for w in revisions]}")
    final = {id: max(revisions, key=lambda w: w.revision) for id, revisions in by_id.items()}
    expected: set[str] = set()
    for stream, rows in streams.items():
        expected |= _check_stream(name, stream, rows, x0, final, found)
    for id in final.keys() - expected:
        found.mismatched(f"window {id} has no rows")
    verified = verify_windows(log, catalog, windows)
    for detail in verified.details:
        found.mismatched(detail)
    return len(final)


def _check_stream(
    name: str, stream: Stream, rows: Rows, x0: F64, final: dict[str, Window], found: Findings
) -> set[str]:
    """Ids of all windows that have rows."""
    start = rows.time // model.WINDOW_MS * model.WINDOW_MS
    late, too_late, reached = _watermarks(rows, start)
    shadow = rows.shadow if stream is Stream.OUTCOMES else np.full(len(rows), -1)
    chosen = np.flatnonzero(~too_late)
    order = chosen[np.lexsort((shadow[chosen], rows.version[chosen], start[chosen]))]
    keys = np.column_stack([start[order], rows.version[order], shadow[order]])
    cuts = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    ids = set()
    for group in np.split(order, cuts):
        first = group[0]
        at, version, other = int(start[first]), int(rows.version[first]), int(shadow[first])
        id = window_id(name, stream, at, version, other)
        ids.add(id)
        window = final.get(id)
        if window is not None:
            _check_window(window, rows, group, late, x0, found)
        elif at + _CLOSE_MS <= reached:
            found.lost(f"window {id} with {len(group)} rows")
    return ids


def _watermarks(rows: Rows, start: I64) -> tuple[I64, I64, int]:
    """Which rows are late, which too late for any window, by the rows before them in their
    partition; and the time that every partition has reached."""
    late = np.zeros(len(rows), bool)
    too_late = np.zeros(len(rows), bool)
    reached = []
    for number in range(model.PARTITIONS):
        mine = np.flatnonzero(rows.partition == number)
        highest = np.maximum.accumulate(rows.time[mine])
        before = np.concatenate(([-(1 << 62)], highest[:-1]))
        late[mine] = start[mine] + _CLOSE_MS <= before
        too_late[mine] = start[mine] + _CLOSE_MS + model.RETENTION_MS <= before
        reached.append(int(highest[-1]))
    return late, too_late, min(reached)


def _check_window(
    window: Window, rows: Rows, group: I64, late: I64, x0: F64, found: Findings
) -> None:
    name = f"window {window.id} revision {window.revision}"
    if window.rows != len(group):
        found.mismatched(f"{name} has {window.rows} rows, the log {len(group)}")
        return
    if window.late != int(late[group].sum()):
        found.mismatched(f"{name} has {window.late} late rows, the log {int(late[group].sum())}")
    sources = []
    for number in np.unique(rows.partition[group]).tolist():
        offsets = rows.offset[group][rows.partition[group] == number]
        sources.append((number, int(offsets.min()), int(offsets.max()) + 1))
    if [(s.partition, s.start, s.end) for s in window.sources] != sources:
        found.mismatched(f"{name} names {window.sources}, its rows lie in {sources}")
    first: NumericStatistics = window.statistics.numeric[0]
    values = x0[rows.slot[group]]
    same = (first.count, first.missing, first.minimum, first.maximum, exact_sum(first.sum)) == (
        len(group), 0, values.min(), values.max(), math.fsum(values.tolist()),
    )  # fmt: skip
    if not same:
        found.mismatched(f"{name}: statistics of x0 are not those of its rows")

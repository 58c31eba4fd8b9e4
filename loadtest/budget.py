"""``python -m loadtest.budget``: the figures of docs/choosing-a-budget.md, as a table.

Twenty numeric features, a reference of 10,000 rows, and one change after 10,000 rows: how soon it
is found under several budgets and sizes of windows, and what a drift that comes slowly does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from driftloop.drift.streams import watched_streams
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.declaration import AlertPolicy
from driftloop.kernel.records import LossBaseline, Profile, Stream
from loadtest.categories import SEED
from loadtest.drifting import (
    SCORE,
    SECOND,
    Watching,
    outcome_windows,
    policy,
    prediction_windows,
    profile_of,
)
from loadtest.levels import MIXED_LEVELS, MIXTURES, mixture
from loadtest.trained import few_labels, few_windows

_REFERENCE = 10_000
_CHANGE = 10_000
_AFTER = 20_000
_SLOW = 200_000
_FEATURES = 20
_STREAMS = 20
_TRAINED = (10, 20, 40, 200, 400)
_HELD_OUT = (2, 20, 40, 400)
_SERVED = (0, 1_000, 5_000, 20_000)
"""Rows that such a version has served before a change."""


def main() -> None:
    print(f"thresholds, {_FEATURES} features: rows for one false alert of a stream")
    rng = np.random.default_rng(0)
    profile = profile_of(rng.normal(size=(_REFERENCE, _FEATURES)))
    for budget in (0.1, 1.0, 10.0):
        for kind, share, log_threshold in _thresholds(profile, budget):
            rows = np.exp(log_threshold)
            print(f"  budget {budget:g}: {kind}, share {100 * share:.2f}%: {rows:,.0f}")
    print(f"rows until a shift of one feature is found, mean of {_STREAMS} (missed)")
    for budget, window in ((0.1, 50), (1.0, 50), (10.0, 50), (1.0, 1000)):
        shown = [f"{sigma} sd: {_shift(sigma, budget, window)}" for sigma in (0.25, 0.5, 1.0)]
        print(f"  budget {budget:g}, windows of {window}: {'; '.join(shown)}")
    print(f"labels until a higher error rate is found, mean of {_STREAMS} (missed)")
    for budget, window in ((0.1, 50), (1.0, 50), (10.0, 50), (1.0, 1000)):
        shown = [f".20 to {rate}: {_errors(rate, budget, window)}" for rate in (0.25, 0.30, 0.40)]
        print(f"  budget {budget:g}, windows of {window}: {'; '.join(shown)}")
    print(f"a shift of 1 sd that comes within so many rows, budget 1, windows of 50, {_STREAMS}")
    for length in (10_000, 50_000, _SLOW):
        print(f"  {length:,} rows: found after {_slow(length)} rows")
    print("rows until a shift is found, the reference the first windows of 50 rows, budget 1")
    for windows in (14, 30, 60, 120, 400):
        for wait in (0, 5000):
            shown = [f"{sigma} sd: {_first_weeks(windows, sigma, wait)}" for sigma in (0.5, 1.0)]
            print(f"  {windows} windows, {wait:,} rows after them: {'; '.join(shown)}", flush=True)
    print(
        "rows until a shift is found by a version trained on so many windows of 50 rows, budget 1"
    )
    for windows in _TRAINED:
        for wait in _SERVED:
            shown = [f"{sigma} sd: {_trained(windows, sigma, wait)}" for sigma in (0.5, 1.0)]
            print(f"  {windows} windows, {wait:,} rows served: {'; '.join(shown)}", flush=True)
    print("labels until a higher error rate is found, held out so many windows of 50, budget 1")
    for windows in _HELD_OUT:
        for wait in _SERVED[1:]:
            shown = [f".20 to {rate}: {_held_out(windows, rate, wait)}" for rate in (0.3, 0.4)]
            print(f"  {windows} windows, {wait:,} labels served: {'; '.join(shown)}", flush=True)
    print(f"labels until a mean loss of .40 that rises by .04 is found, budget 1, of {_STREAMS}")
    print(f"  every row loses .04 more: {_losses(0.04, 0.0)}")
    print(f"  one row in a hundred loses 4.5: {_losses(0.0, 0.01)}")
    print(f"rows until the mixture of even levels is found to be another, budget 1, of {_STREAMS}")
    for levels in MIXED_LEVELS:
        shown = [f"{how}: {_mixture(levels, how)}" for how in MIXTURES]
        print(f"  {levels} levels, {'; '.join(shown)}", flush=True)
    print("alerts per 100,000 rows without a change, rows in clumps of 5, floors of 0")
    for dispersion in (1.0, 5.0):
        print(f"  taken with a dispersion of {dispersion:g}: {_clumps(dispersion):.2f}")


def _first_weeks(windows: int, sigma: float, wait: int) -> str:
    """Where the first windows of 50 rows are the reference, and a change comes ``wait`` rows after
    them."""
    change = windows * 50 + wait
    wanted = replace(policy(1.0), reference="first_weeks", reference_period=windows * 50 * SECOND)
    streams = _shifted(6, change, sigma)
    return _summary([_delay(profile, rows, wanted, 50, change) for profile, rows in streams])


def _trained(windows: int, sigma: float, wait: int) -> str:
    """Where so many windows of independent rows were trained on, and a change comes when ``wait``
    rows have been served."""
    delays = []
    for index in range(_STREAMS):
        rng = np.random.default_rng([7, index])
        profile = few_windows(rng.normal(size=(windows * 50, _FEATURES)), 50)
        rows = rng.normal(size=(wait + _AFTER, _FEATURES))
        rows[wait:, 0] += sigma
        delays.append(_delay(profile, rows, policy(1.0), 50, wait))
    return _summary(delays)


def _held_out(windows: int, rate: float, wait: int) -> str:
    """The same of labels, where so many windows of losses were held out."""
    delays = []
    for index in range(_STREAMS):
        rng = np.random.default_rng([8, index])
        profile = few_labels((rng.random(windows * 50) < 0.2).astype(np.int64), 50)
        rates = np.where(np.arange(wait + _AFTER) < wait, 0.2, rate)
        delays.append(_label_delay(profile, rng.random(len(rates)) < rates, 50, wait))
    return _summary(delays)


def _label_delay(
    profile: Profile, errors: npt.NDArray[np.bool_], window: int, change: int, budget: float = 1.0
) -> float:
    """Labels from the change to an alert; NaN without one."""
    wrong = errors.reshape(-1, window).sum(axis=1)
    watching = Watching(profile, Stream.OUTCOMES, policy(budget))
    for each in outcome_windows(np.stack([window - wrong, wrong], axis=1), wrong, window):
        for alarm in watching.take(each):
            if alarm.rows > change:
                return alarm.rows - change
    return float("nan")


def _shifted(seed: int, change: int, sigma: float) -> Iterator[tuple[Profile, F64]]:
    """A reference and the rows after it, of which one feature is shifted from ``change`` on."""
    for index in range(_STREAMS):
        rng = np.random.default_rng([seed, index])
        profile = profile_of(rng.normal(size=(_REFERENCE, _FEATURES)))
        rows = rng.normal(size=(change + _AFTER, _FEATURES))
        rows[change:, 0] += sigma
        yield profile, rows


def _thresholds(profile: Profile, budget: float) -> Iterator[tuple[str, float, float]]:
    """Kind, share of the budget and log threshold: one stream of each kind."""
    whole = Profile(profile.rows, profile.numeric, (), _baseline(2000))
    for stream in Stream:
        found = watched_streams(whole, stream, policy(budget))
        seen = set()
        for watched in (*found.two_sided, *found.upper, *found.still):
            if watched.kind not in seen:
                seen.add(watched.kind)
                yield watched.kind.value, watched.share, watched.threshold


def _baseline(errors: int) -> LossBaseline:
    """Of losses that are errors."""
    rows = _REFERENCE
    counts = (rows - errors, errors)
    return LossBaseline(
        rows, errors / rows, 1.0, 1.0, (0.5,), counts, (0.0, 1.0), errors,
        score_errors=(errors,), score_losses=(float(errors),),
    )  # fmt: skip


def _shift(sigma: float, budget: float, window: int) -> str:
    streams = _shifted(1, _CHANGE, sigma)
    return _summary([_delay(profile, rows, policy(budget), window) for profile, rows in streams])


def _delay(
    profile: Profile, rows: F64, wanted: AlertPolicy, window: int, change: int = _CHANGE
) -> float:
    """Rows from the change to an alert; NaN without one."""
    watching = Watching(profile, Stream.PREDICTIONS, wanted)
    for each in prediction_windows(profile, rows, window):
        for alarm in watching.take(each):
            if alarm.rows > change:
                return alarm.rows - change
    return float("nan")


def _errors(rate: float, budget: float, window: int) -> str:
    delays = []
    for index in range(_STREAMS):
        rng = np.random.default_rng([2, index])
        baseline = _baseline(int(rng.binomial(_REFERENCE, 0.2)))
        profile = Profile(_REFERENCE, (SCORE,), (), baseline)
        rates = np.where(np.arange(_CHANGE + _AFTER) < _CHANGE, 0.2, rate)
        errors = rng.random(len(rates)) < rates
        delays.append(_label_delay(profile, errors, window, _CHANGE, budget))
    return _summary(delays)


def _slow(length: int) -> str:
    delays = []
    for index in range(_STREAMS):
        rng = np.random.default_rng([3, index])
        profile = profile_of(rng.normal(size=(_REFERENCE, 1)))
        rows = rng.normal(size=(_CHANGE + length + _AFTER, 1))
        rows[:, 0] += np.clip((np.arange(len(rows)) - _CHANGE) / length, 0.0, 1.0)
        delays.append(_delay(profile, rows, policy(1.0), 50))
    return _summary(delays)


def _clumps(dispersion: float) -> float:
    alarms, rows = 0, 0
    for index in range(_STREAMS):
        rng = np.random.default_rng([4, index])
        profile = profile_of(rng.normal(size=(_REFERENCE, 1)), dispersions=[dispersion])
        values = np.repeat(rng.normal(size=(100_000 // 5, 1)), 5, axis=0)
        none = {"psi_floor": 0.0, "shift_floor": 0.0}
        watching = Watching(profile, Stream.PREDICTIONS, policy(1.0, **none))
        alarms += sum(len(watching.take(w)) for w in prediction_windows(profile, values, 50))
        rows += len(values)
    return alarms / rows * 100_000


def _losses(shift: float, rare: float) -> str:
    """Exponential losses of mean .4; then ``shift`` more in each row, or a loss of 4.5 in a share
    ``rare`` of them."""
    edges = np.quantile(np.random.default_rng(0).exponential(0.4, 100_000), np.arange(1, 16) / 16)
    delays = []
    for index in range(_STREAMS):
        rng = np.random.default_rng([5, index])
        reference = rng.exponential(0.4, _REFERENCE)
        counts = np.bincount(np.searchsorted(edges, reference), minlength=16)
        at = np.searchsorted(edges, reference)
        means = tuple(float(reference[at == i].mean()) for i in range(16))
        baseline = LossBaseline(
            _REFERENCE, float(reference.mean()), 1.0, 4.6, tuple(edges.tolist()),
            tuple(counts.tolist()), means,
        )  # fmt: skip
        losses = rng.exponential(0.4, _CHANGE + _AFTER)
        losses[_CHANGE:] += shift
        changed = np.arange(len(losses)) >= _CHANGE
        losses[changed & (rng.random(len(losses)) < rare)] = 4.5
        bins = np.searchsorted(edges, losses).reshape(-1, 50)
        windows = np.stack([np.bincount(row, minlength=16) for row in bins])
        watching = Watching(Profile(_REFERENCE, (SCORE,), (), baseline), Stream.OUTCOMES, policy(1))
        found = [
            alarm.rows - _CHANGE
            for each in outcome_windows(windows, np.zeros(len(windows), dtype=np.int64), 50)
            for alarm in watching.take(each)
            if alarm.rows > _CHANGE
        ]
        delays.append(float(found[0]) if found else float("nan"))
    return _summary(delays)


def _mixture(levels: int, how: str) -> str:
    found = [mixture(levels, how, SEED, index) for index in range(_STREAMS)]
    return _summary([float("nan") if delay is None else float(delay) for delay in found])


def _summary(delays: list[float]) -> str:
    found = [delay for delay in delays if delay == delay]
    mean = f"{np.mean(found):,.0f}" if found else "-"
    return f"{mean} ({len(delays) - len(found)})"


if __name__ == "__main__":
    sys.exit(main())

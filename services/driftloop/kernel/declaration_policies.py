"""The part of a declaration that says how a model is watched, trained and promoted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from driftloop.kernel.declaration import (
    BUDGET_SHARES,
    REFERENCES,
    AlertPolicy,
    CandidatePolicy,
    HttpPolicy,
    PromotionPolicy,
    Task,
    TrainingPolicy,
    WindowPolicy,
)
from driftloop.kernel.declaration_reader import Problems, Section
from driftloop.kernel.declaration_wording import one_of, shown
from driftloop.kernel.records import AlertKind
from driftloop.kernel.seasons import SEASONS
from driftloop.kernel.statistics.losses import LOSS_BOUND

CandidateCheck = Callable[[str, Mapping[str, float]], list[str]]
"""What is wrong with a trainer's name and parameters, as ``models.parameters.check_parameters``
tells: the kernel knows no trainers."""

LOSS_FLOOR = 0.02
"""nats; of a regression, the same part of the largest loss."""
_OF_CLASSES = ({"trainer": "river_logistic"}, {"trainer": "lightgbm"})
_OF_NUMBERS = (
    {"trainer": "river_logistic", "learning_rate": 0.003},
    {"trainer": "lightgbm", "median": 1},
)
DEFAULT_CANDIDATES: Mapping[Task, Sequence[Mapping[str, Any]]] = MappingProxyType(
    {Task.BINARY: _OF_CLASSES, Task.MULTICLASS: _OF_CLASSES, Task.REGRESSION: _OF_NUMBERS}
)
"""A linear model and boosted trees. Steps of a regression grow with its labels, so its rate is
smaller; and it is judged by absolute error, which the median makes least."""


class PolicyParser:
    """Each method reads one table."""

    def __init__(self, problems: Problems, check_candidate: CandidateCheck) -> None:
        self._problems = problems
        self._check_candidate = check_candidate

    def windows(self, section: Section) -> WindowPolicy:
        windows = WindowPolicy(
            size=section.duration("size", "1h", least="1s"),
            lateness=section.duration("lateness", "10m", least="0s"),
            retention=section.duration("retention", "7d", least="0s"),
        )
        section.finish()
        return windows

    def alerts(
        self, section: Section, windows: WindowPolicy, levels: Sequence[str], bound: float
    ) -> AlertPolicy:
        """``levels``: names of the categorical features; ``bound``: the largest loss of a row."""
        alerts = AlertPolicy(
            false_alarms_per_100k=section.number("false_alarms_per_100k", 1.0, above=0.0, most=1e4),
            psi_floor=section.number("psi_floor", 0.1, above=0.0),
            loss_floor=section.number(
                "loss_floor", LOSS_FLOOR * bound / LOSS_BOUND, above=0.0, below=bound
            ),
            missing_floor=section.number("missing_floor", 0.05, above=0.0, below=1.0),
            stale_after=section.duration("stale_after", "10m", least="1s"),
            shift_floor=section.number("shift_floor", 0.2, above=0.0),
            error_floor=section.number("error_floor", 0.02, above=0.0, below=1.0),
            unseen_floor=section.number("unseen_floor", 0.005, above=0.0, below=1.0),
            outside_floor=section.number("outside_floor", 0.005, above=0.0, below=1.0),
            shares=self._shares(section),
            reference=section.choice("reference", REFERENCES, REFERENCES[0]),
            reference_period=section.duration("reference_period", "14d", least="1s"),
            season=section.choices("season", list(SEASONS), []),
            segment=section.text("segment", ""),
        )
        section.finish()
        for season in alerts.season:
            if "season" not in section.failed and SEASONS[season] % windows.size:
                section.problem(
                    "season",
                    f"season in [alerts]: windows of {windows.size / 60_000:g} min do not fit into "
                    f"a slot of {season}; make size in [windows] a part of "
                    f"{SEASONS[season] / 3_600_000:g} h",
                )
        if alerts.segment and "segment" not in section.failed and alerts.segment not in levels:
            section.problem(
                "segment",
                f"segment in [alerts]: {shown(alerts.segment)} is no categorical feature; "
                + one_of(alerts.segment, levels)
                if levels
                else f"segment in [alerts]: there is no categorical feature {alerts.segment!r}",
            )
        return alerts

    def _shares(self, alerts: Section) -> Mapping[str, float]:
        """In parts of 1."""
        alerts.expect(["shares"])
        values = alerts.values.get("shares", {})
        title = "[alerts.shares]"
        if not isinstance(values, Mapping):
            alerts.problem("shares", f"shares in [alerts] is a table; write it as {title}")
            values = {}
        there = "shares" in alerts.values
        section = Section(self._problems, ("alerts", "shares"), values, title, there=there)
        shares = {
            key: section.number(key, usual, least=0.0, most=1e6)
            for key, usual in BUDGET_SHARES.items()
        }
        section.finish()
        total = sum(shares.values())
        if total <= 0.0:
            alerts.problem("shares", f"{title}: nothing is watched; leave something above 0")
            return BUDGET_SHARES
        return MappingProxyType({key: share / total for key, share in shares.items()})

    def training(self, section: Section, task: Task) -> TrainingPolicy:
        # Another version trained would leave the one that cannot be loaded as it is.
        kinds = [kind.value for kind in AlertKind if kind is not AlertKind.NOT_LOADED]
        candidates = self._candidates(section, task)
        training = TrainingPolicy(
            candidates=candidates,
            minimum_labels=section.whole("minimum_labels", 1000, least=10, most=10**12),
            schedule=section.duration("schedule", "30d", least="1s", words={"never": 0}),
            cooldown=section.duration("cooldown", "1d", least="0s"),
            history=section.duration("history", "90d", least="1s", words={"all": 0}),
            on_alerts=section.choices("on_alerts", kinds, [AlertKind.CONCEPT_DRIFT.value]),
            evaluation_share=section.number("evaluation_share", 0.2, above=0.0, most=0.5),
            time_limit=section.duration("time_limit", "10m", least="1s") / 1000,
            memory_limit=section.size("memory_limit", "4GiB", least="256MiB"),
            seed=section.whole("seed", 1, least=0, most=2**31 - 1),
        )
        section.finish()
        if not {"schedule", "cooldown"} & section.failed and (
            0 < training.schedule < training.cooldown
        ):
            section.problem(
                "schedule",
                "schedule in [training] is shorter than cooldown, which would hold its runs back; "
                "make cooldown at most as long as schedule",
            )
        return training

    def _candidates(self, training: Section, task: Task) -> tuple[CandidatePolicy, ...]:
        training.expect(["candidates"])
        entries = training.values.get("candidates", list(DEFAULT_CANDIDATES[task]))
        if not isinstance(entries, list) or not entries:
            training.problem(
                "candidates",
                "candidates in [training]: there must be at least one; write each as "
                '[[training.candidates]] with trainer = "lightgbm"',
            )
            return ()
        candidates: list[CandidatePolicy] = []
        for index, entry in enumerate(entries):
            candidate = self._candidate(training, index, entry)
            if candidate is None:
                continue
            if candidate in candidates:
                self._problems.add(
                    ("training", "candidates", index),
                    f"this candidate is number {candidates.index(candidate) + 1} again",
                )
            candidates.append(candidate)
        return tuple(candidates)

    def _candidate(self, training: Section, index: int, entry: Any) -> CandidatePolicy | None:
        path = (*training.path, "candidates", index)
        title = "[[training.candidates]]"
        if not isinstance(entry, Mapping):
            self._problems.add(path, f"a candidate is a table; write it as {title}")
            return None
        section = Section(self._problems, path, entry, title, there=True)
        trainer = section.text("trainer")
        names = [key for key in entry if key != "trainer"]
        parameters = {name: section.parameter(name) for name in names}
        section.finish()
        if section.failed:
            return None
        for message in self._check_candidate(trainer, parameters):
            words = re.findall(r"\w+", message)
            about = min((n for n in names if n in words), key=words.index, default="trainer")
            section.problem(about, f"{title}: {message}")
        return CandidatePolicy(trainer, parameters)

    def promotion(self, section: Section) -> PromotionPolicy:
        promotion = PromotionPolicy(
            error_rate=section.number("error_rate", 0.05, above=0.0, most=0.5),
            maximum_rows=section.whole("maximum_rows", 20_000, least=100, most=10**12),
            guard_rows=section.whole("guard_rows", 5_000, least=0, most=10**12),
        )
        section.finish()
        return promotion

    def http(self, section: Section) -> HttpPolicy:
        policy = HttpPolicy(strict=section.flag("strict", False))
        section.finish()
        return policy

"""The part of a declaration that says how a model is watched, trained and promoted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from driftloop.kernel.declaration import (
    AlertPolicy,
    CandidatePolicy,
    HttpPolicy,
    PromotionPolicy,
    TrainingPolicy,
    WindowPolicy,
)
from driftloop.kernel.declaration_reader import Problems, Section
from driftloop.kernel.records import AlertKind
from driftloop.kernel.statistics.losses import LOSS_BOUND

CandidateCheck = Callable[[str, Mapping[str, float]], list[str]]
"""What is wrong with a trainer's name and parameters, as ``models.parameters.check_parameters``
tells: the kernel knows no trainers."""

DEFAULT_CANDIDATES = ("river_logistic", "lightgbm")


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

    def alerts(self, section: Section) -> AlertPolicy:
        alerts = AlertPolicy(
            false_alarms_per_100k=section.number("false_alarms_per_100k", 1.0, above=0.0, most=1e4),
            psi_floor=section.number("psi_floor", 0.1, least=0.0),
            loss_floor=section.number("loss_floor", 0.02, least=0.0, below=LOSS_BOUND),
            missing_floor=section.number("missing_floor", 0.05, least=0.0, below=1.0),
            stale_after=section.duration("stale_after", "10m", least="1s"),
        )
        section.finish()
        return alerts

    def training(self, section: Section) -> TrainingPolicy:
        # Another version trained would leave the one that cannot be loaded as it is.
        kinds = [kind.value for kind in AlertKind if kind is not AlertKind.NOT_LOADED]
        candidates = self._candidates(section)
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

    def _candidates(self, training: Section) -> tuple[CandidatePolicy, ...]:
        training.expect(["candidates"])
        usual = [{"trainer": trainer} for trainer in DEFAULT_CANDIDATES]
        entries = training.values.get("candidates", usual)
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

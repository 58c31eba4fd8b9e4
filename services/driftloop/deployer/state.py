"""The state machine of one model's deployment.

::

    (nothing) --version--> SHADOW --better--> GUARD --guard_rows--> STEADY
                             |  ^               |                      |
                 worse,      |  +----version----+-------version--------+
                 undecided   v                  | old champion better
                           STEADY <-------------+ (rolled back)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.deployer.paired import PairedTest
from driftloop.kernel.codec.mapping import from_plain, to_plain
from driftloop.kernel.declaration import PromotionPolicy
from driftloop.kernel.records import Command, CommandAction, Deployment, Stage, Version, Window

_REMEMBERED = 64
"""Champions before this one, and commands followed, that are kept."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that cannot be followed, and why."""

    why: str


@dataclass(slots=True)
class ModelDeployment:
    """One model's deployment, its running test, and what must not be done twice."""

    model: str
    deployment: Deployment | None = None
    newest: int = 0
    """The highest version published so far."""
    before: list[int] = field(default_factory=list)
    """Champions before the present one, oldest first: where a roll back goes."""
    test: PairedTest = field(default_factory=PairedTest)
    event_time: int = 0
    """Highest end of a window or time of a version seen."""
    commands: list[str] = field(default_factory=list)
    """Ids of commands dealt with, newest last."""

    def on_version(self, version: Version) -> Deployment | None:
        """A newer version becomes the shadow, whatever is under way: a candidate under test is
        superseded, a guard ends. One that is no newer was dealt with before."""
        if version.version <= self.newest:
            return None
        self.newest = version.version
        self.event_time = max(self.event_time, version.created_at)
        current = self.deployment
        champion = current.champion if current is not None else 0
        if current is not None and current.stage is Stage.SHADOW:
            reason, subject = "superseded", current.shadow
        else:
            reason, subject = "candidate", version.version
        return self._move(
            Stage.SHADOW, champion, version.version, reason, subject, at=version.created_at
        )

    def on_window(self, window: Window, policy: PromotionPolicy) -> Deployment | None:
        """An outcome window. Raises :class:`DecodeError`, and then changes no test."""
        current = self.deployment
        if current is None or current.stage is Stage.STEADY or window.statistics.loss is None:
            return None
        paired = window.statistics.loss.paired
        if paired is None or (window.version, window.shadow) != (current.champion, current.shadow):
            return None
        self.test.add(window, paired)
        threshold = -math.log(policy.error_rate)
        if current.stage is Stage.SHADOW:
            return self._judge_candidate(current, policy, threshold, window.end)
        return self._judge_guard(current, policy, threshold, window.end)

    def on_command(self, command: Command, policy: PromotionPolicy) -> Deployment | Refusal | None:
        """What a person asked for; a command seen before does nothing. A person's promotion is
        guarded like any other."""
        if command.id in self.commands:
            return None
        self.commands = [*self.commands, command.id][-_REMEMBERED:]
        current = self.deployment
        if current is None:
            return Refusal(f"model {self.model!r} has no trained version yet")
        if command.action is CommandAction.PROMOTE:
            return self._promote_by_command(current, command, policy)
        if command.action is CommandAction.REJECT:
            if current.stage is not Stage.SHADOW or command.version not in (-1, current.shadow):
                return Refusal(f"version {command.version} is no candidate, so cannot be rejected")
            return self._move(
                Stage.STEADY, current.champion, -1, "rejected", current.shadow, tested=True
            )
        if command.action is CommandAction.ROLL_BACK:
            if not self.before:
                return Refusal(f"there is no champion before version {current.champion}")
            return self._roll_back(current, self.event_time, 0.0, 0.0)
        return Refusal(f"the deployer does not know {command.action!r}")

    def to_plain(self) -> dict[str, Any]:
        return {
            "deployment": to_plain(self.deployment),
            "newest": self.newest,
            "before": self.before,
            "test": self.test.to_plain(),
            "event_time": self.event_time,
            "commands": self.commands,
        }

    @classmethod
    def from_plain(cls, model: str, plain: Mapping[str, Any]) -> ModelDeployment:
        deployment = plain["deployment"]
        return cls(
            model,
            deployment=None if deployment is None else from_plain(Deployment, deployment),
            newest=plain["newest"],
            before=plain["before"],
            test=PairedTest.from_plain(plain["test"]),
            event_time=plain["event_time"],
            commands=plain["commands"],
        )

    def _judge_candidate(
        self, current: Deployment, policy: PromotionPolicy, threshold: float, at: int
    ) -> Deployment | None:
        better, worse = self.test.log_better, self.test.log_worse
        if better >= threshold:
            return self._promote(current, current.shadow, policy, at, better, threshold)
        champion, shadow = current.champion, current.shadow
        if worse >= threshold:
            return self._move(
                Stage.STEADY, champion, -1, "rejected", shadow, at, worse, threshold, tested=True
            )
        if self.test.rows >= policy.maximum_rows:
            return self._move(
                Stage.STEADY, champion, -1, "undecided", shadow, at, better, threshold, tested=True
            )
        return None

    def _judge_guard(
        self, current: Deployment, policy: PromotionPolicy, threshold: float, at: int
    ) -> Deployment | None:
        old_better = self.test.log_better
        if old_better >= threshold:
            return self._roll_back(current, at, old_better, threshold)
        if self.test.rows >= policy.guard_rows:
            champion = current.champion
            return self._move(
                Stage.STEADY,
                champion,
                -1,
                "guarded",
                champion,
                at,
                old_better,
                threshold,
                tested=True,
            )
        return None

    def _promote_by_command(
        self, current: Deployment, command: Command, policy: PromotionPolicy
    ) -> Deployment | Refusal:
        if not 0 <= command.version <= self.newest:
            return Refusal(f"version {command.version} is not published; newest is {self.newest}")
        if command.version == current.champion:
            return Refusal(f"version {command.version} is the champion already")
        return self._promote(current, command.version, policy, self.event_time, 0.0, 0.0)

    def _promote(
        self,
        current: Deployment,
        version: int,
        policy: PromotionPolicy,
        at: int,
        e_value: float,
        threshold: float,
    ) -> Deployment:
        old = current.champion
        self.before = [*self.before, old][-_REMEMBERED:]
        # Version 0 is a constant: nothing to come back to, so nothing to guard against.
        guard = policy.guard_rows > 0 and old != 0
        stage, shadow = (Stage.GUARD, old) if guard else (Stage.STEADY, -1)
        return self._move(
            stage, version, shadow, "promoted", version, at, e_value, threshold, tested=True
        )

    def _roll_back(
        self, current: Deployment, at: int, e_value: float, threshold: float
    ) -> Deployment:
        champion = self.before.pop()
        return self._move(
            Stage.STEADY,
            champion,
            -1,
            "rolled_back",
            current.champion,
            at,
            e_value,
            threshold,
            tested=True,
        )

    def _move(
        self,
        stage: Stage,
        champion: int,
        shadow: int,
        reason: str,
        subject: int,
        at: int | None = None,
        e_value: float = 0.0,
        threshold: float = 0.0,
        *,
        tested: bool = False,
    ) -> Deployment:
        """The next deployment; the test starts anew. ``tested``: name what the test saw."""
        current = self.deployment
        self.deployment = Deployment(
            model=self.model,
            sequence=1 if current is None else current.sequence + 1,
            stage=stage,
            champion=champion,
            shadow=shadow,
            at=self.event_time if at is None else at,
            reason=reason,
            subject=subject,
            e_value=e_value,
            threshold=threshold,
            rows=self.test.rows if tested else 0,
            windows=tuple(self.test.windows) if tested else (),
        )
        self.test = PairedTest()
        return self.deployment

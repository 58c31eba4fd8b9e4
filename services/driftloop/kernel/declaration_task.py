"""The part of a declaration that says what is predicted: the task, its classes or its bound, and
what is answered before anything was learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from driftloop.kernel.declaration import Task
from driftloop.kernel.declaration_reader import Section

LEAST_CLASSES, MOST_CLASSES = 2, 100
"""Each class has a score in every prediction."""


@dataclass(frozen=True, slots=True)
class TaskFields:
    """Fields of ``Declaration``."""

    task: Task
    classes: tuple[str, ...]
    error_bound: float
    prior: float | tuple[float, ...]


def read_task(model: Section) -> TaskFields:
    """From ``[model]``."""
    task = Task(model.choice("task", [task.value for task in Task], Task.BINARY.value))
    classes = _classes(model, task)
    return TaskFields(task, classes, _error_bound(model, task), _prior(model, task, classes))


def _classes(model: Section, task: Task) -> tuple[str, ...]:
    model.expect(["classes"])
    if _unwanted(model, "classes", task, Task.MULTICLASS):
        return ()
    if task is Task.MULTICLASS and not model.has("classes"):
        _needed(
            model,
            "classes",
            f"classes in [model]: a multiclass model names its {LEAST_CLASSES} to {MOST_CLASSES} "
            'classes; write them as classes = ["NAME", "NAME"], a label is the place of one, '
            "from 0",
        )
    return model.texts("classes", (), least=LEAST_CLASSES, most=MOST_CLASSES)


def _error_bound(model: Section, task: Task) -> float:
    model.expect(["error_bound"])
    if _unwanted(model, "error_bound", task, Task.REGRESSION):
        return 0.0
    if task is Task.REGRESSION and not model.has("error_bound"):
        _needed(
            model,
            "error_bound",
            "error_bound in [model]: a regression needs the error, in the label's unit, from which "
            "on a row counts as no worse; write it as error_bound = NUMBER",
        )
    return model.number("error_bound", 0.0, above=0.0)


def _prior(model: Section, task: Task, classes: tuple[str, ...]) -> float | tuple[float, ...]:
    match task:
        case Task.BINARY:
            return model.number("prior", 0.5, above=0.0, below=1.0)
        case Task.REGRESSION:
            return model.number("prior", 0.0)
        case Task.MULTICLASS:
            uniform = (1.0 / max(1, len(classes)),) * len(classes)
            shares = model.numbers("prior", uniform)
            if "prior" in model.failed or "classes" in model.failed:
                return uniform
            if (
                len(shares) != len(classes)
                or min(shares) <= 0.0
                or not math.isclose(math.fsum(shares), 1.0, abs_tol=0.02)
            ):
                model.problem(
                    "prior",
                    "prior in [model]: a multiclass model answers first with the probability of "
                    f"each of its {len(classes)} classes, in their order, each above 0 and 1 in "
                    "sum",
                )
                return uniform
            # Thirds written with two digits are fine.
            return tuple(share / math.fsum(shares) for share in shares)


def _needed(model: Section, key: str, message: str) -> None:
    """A key that the task needs is not there; the task's line says so."""
    model.failed.add(key)
    model.problems.add((*model.path, "task"), message)


def _unwanted(model: Section, key: str, task: Task, owner: Task) -> bool:
    """Whether a key of another task is there; the problem is noted."""
    if task is owner or not model.has(key) or "task" in model.failed:
        return False
    model.problem(
        key,
        f'{model.name(key)}: only a {owner} model has it; leave it out, or set task = "{owner}"',
    )
    return True

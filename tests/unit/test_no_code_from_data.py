"""What no import contract can say: no code from data, no clock in a core, no fixed sleep, and no
name of a metric or topic outside its registry. Read from the syntax tree of every source file."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from driftloop.kernel.topics import ControlTopics, ModelTopics

ROOT = Path(__file__).resolve().parents[2]
Finding = tuple[int, str]
Check = Callable[[ast.AST], Iterator[Finding]]

SERIALIZERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
BY_NAME = {"import_module", "__import__", "run_module", "run_path", "spec_from_file_location"}
CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
METRIC = re.compile(r"\bdriftloop_[a-z]")
CONTROL_TOPICS = {spec.name for spec in ControlTopics().specs()}
CONTROL_ENDS = {name.removeprefix(ControlTopics().prefix) for name in CONTROL_TOPICS}
MODEL_ENDS = {spec.name.removeprefix("m") for spec in ModelTopics.of("m").specs(1)}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name used: imported, called, passed on."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom():
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            case ast.Attribute() | ast.Name():
                yield node.lineno, _dotted(node)
            case _:
                pass


def code_from_data(tree: ast.AST) -> Iterator[Finding]:
    for line, name in _named(tree):
        first, last = name.partition(".")[0], name.rpartition(".")[2]
        if first in SERIALIZERS or name in {"eval", "exec", "compile"} or last in BY_NAME:
            yield line, name
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="allow_pickle"):
                yield node.value.lineno, "allow_pickle"
            case _:
                pass


def clocks(tree: ast.AST) -> Iterator[Finding]:
    for line, name in _named(tree):
        if any(name == clock or name.endswith(f".{clock}") for clock in CLOCKS):
            yield line, name


def sleeps(tree: ast.AST) -> Iterator[Finding]:
    """But for ``sleep(0)``, which takes no time: it lets the other tasks have their turn."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _dotted(node.func).rpartition(".")[2] != "sleep":
            continue
        if [ast.unparse(argument) for argument in node.args] != ["0"]:
            yield node.lineno, _dotted(node.func)


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Literals that are no docstrings; of an f-string, its text with ``{}`` for each value."""
    statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    skipped = {id(value) for value in statements if isinstance(value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            parts = (str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            yield node.lineno, str(node.value)


def metric_names(tree: ast.AST) -> Iterator[Finding]:
    return ((line, text) for line, text in _strings(tree) if METRIC.search(text))


def topic_names(tree: ast.AST) -> Iterator[Finding]:
    for line, text in _strings(tree):
        built = text.removeprefix("{}") if text.startswith("{}") else ""
        if text in CONTROL_TOPICS or built in CONTROL_ENDS or built in MODEL_ENDS:
            yield line, text


def _files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, folders
    return found


SERVICES = ("inference", "featurestats", "outcomes", "drift", "trainer", "deployer")
SHELLS = ("service", "__main__", "launch", "worker", "limits")
"""Modules of a service that touch the world."""


def _pure_files() -> list[Path]:
    services = [f"services/driftloop/{name}" for name in SERVICES]
    cores = [path for path in _files(*services) if path.stem not in SHELLS]
    return _files("services/driftloop/kernel", "services/driftloop/models") + cores


ALLOWED: dict[tuple[str, str], str] = {
    # (file, finding): the reason. An entry that no longer applies fails the test below.
}


@cache
def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _findings(check: Check, files: list[Path], *, but: str = "") -> dict[tuple[str, str], int]:
    found = {}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if name != but:
            found.update({(name, what): line for line, what in check(_tree(path))})
    return found


def _refused(found: dict[tuple[str, str], int]) -> list[str]:
    return [
        f"{name}:{line}: {what}" for (name, what), line in found.items()
        if (name, what) not in ALLOWED
    ]  # fmt: skip


def test_no_code_is_made_from_data() -> None:
    files = _files("services/driftloop", "infra", "loadtest" if _has_benchmarks() else "infra")

    assert _refused(_findings(code_from_data, files)) == []


def test_kernel_models_and_cores_read_no_clock() -> None:
    assert _refused(_findings(clocks, _pure_files())) == []


def test_nothing_sleeps_for_a_fixed_time() -> None:
    assert _refused(_findings(sleeps, _files("services/driftloop", "tests"))) == []


def test_metrics_are_named_in_their_registry_only() -> None:
    registry = "services/driftloop/kernel/metrics.py"

    found = _findings(metric_names, _files("services/driftloop", "infra"), but=registry)

    assert _refused(found) == []


def test_topics_are_named_in_their_registry_only() -> None:
    registry = "services/driftloop/kernel/topics.py"

    found = _findings(topic_names, _files("services/driftloop", "infra"), but=registry)

    assert _refused(found) == []


def test_no_exception_outlives_its_reason() -> None:
    everything = _files("services/driftloop", "tests", "infra")
    found: set[tuple[str, str]] = set()
    for check in (code_from_data, clocks, sleeps, metric_names, topic_names):
        found |= set(_findings(check, everything))

    assert set(ALLOWED) - found == set()


def _has_benchmarks() -> bool:
    return any((ROOT / "loadtest").rglob("*.py"))


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (code_from_data, "import pickle"),
        (code_from_data, "from pickle import loads"),
        (code_from_data, "eval('1')"),
        (code_from_data, "run = exec"),
        (code_from_data, "__import__('os')"),
        (code_from_data, "import importlib\nimportlib.import_module(name)"),
        (code_from_data, "from importlib import import_module as load"),
        (code_from_data, "np.load(path, allow_pickle=True)"),
        (clocks, "import time\nnow = time.time()"),
        (clocks, "from time import time"),
        (clocks, "datetime.datetime.now()"),
        (clocks, "Core(clock=time.time)"),
        (sleeps, "time.sleep(1)"),
        (sleeps, "await asyncio.sleep(0.1)"),
        (sleeps, "sleep(5)"),
        (metric_names, "meter.add('driftloop_x_total')"),
        (metric_names, "f'rate(driftloop_x_total[{window}])'"),
        (topic_names, "log.read('driftloop.windows')"),
        (topic_names, "f'{prefix}dead-letters'"),
        (topic_names, "f'{model}.predictions'"),
    ],
)
def test_the_checks_find_what_they_are_for(check: Check, source: str) -> None:
    assert list(check(ast.parse(source)))


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (code_from_data, "import importlib.resources\nre.compile('x')"),
        (code_from_data, "np.load(path, allow_pickle=False)"),
        (clocks, "clock.now()\ntime.monotonic()"),
        (sleeps, "stop.wait(0.1)"),
        (metric_names, "'''Counts driftloop_x_total.'''"),
        (topic_names, "columns['windows']"),
    ],
)
def test_the_checks_leave_the_rest_alone(check: Check, source: str) -> None:
    assert not list(check(ast.parse(source)))

"""A model's declaration, from the TOML text its author wrote.

Everything is checked, and everything that is wrong is reported at once, by line. ``docs/
declaration.md`` describes the keys. Pure: the text of the events' schema is given.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from driftloop.kernel.declaration import (
    AlertPolicy,
    CandidatePolicy,
    Declaration,
    PromotionPolicy,
    Task,
    TrainingPolicy,
    WindowPolicy,
)
from driftloop.kernel.declaration_fields import EventParser
from driftloop.kernel.declaration_reader import Problems, Section
from driftloop.kernel.errors import DeclarationError
from driftloop.kernel.records import AlertKind, ModelRecord
from driftloop.kernel.statistics.losses import LOSS_BOUND
from driftloop.kernel.toml_lines import TomlText
from driftloop.kernel.topics import ControlTopics, ModelTopics

CandidateCheck = Callable[[str, Mapping[str, float]], list[str]]
"""What is wrong with a trainer's name and parameters, such as ``models.registry`` tells."""

DEFAULT_CANDIDATES = ("river_logistic", "lightgbm")

_KEYS: Mapping[str, tuple[str, ...]] = {
    "[model]": ("name", "task", "prior", "partitions"),
    "[events]": ("schema", "format", "id", "time", "earliest", "latest"),
    "[labels]": ("format", "id", "label", "time", "horizon"),
    "[[features]]": ("name", "kind", "limits"),
    "[topics]": ("events", "labels", "predictions", "outcomes"),
    "[windows]": ("size", "lateness", "retention"),
    "[alerts]": (
        "false_alarms_per_100k",
        "psi_floor",
        "loss_floor",
        "missing_floor",
        "stale_after",
    ),
    "[training]": (
        "minimum_labels",
        "schedule",
        "cooldown",
        "history",
        "on_alerts",
        "evaluation_share",
        "time_limit",
        "memory_limit",
        "seed",
        "candidates",
    ),
    "[promotion]": ("error_rate", "maximum_rows", "guard_rows"),
}
"""Tables and their keys, to say where a misplaced one belongs. Names such as ``format`` that
several tables have are no use for that, and do no harm."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def parse_declaration(
    text: str,
    *,
    source: str,
    event_schema: str,
    check_candidate: CandidateCheck = lambda trainer, parameters: [],
) -> Declaration:
    """The declaration written in ``text``.

    ``source`` names the text in messages; ``event_schema`` is the Avro JSON of the file that
    ``schema`` in ``[events]`` names. Raises :class:`DeclarationError` with every problem.
    """
    document = _document(text, source)
    return _Parser(document, source, event_schema, check_candidate).declaration()


def schema_path(text: str, *, source: str) -> str:
    """The path of the events' schema, as written: relative to the declaration's own file.

    Raises :class:`DeclarationError` if the text names none.
    """
    document = _document(text, source)
    events = document.values.get("events")
    path = events.get("schema") if isinstance(events, Mapping) else None
    if not isinstance(path, str) or not path:
        line = document.line(("events", "schema"))
        wanted = 'name the events\' Avro schema: schema = "FILE.avsc" in [events]'
        raise DeclarationError(source, [(line, wanted)])
    return path


def declaration_of(record: ModelRecord) -> Declaration:
    """The declaration that a record of the models topic holds. Candidates were checked when it was
    applied, and are by the trainer again."""
    return parse_declaration(
        record.declaration,
        source=f"the declaration of model {record.name!r}",
        event_schema=record.event_schema,
    )


def _document(text: str, source: str) -> TomlText:
    try:
        return TomlText(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        reason = found[1] if found else str(error)
        line = int(found[2]) if found and found[2] else text.count("\n") + 1
        raise DeclarationError(source, [(line, f"this is not TOML: {reason}")]) from error


class _Parser:
    def __init__(
        self, document: TomlText, source: str, event_schema: str, check_candidate: CandidateCheck
    ) -> None:
        self._document = document
        self._source = source
        self._event_schema = event_schema
        self._check_candidate = check_candidate
        self._problems = Problems(document)

    def declaration(self) -> Declaration:
        self._unknown_tables()
        model = self._section("model")
        name = self._name(model)
        task = self._task(model)
        prior = model.number("prior", 0.5, above=0.0, below=1.0)
        partitions = model.whole("partitions", 4, least=1, most=10_000)
        model.finish(_KEYS)
        topics = self._topics(name)
        fields = EventParser(self._problems, _KEYS)
        events = fields.events(self._section("events"), self._event_schema)
        labels = fields.labels(self._section("labels"))
        numeric, categorical = fields.features(self._document.values.get("features"))
        windows = self._windows()
        alerts = self._alerts()
        training = self._training()
        promotion = self._promotion()
        if self._problems or events is None:
            raise DeclarationError(self._source, self._problems.sorted())
        return Declaration(
            name=name,
            task=task,
            prior=prior,
            topics=topics,
            partitions=partitions,
            events=events,
            labels=labels,
            numeric=numeric,
            categorical=categorical,
            windows=windows,
            alerts=alerts,
            training=training,
            promotion=promotion,
        )

    def _section(self, key: str) -> Section:
        values = self._document.values.get(key, {})
        title = f"[{key}]"
        there = key in self._document.values
        if not isinstance(values, Mapping):
            self._problems.add((key,), f"{key} is a table; write it as {title}")
            values = {}
        return Section(self._problems, (key,), values, title, there=there)

    def _unknown_tables(self) -> None:
        tables = [title.strip("[]") for title in _KEYS]
        document = Section(self._problems, (), self._document.values, "a declaration", there=True)
        document.expect(tables)
        document.finish(_KEYS)

    def _name(self, model: Section) -> str:
        name = model.text("name")
        if "name" not in model.failed and not _NAME.fullmatch(name):
            model.problem(
                "name",
                f'name in [model]: "{name}" names topics; use at most 63 lower-case letters, '
                "digits, - and _, beginning with a letter or digit",
            )
        return name

    def _task(self, model: Section) -> Task:
        task = Task(model.choice("task", [task.value for task in Task], Task.BINARY.value))
        if task is not Task.BINARY:
            model.problem("task", f'task in [model]: "{task}" is not possible yet; use "binary"')
        return task

    def _topics(self, name: str) -> ModelTopics:
        section = self._section("topics")
        usual = ModelTopics.of(name)
        topics = ModelTopics(
            events=section.text("events", usual.events),
            labels=section.text("labels", usual.labels),
            predictions=section.text("predictions", usual.predictions),
            outcomes=section.text("outcomes", usual.outcomes),
        )
        section.finish(_KEYS)
        reserved = ControlTopics().prefix
        users: dict[str, str] = {}
        for key in _KEYS["[topics]"]:
            topic: str = getattr(topics, key)
            if not section.has(key) or key in section.failed:
                pass
            elif not _TOPIC.fullmatch(topic) or topic in (".", ".."):
                section.problem(
                    key,
                    f'{section.name(key)}: "{topic}" is no name of a Kafka topic; use at most 249 '
                    "letters, digits, ., _ and -",
                )
            elif topic.startswith(reserved):
                section.problem(
                    key,
                    f'{section.name(key)}: "{topic}" begins with "{reserved}", which is kept for '
                    "driftloop's own topics",
                )
            if topic in users:
                section.problem(
                    key, f'{section.name(key)}: "{topic}" is the topic of the {users[topic]} too'
                )
            users[topic] = key
        return topics

    def _windows(self) -> WindowPolicy:
        section = self._section("windows")
        windows = WindowPolicy(
            size=section.duration("size", "1h", least="1s"),
            lateness=section.duration("lateness", "10m", least="0s"),
            retention=section.duration("retention", "7d", least="0s"),
        )
        section.finish(_KEYS)
        return windows

    def _alerts(self) -> AlertPolicy:
        section = self._section("alerts")
        alerts = AlertPolicy(
            false_alarms_per_100k=section.number("false_alarms_per_100k", 1.0, above=0.0, most=1e4),
            psi_floor=section.number("psi_floor", 0.1, least=0.0),
            loss_floor=section.number("loss_floor", 0.02, least=0.0, below=LOSS_BOUND),
            missing_floor=section.number("missing_floor", 0.05, least=0.0, below=1.0),
            stale_after=section.duration("stale_after", "10m", least="1s"),
        )
        section.finish(_KEYS)
        return alerts

    def _training(self) -> TrainingPolicy:
        section = self._section("training")
        kinds = [kind.value for kind in AlertKind]
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
        section.finish(_KEYS)
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
        section.finish(_KEYS)
        if section.failed:
            return None
        for message in self._check_candidate(trainer, parameters):
            words = re.findall(r"\w+", message)
            about = next((name for name in names if name in words), "trainer")
            section.problem(about, f"{title}: {message}")
        return CandidatePolicy(trainer, parameters)

    def _promotion(self) -> PromotionPolicy:
        section = self._section("promotion")
        promotion = PromotionPolicy(
            error_rate=section.number("error_rate", 0.05, above=0.0, most=0.5),
            maximum_rows=section.whole("maximum_rows", 20_000, least=100, most=10**12),
            guard_rows=section.whole("guard_rows", 5_000, least=0, most=10**12),
        )
        section.finish(_KEYS)
        return promotion

"""A model's declaration, from the TOML text its author wrote.

Everything is checked, and everything that is wrong is reported at once, by line. ``docs/
declaration.md`` describes the keys. Pure: the text of the events' schema is given.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace

from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_fields import EventParser
from driftloop.kernel.declaration_policies import CandidateCheck, PolicyParser
from driftloop.kernel.declaration_reader import Problems, Section
from driftloop.kernel.declaration_task import read_task
from driftloop.kernel.declaration_wording import KEYS
from driftloop.kernel.errors import DeclarationError
from driftloop.kernel.records import ModelRecord
from driftloop.kernel.statistics.losses import LOSS_BOUND
from driftloop.kernel.toml_lines import TomlText
from driftloop.kernel.topics import ControlTopics, ModelTopics

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TOPIC_KEYS = ("events", "labels", "predictions", "outcomes")
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
    parsed = _Parser(document, source, event_schema, check_candidate).declaration()
    return replace(parsed, digest=hashlib.sha256(f"{text}\0{event_schema}".encode()).hexdigest())


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
        predicted = read_task(model)
        partitions = model.whole("partitions", 4, least=1, most=10_000)
        model.finish()
        topics = self._topics(name)
        fields = EventParser(self._problems)
        events = fields.events(self._section("events"), self._event_schema)
        labels = fields.labels(self._section("labels"))
        numeric, categorical, vectors = fields.features(
            self._document.values.get("features"), predicted.task
        )
        policies = PolicyParser(self._problems, self._check_candidate)
        windows = policies.windows(self._section("windows"))
        alerts = policies.alerts(
            self._section("alerts"),
            windows,
            [feature.name for feature in categorical],
            predicted.error_bound or LOSS_BOUND,
        )
        training = policies.training(self._section("training"), predicted.task)
        promotion = policies.promotion(self._section("promotion"))
        http = policies.http(self._section("http"))
        if self._problems or events is None:
            raise DeclarationError(self._source, self._problems.sorted())
        return Declaration(
            name=name,
            task=predicted.task,
            prior=predicted.prior,
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
            http=http,
            vectors=vectors,
            classes=predicted.classes,
            error_bound=predicted.error_bound,
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
        tables = [title.strip("[]") for title in KEYS]
        document = Section(self._problems, (), self._document.values, "a declaration", there=True)
        document.expect(tables)
        document.finish()

    def _name(self, model: Section) -> str:
        name = model.text("name")
        if "name" not in model.failed and not _NAME.fullmatch(name):
            model.problem(
                "name",
                f'name in [model]: "{name}" names topics; use at most 63 lower-case letters, '
                "digits, - and _, beginning with a letter or digit",
            )
        return name

    def _topics(self, name: str) -> ModelTopics:
        section = self._section("topics")
        group = section.text("shared", "")
        if group:
            return self._shared_topics(section, group)
        usual = ModelTopics.of(name)
        topics = ModelTopics(
            events=section.text("events", usual.events),
            labels=section.text("labels", usual.labels),
            predictions=section.text("predictions", usual.predictions),
            outcomes=section.text("outcomes", usual.outcomes),
        )
        section.finish()
        reserved = ControlTopics().prefix
        users: dict[str, str] = {}
        for key in _TOPIC_KEYS:
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

    def _shared_topics(self, section: Section, group: str) -> ModelTopics:
        if "shared" not in section.failed and not _NAME.fullmatch(group):
            section.problem(
                "shared",
                f'shared in [topics]: "{group}" names topics; use at most 63 lower-case letters, '
                "digits, - and _, beginning with a letter or digit",
            )
        for key in _TOPIC_KEYS:
            if section.has(key):
                section.problem(
                    key,
                    f"{section.name(key)}: models that share topics share all four; leave it out",
                )
        section.expect(_TOPIC_KEYS)
        section.finish()
        return ModelTopics.of(group, shared=True)

"""Declarations in TOML: what a right one becomes, and what is said of wrong ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from driftloop.kernel.declaration import (
    CandidatePolicy,
    CategoricalFeature,
    Declaration,
    Format,
    NumericFeature,
    Task,
)
from driftloop.kernel.declaration_toml import declaration_of, parse_declaration, schema_path
from driftloop.kernel.declaration_wording import KEYS
from driftloop.kernel.errors import DeclarationError
from driftloop.kernel.records import ModelRecord
from driftloop.models.parameters import check_parameters

DAY = 86_400_000

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Payment",
        "fields": [
            {"name": "payment_id", "type": "string"},
            {"name": "paid_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "paid_micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "amount", "type": "double"},
            {"name": "items", "type": ["null", "int"]},
            {"name": "country", "type": "string"},
            {"name": "note", "type": ["null", "string"]},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "score", "type": "double"},
        ],
    }
)

COLOURS = 'task = "multiclass"'

MINIMAL = """\
[model]
name = "payments"

[events]
schema = "payment.avsc"
id = "payment_id"
time = "paid_at"

[[features]]
name = "amount"
kind = "numeric"
limits = [0, 1e6]

[[features]]
name = "country"
kind = "categorical"
"""


def parse(text: str, schema: str = SCHEMA) -> Declaration:
    return parse_declaration(
        text, source="m.toml", event_schema=schema, check_candidate=check_parameters
    )


def problems(text: str, schema: str = SCHEMA) -> list[tuple[int, str]]:
    with pytest.raises(DeclarationError) as caught:
        parse(text, schema)
    return caught.value.problems


def test_a_minimal_declaration_gets_defaults() -> None:
    model = parse(MINIMAL)
    assert model.name == "payments"
    assert model.task is Task.BINARY
    assert model.prior == 0.5
    assert model.partitions == 4
    assert model.topics.events == "payments.events"
    assert model.topics.outcomes == "payments.outcomes"
    assert model.numeric == (NumericFeature("amount", 0.0, 1e6),)
    assert model.categorical == (CategoricalFeature("country"),)
    assert model.events.format is Format.AVRO
    assert model.labels.id == "event_id"
    assert model.windows.size == 3_600_000
    assert model.training.schedule == 30 * DAY
    assert model.training.on_alerts == ("concept_drift",)
    assert [c.trainer for c in model.training.candidates] == ["river_logistic", "lightgbm"]


def test_a_multiclass_model_has_a_score_per_class() -> None:
    text = MINIMAL.replace('"payments"', f'"payments"\n{COLOURS}\nclasses = ["a", "b", "c"]', 1)
    model = parse(text)
    assert (model.task, model.classes, model.scores) == (Task.MULTICLASS, ("a", "b", "c"), 3)
    assert model.prior == (1 / 3, 1 / 3, 1 / 3)
    shares = parse(text.replace("[events]", "prior = [0.33, 0.33, 0.33]\n[events]")).prior
    assert shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_a_regression_is_judged_within_its_bound() -> None:
    added = '"payments"\ntask = "regression"\nerror_bound = 230.2585\nprior = -7'
    model = parse(MINIMAL.replace('"payments"', added, 1))
    assert (model.task, model.error_bound, model.prior) == (Task.REGRESSION, 230.2585, -7.0)
    assert (model.classes, model.scores) == ((), 1)
    assert model.alerts.loss_floor == pytest.approx(1.0, rel=1e-4)
    boosted = model.training.candidates[1]
    assert (boosted.trainer, boosted.parameters) == ("lightgbm", {"median": 1.0})


def test_no_feature_of_a_multiclass_model_has_the_name_of_its_answer() -> None:
    schema = SCHEMA.replace('"amount"', '"predicted"')
    text = MINIMAL.replace('"amount"', '"predicted"')
    assert parse(text, schema).numeric[0].name == "predicted"
    added = f'"payments"\n{COLOURS}\nclasses = ["a", "b"]'
    ((_, message),) = problems(text.replace('"payments"', added, 1), schema)
    assert '"predicted" is kept for the model\'s output' in message


def test_a_numeric_feature_without_limits_takes_every_finite_number() -> None:
    model = parse(MINIMAL.replace("limits = [0, 1e6]\n", ""))
    assert model.numeric[0].lowest == -model.numeric[0].highest
    assert math.isfinite(model.numeric[0].highest)
    assert model.numeric[0].highest > 1e308


def test_every_key_is_read() -> None:
    text = """
topics = { events = "shop.Payments", outcomes = "shop.outcomes" }
features = [
  { name = "amount", kind = "numeric" },
  { name = "items", kind = "categorical" },
]
[model]
name = "payments"
task = "binary"
prior = 0.01
partitions = 12
[events]
schema = "payment.avsc"
format = "json"
id = "payment_id"
time = "paid_at"
earliest = 2020-01-01
latest = 2030-01-01T06:00:00+02:00
ahead = "any"
[labels]
format = "json"
id = "payment"
label = "fraud"
time = "seen"
horizon = "8w"
[windows]
size = "15m"
lateness = "0s"
retention = "36h"
[alerts]
false_alarms_per_100k = 0.5
psi_floor = 0.2
loss_floor = 0.01
missing_floor = 0.02
stale_after = "90s"
[training]
minimum_labels = 500
schedule = "never"
cooldown = "6h"
history = "all"
on_alerts = ["concept_drift", "data_drift"]
evaluation_share = 0.25
time_limit = "1500ms"
memory_limit = "1.5GiB"
seed = 7
[[training.candidates]]
trainer = "lightgbm"
trees = 50
[promotion]
error_rate = 0.01
maximum_rows = 1000
guard_rows = 0
"""
    model = parse(text)
    assert model.topics.events == "shop.Payments"
    assert model.topics.labels == "payments.labels"
    assert model.partitions == 12
    assert model.events.format is Format.JSON
    assert model.events.earliest == 1_577_836_800_000
    assert model.events.latest == 1_893_470_400_000
    assert model.events.ahead == 1 << 62
    assert (model.labels.id, model.labels.label, model.labels.time) == ("payment", "fraud", "seen")
    assert model.labels.horizon == 56 * DAY
    assert model.windows.size == 900_000
    assert model.windows.lateness == 0
    assert model.windows.retention == 36 * 3_600_000
    assert model.alerts.stale_after == 90_000
    assert model.training.schedule == 0
    assert model.training.history == 0
    assert model.training.time_limit == 1.5
    assert model.training.memory_limit == 3 * 2**29
    assert model.training.candidates == (CandidatePolicy("lightgbm", {"trees": 50.0}),)
    assert model.promotion.guard_rows == 0
    assert model.numeric[0].name == "amount"
    assert model.categorical[0].name == "items"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('name = "payments"', 'nmae = "payments"', 2, "no key nmae; did you mean name?"),
        ('name = "payments"', 'name = "Pay ments"', 2, "lower-case letters"),
        ('name = "payments"', "name = 7", 2, "7 is no text"),
        ('name = "payments"', 'name = "p"\ntask = "regression"', 3, "error_bound = NUMBER"),
        ('name = "payments"', 'name = "p"\ntask = "multiclass"', 3, "names its 2 to 100 classes"),
        ('name = "payments"', f'name = "p"\n{COLOURS}\nclasses = "red"', 4, "no list"),
        ('name = "payments"', f'name = "p"\n{COLOURS}\nclasses = ["red"]', 4, "between 2 and 100"),
        ('name = "payments"', f'name = "p"\n{COLOURS}\nclasses = ["a", "a"]', 4, "in it twice"),
        ('name = "payments"', f'name = "p"\n{COLOURS}\nclasses = ["a", 1]', 4, "no text"),
        ('name = "payments"', f'name = "p"\n{COLOURS}\nclasses = ["a", ""]', 4, "no text"),
        (
            'name = "payments"',
            f'name = "p"\n{COLOURS}\nclasses = ["a", "b"]\nprior = [1]',
            5,
            "each of its 2 classes",
        ),
        (
            'name = "payments"',
            f'name = "p"\n{COLOURS}\nclasses = ["a", "b"]\nprior = [0.5, 0.6]',
            5,
            "1 in sum",
        ),
        (
            'name = "payments"',
            f'name = "p"\n{COLOURS}\nclasses = ["a", "b"]\nprior = [1, 0]',
            5,
            "each above 0",
        ),
        (
            'name = "payments"',
            f'name = "p"\n{COLOURS}\nclasses = ["a", "b"]\nprior = 0.5',
            5,
            "no list; write prior = [NUMBER, NUMBER]",
        ),
        ('name = "payments"', 'name = "p"\nclasses = ["a", "b"]', 3, "only a multiclass model"),
        ('name = "payments"', 'name = "p"\nerror_bound = 1', 3, "only a regression model"),
        (
            'name = "payments"',
            'name = "p"\ntask = "regression"\nerror_bound = 0',
            4,
            "not greater than 0",
        ),
        ('name = "payments"', 'name = "p"\ntask = "binery"', 3, 'did you mean "binary"?'),
        ('name = "payments"', 'name = "p"\nprior = 1.0', 3, "greater than 0 and less than 1"),
        ('name = "payments"', 'name = "p"\nprior = "x"', 3, '"x" is no number'),
        ('name = "payments"', 'name = "p"\nprior = nan', 3, "not finite"),
        ('name = "payments"', 'name = "p"\npartitions = 0', 3, "between 1 and 10000"),
        ('name = "payments"', 'name = "p"\npartitions = true', 3, "no whole number"),
        ('name = "payments"', 'name = "p"\npsi_floor = 1', 3, "it belongs in [alerts]"),
        ("[model]", "[modle]", 1, "did you mean model?"),
        ('schema = "payment.avsc"\n', "", 4, "[events] lacks schema"),
        ('id = "payment_id"', 'id = "payment"', 6, 'did you mean "payment_id"?'),
        ('id = "payment_id"', 'id = "amount"', 6, '"amount" is a double in the schema'),
        ('id = "payment_id"', 'id = "note"', 6, "must not be nullable"),
        ('time = "paid_at"', 'time = "paid_micros"', 7, "times are milliseconds"),
        ('time = "paid_at"', 'time = "country"', 7, "must be long"),
        ('time = "paid_at"', 'time = "paid_at"\nformat = "xml"', 8, 'one of "avro", "json"'),
        ('time = "paid_at"', 'time = "paid_at"\nlatest = 1999-01-01', 8, "must be after earliest"),
        ('time = "paid_at"', 'time = "paid_at"\nearliest = "soon"', 8, '"soon" is no date'),
        ('name = "amount"', 'name = "amuont"', 10, 'did you mean "amount"?'),
        (
            'name = "amount"',
            'name = "tags"',
            10,
            "array of string in the schema, but must be double",
        ),
        ('name = "amount"', 'name = "score"', 10, "kept for the model's output"),
        ('name = "amount"', 'name = "paid_at"', 10, "the events' time already"),
        ('kind = "numeric"', 'kind = "numerical"', 11, 'did you mean "numeric"?'),
        ("limits = [0, 1e6]", "limits = [5, 1]", 12, "limits = [1, 5]"),
        ("limits = [0, 1e6]", "limits = [5, 5]", 12, "must be above the lowest"),
        ("limits = [0, 1e6]", "limits = [5]", 12, "limits = [LOWEST, HIGHEST]"),
        ("limits = [0, 1e6]", "limits = [0, inf]", 12, "not finite"),
        ('name = "country"', 'name = "amount"', 15, '"amount" is a feature already'),
        ('kind = "categorical"', 'kind = "numeric"', 15, "is a string in the schema"),
        ('kind = "categorical"', 'kind = "categorical"\nlimits = [0, 1]', 17, "only a numeric"),
    ],
)
def test_a_wrong_line_is_named_with_what_would_be_right(
    old: str, new: str, line: int, message: str
) -> None:
    assert old in MINIMAL
    found = problems(MINIMAL.replace(old, new, 1))
    assert any(at == line and message in text for at, text in found), found


@pytest.mark.parametrize(
    ("addition", "offset", "message"),
    [
        ('[windows]\nsize = "1 fortnight"', 2, "is not a duration"),
        ("[windows]\nsize = 60", 2, '60 has no unit; write a duration such as "1d"'),
        ('[windows]\nsize = "0s"', 2, 'at least "1s"'),
        ('[windows]\nlateness = "-1s"', 2, "is not a duration"),
        ("[alerts]\nfalse_alarms_per_100k = 0", 2, "greater than 0"),
        ("[alerts]\nmissing_floor = 1.5", 2, "less than 1"),
        ('[training]\non_alerts = ["concept"]', 2, 'did you mean "concept_drift"?'),
        ('[training]\non_alerts = ["stale", "stale"]', 2, "twice"),
        ('[training]\non_alerts = "stale"', 2, "no list"),
        ('[training]\nschedule = "1d"\ncooldown = "2d"', 2, "shorter than cooldown"),
        ('[training]\nhistory = "everything"', 2, 'or "all"'),
        ('[training]\nmemory_limit = "2TB"', 2, 'a size such as "2GiB"'),
        ('[training]\nmemory_limit = "1MiB"', 2, "too small"),
        ("[training]\nevaluation_share = 0", 2, "greater than 0 and at most 0.5"),
        ("[training]\ncandidates = []", 2, "at least one"),
        ('[[training.candidates]]\ntrainer = "lightgmb"', 2, "unknown trainer 'lightgmb'"),
        ('[[training.candidates]]\ntrainer = "lightgbm"\ntres = 9', 3, "no parameter 'tres'"),
        ('[[training.candidates]]\ntrainer = "lightgbm"\ntrees = 0', 3, "must be in [1, 5000]"),
        ('[[training.candidates]]\ntrainer = "lightgbm"\ntrees = "x"', 3, "no number"),
        ("[[training.candidates]]\ntrees = 9", 1, "lacks trainer"),
        (
            '[[training.candidates]]\ntrainer = "lightgbm"\n'
            '[[training.candidates]]\ntrainer = "lightgbm"',
            3,
            "number 1 again",
        ),
        ("[promotion]\nerror_rate = 0.9", 2, "at most 0.5"),
        ('[topics]\nevents = "a b"', 2, "no name of a Kafka topic"),
        ('[topics]\nlabels = "driftloop.windows"', 2, "kept for driftloop's own topics"),
        ('[topics]\nlabels = "payments.events"', 2, "the topic of the events too"),
        ('[labels]\nid = "payment_id"', 2, 'it is "event_id"'),
        ('[labels]\nhorizon = "0d"', 2, 'at least "1s"'),
        ("[windosw]", 1, "did you mean windows?"),
    ],
)
def test_a_wrong_policy_is_named_with_what_would_be_right(
    addition: str, offset: int, message: str
) -> None:
    found = problems(MINIMAL + addition)
    line = MINIMAL.count("\n") + offset
    assert any(at == line and message in text for at, text in found), found


def test_all_problems_are_reported_at_once_in_the_order_of_lines() -> None:
    wrong = MINIMAL.replace('"payments"', "1").replace('"numeric"', '"number"')
    found = problems(wrong + '[windows]\nsize = 1\nsze = "1d"\n')
    assert [line for line, _ in found] == [2, 11, 18, 19]


def test_one_mistake_gives_one_problem() -> None:
    found = problems(MINIMAL.replace('name = "payments"\n', ""))
    assert found == [(1, "[model] lacks name")]


def test_a_missing_table_is_named_with_the_keys_it_needs() -> None:
    found = problems("")
    texts = [text for _, text in found]
    assert "there is no [model] table; add one with name" in texts
    assert "there is no [events] table; add one with schema, id and time" in texts
    assert any("at least one feature" in text for text in texts)


def test_the_message_has_file_and_line() -> None:
    with pytest.raises(DeclarationError, match=r"m\.toml:2: name in \[model\]"):
        parse(MINIMAL.replace('"payments"', '"PAY"'))


def test_text_that_is_not_toml_names_the_line() -> None:
    ((line, text),) = problems('[model]\nname = "payments\n')
    assert line == 2
    assert text.startswith("this is not TOML")


def test_an_unusable_schema_is_named() -> None:
    ((line, text),) = problems(MINIMAL, "{}")
    assert line == 5
    assert "payment.avsc is no valid Avro schema" in text
    ((line, text),) = problems(MINIMAL, '"string"')
    assert line == 5
    assert "must be an Avro record" in text


def test_lines_are_found_in_inline_tables_and_multiline_strings() -> None:
    text = MINIMAL.split("[[features]]", maxsplit=1)[0]
    features = (
        'features = [ # a [comment] with "quotes"\n'
        '  { name = "amount", kind = "numeric" },\n'
        '  { name = "nowhere", kind = "numeric" },\n'
        "]\n"
    )
    strange = 'x = """\n[model]\nname = \\"""" \n'
    found = problems(features + strange + text)
    assert [line for line, _ in found] == [3, 5]


def test_a_schema_that_no_reader_follows_is_named() -> None:
    field = {"name": "more", "type": ["null", "Payment"]}
    schema = json.loads(SCHEMA)
    schema["fields"].append(field)
    ((line, text),) = problems(MINIMAL, json.dumps(schema))
    assert line == 5
    assert "payment.avsc: record" in text
    assert "contains itself" in text


def test_the_schema_is_found_by_the_path_that_the_declaration_names() -> None:
    assert schema_path(MINIMAL, source="m.toml") == "payment.avsc"
    with pytest.raises(DeclarationError, match="name the events' Avro schema"):
        schema_path("[model]", source="m.toml")


def test_a_record_of_the_models_topic_gives_the_same_declaration() -> None:
    record = ModelRecord("payments", MINIMAL, SCHEMA, "someone", 1)
    assert declaration_of(record) == parse(MINIMAL)


def test_the_digest_of_a_declaration_is_that_of_its_text_and_schema() -> None:
    record = ModelRecord("payments", MINIMAL, SCHEMA, "someone", 1)
    digest = declaration_of(record).digest
    assert digest == hashlib.sha256(f"{MINIMAL}\0{SCHEMA}".encode()).hexdigest()
    assert declaration_of(replace(record, applied_by="another", applied_at=2)).digest == digest
    assert declaration_of(replace(record, declaration=f"{MINIMAL}\n# new")).digest != digest


def test_the_check_of_candidates_is_given_their_parameters() -> None:
    seen: list[tuple[str, Mapping[str, float]]] = []

    def check(trainer: str, parameters: Mapping[str, float]) -> list[str]:
        seen.append((trainer, parameters))
        return []

    text = MINIMAL + '[[training.candidates]]\ntrainer = "lightgbm"\nextra = true\n'
    parse_declaration(text, source="m", event_schema=SCHEMA, check_candidate=check)
    assert seen == [("lightgbm", {"extra": 1.0})]


def test_the_example_is_right_in_the_repository_and_in_the_package() -> None:
    inside = Path(str(resources.files("driftloop"))) / "infra" / "models" / "flights.toml"
    outside = Path(__file__).parents[2] / "infra" / "models" / "flights.toml"
    for file in (inside, outside):
        text = file.read_text(encoding="utf-8")
        schema = file.parent / schema_path(text, source=file.name)
        model = parse(text, schema.read_text(encoding="utf-8"))
        assert model.name == "flights"
        assert model.scores == 1


@pytest.mark.parametrize(("title", "key"), [(t, k) for t, keys in KEYS.items() for k in keys])
def test_every_listed_key_is_read(title: str, key: str) -> None:
    found = problems(f"{title}\n{key} = {{}}\n")
    assert not any("has no key" in text for _, text in found)
    assert any(line == 2 for line, _ in found)


def test_every_listed_key_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "declaration.md").read_text(encoding="utf-8")
    for title, keys in KEYS.items():
        section = text.split(f"\n## `{title}`", 1)[1].split("\n## ", 1)[0]
        for key in keys:
            assert f"`{key}`" in section, f"{key} of {title}"

"""The models that chaos runs: a few features of every kind, short windows, quick swaps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from driftloop.cli.applying import DeclaredModel
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.models.parameters import check_parameters

NAME = "chaos"
WINDOW_MS = 60_000
LATENESS_MS = 10_000
RETENTION_MS = 4 * WINDOW_MS
HORIZON_MS = 12 * WINDOW_MS
PARTITIONS = 4
BEGIN_MS = 1_700_000_040_000
"""Event time of the first event; a window's start."""

COLOURS = ("red", "green", "blue", "white", "black", "grey", "teal")
"""The last one is only seen in every other regime."""
NUMERIC = ("x0", "x1", "x2", "n")
SHAPES = ("round", "square", "a rather long name of a shape, ünïcode too")

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "ChaosEvent",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "x0", "type": "double"},
            {"name": "x1", "type": "double"},
            {"name": "x2", "type": ["null", "double"]},
            {"name": "n", "type": "long"},
            {"name": "colour", "type": "string"},
            {"name": "shape", "type": ["null", "string"]},
        ],
    }
)

_DECLARATION = """
[model]
name = "{name}"
task = "binary"
prior = 0.5
partitions = {partitions}

[events]
schema = "event.avsc"
id = "id"
time = "at"
earliest = 2023-01-01
latest = 2025-01-01

[labels]
horizon = "{horizon}m"

[[features]]
name = "x0"
kind = "numeric"
limits = [-100, 100]

[[features]]
name = "x1"
kind = "numeric"

[[features]]
name = "x2"
kind = "numeric"

[[features]]
name = "n"
kind = "numeric"
limits = [0, 1000]

[[features]]
name = "colour"
kind = "categorical"

[[features]]
name = "shape"
kind = "categorical"

[windows]
size = "{window}s"
lateness = "{lateness}s"
retention = "{retention}s"

[alerts]
false_alarms_per_100k = 10.0
psi_floor = 0.05
loss_floor = 0.01
missing_floor = 0.05
stale_after = "1h"

[training]
minimum_labels = {minimum_labels}
schedule = "{schedule}m"
cooldown = "{cooldown}m"
history = "{history}m"
on_alerts = ["concept_drift", "data_drift"]
evaluation_share = 0.2
time_limit = "2m"
memory_limit = "4GiB"
seed = 7

[[training.candidates]]
trainer = "river_logistic"
average = false

[[training.candidates]]
trainer = "lightgbm"
trees = 10
leaves = 7

[promotion]
error_rate = 0.4
maximum_rows = {maximum_rows}
guard_rows = {guard_rows}
"""


NARROW = ('[[features]]\nname = "x1"\nkind = "numeric"\n', "")
"""A change of the declaration: a feature less, so rows of another shape."""


def shared(group: str) -> tuple[str, str]:
    """A change of the declaration: the topics are those of a group of models."""
    return "[windows]\n", f'[topics]\nshared = "{group}"\n\n[windows]\n'


@dataclass(frozen=True, slots=True)
class Scale:
    """How much happens."""

    events: int
    rate: float
    """Events per second of wall time; labels come at about the same."""
    window_rows: int
    """Events per window of event time."""
    regime_windows: int
    """After so many windows the world changes: what is true, and what events look like."""

    @property
    def step_ms(self) -> float:
        """Event time from one event to the next."""
        return WINDOW_MS / self.window_rows


def declared(
    scale: Scale, name: str = NAME, changes: Sequence[tuple[str, str]] = ()
) -> DeclaredModel:
    """The model, with policies that make versions swap every few windows. ``changes`` are made in
    the declaration's text."""
    text = _DECLARATION.format(
        name=name,
        partitions=PARTITIONS,
        horizon=HORIZON_MS // 60_000,
        window=WINDOW_MS // 1000,
        lateness=LATENESS_MS // 1000,
        retention=RETENTION_MS // 1000,
        minimum_labels=3 * scale.window_rows,
        schedule=scale.regime_windows,
        cooldown=scale.regime_windows // 4,
        history=scale.regime_windows,
        maximum_rows=3 * scale.window_rows,
        guard_rows=2 * scale.window_rows,
    )
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    declaration = parse_declaration(
        text, source="the chaos model", event_schema=SCHEMA, check_candidate=check_parameters
    )
    return DeclaredModel(declaration, text, SCHEMA)


@dataclass(frozen=True, slots=True)
class Kind:
    """What sets a model apart from others that have the same events."""

    name: str = NAME
    prior: float = 0.5
    narrow: bool = False
    """Without the feature x1."""
    colours: Sequence[str] = COLOURS
    group: str = ""
    """Of models that share their topics; empty: they are its own."""

    @property
    def numeric(self) -> Sequence[str]:
        """The numeric features, in the declaration's order."""
        return [name for name in NUMERIC if not (self.narrow and name == "x1")]

    @property
    def owner(self) -> str | None:
        """Whom the records say they are of; None where the topic says it."""
        return self.name if self.group else None

    def declared(self, scale: Scale) -> DeclaredModel:
        changes = [("prior = 0.5\n", f"prior = {self.prior}\n")]
        if self.narrow:
            changes.append(NARROW)
        if self.group:
            changes.append(shared(self.group))
        return declared(scale, self.name, changes)

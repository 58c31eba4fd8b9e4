"""Rows whose features shift while the law of their labels stays, and such where it does not."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from driftloop.cli.flights import data_directory, event_schema_text, load_flights
from driftloop.kernel.codec.blocks import F64, I64, Categories, Features
from driftloop.kernel.codec.events import EventDecoder
from driftloop.kernel.declaration import Declaration
from driftloop.kernel.declaration_toml import parse_declaration
from driftloop.models.parameters import check_parameters
from loadtest.results import ROOT

ROWS = 4000
"""Of a window."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """n rows with their labels, and the chance of label 1 where it is known (else NaN)."""

    features: Features
    labels: F64
    chance: F64

    def take(self, rows: I64) -> Labelled:
        categories = self.features.categories
        features = Features(
            np.ascontiguousarray(self.features.numeric[rows]),
            Categories(np.ascontiguousarray(categories.codes[rows]), categories.levels),
        )
        return Labelled(features, self.labels[rows], self.chance[rows])

    def __len__(self) -> int:
        return len(self.labels)


class Law:
    """A law of labels: not linear, with interactions, and another level per category."""

    KINDS = ("a", "b", "c", "d")

    def __init__(self, random: np.random.Generator, hidden: float = 0.0) -> None:
        """``hidden``: how much less the label hangs on the numbers where the level is one of the
        last two, which no sum of effects shows."""
        self._hidden = hidden
        self._random = random
        self._weights = random.normal(size=6)
        self._kinds = random.normal(size=len(self.KINDS))
        self._pair = random.normal()

    def rows(self, count: int) -> Labelled:
        """As the version is trained on."""
        return self._labelled(*self._plain(count), self._weights)

    def aside(self) -> Law:
        """The same law with random numbers of its own: what is drawn of it changes nothing here."""
        twin = copy(self)
        twin._random = self._random.spawn(1)[0]
        return twin

    def shifted(self, strength: float) -> Labelled:
        """A window of other features, the same law. ``strength``: standard deviation of the shifts
        of each mean, in its own."""
        random = self._random
        numeric, _ = self._plain(ROWS)
        wide = 1.0 + random.uniform(-0.4, 0.4, 6) * strength
        numeric = numeric * wide + random.normal(0, strength, 6)
        mix = random.dirichlet(np.full(len(self.KINDS), 1.0 / strength))
        kinds = random.choice(len(self.KINDS), ROWS, p=mix)
        return self._labelled(numeric, kinds, self._weights)

    def alone(self, strength: float) -> Labelled:
        """A window in which only one feature is another: a number's mean, or the mix of levels."""
        numeric, kinds = self._plain(ROWS)
        column = int(self._random.integers(numeric.shape[1] + 1))
        if column == numeric.shape[1]:
            return self.mixed(strength)
        numeric[:, column] += self._random.normal(0, strength)
        return self._labelled(numeric, kinds, self._weights)

    def mixed(self, strength: float) -> Labelled:
        """A window in which only the mix of levels is another."""
        numeric, _ = self._plain(ROWS)
        mix = self._random.dirichlet(np.full(len(self.KINDS), 1.0 / strength))
        kinds = self._random.choice(len(self.KINDS), ROWS, p=mix)
        return self._labelled(numeric, kinds, self._weights)

    def changed(self) -> Labelled:
        """A window of the same features, another law: the strongest feature means the opposite."""
        weights = self._weights.copy()
        strongest = int(np.argmax(np.abs(weights)))
        weights[strongest] = -weights[strongest]
        return self._labelled(*self._plain(ROWS), weights)

    def _plain(self, count: int) -> tuple[F64, I64]:
        numeric = self._random.normal(size=(count, 6))
        return numeric, self._random.integers(0, len(self.KINDS), count)

    def _labelled(self, numeric: F64, kinds: I64, weights: F64) -> Labelled:
        damped = np.where(kinds >= len(self.KINDS) // 2, 1.0 - self._hidden, 1.0)
        logit = (
            damped * (numeric @ weights)
            + self._kinds[kinds]
            + self._pair * numeric[:, 0] * numeric[:, 1]
        )
        chance = 1.0 / (1.0 + np.exp(-logit))
        labels = (self._random.random(len(chance)) < chance).astype(np.float64)
        codes = kinds.astype(np.int32).reshape(-1, 1)
        return Labelled(Features(numeric, Categories(codes, (self.KINDS,))), labels, chance)


def tilted(features: Features, random: np.random.Generator, strength: float) -> I64:
    """Rows drawn with odds that grow with two of the numbers and differ among two categories'
    levels; each row at most once. ``strength``: standard deviation of the log odds, of each."""
    log_odds = np.zeros(len(features.numeric))
    for column in random.choice(features.numeric.shape[1], 2, replace=False):
        values = features.numeric[:, column]
        centre, spread = np.nanmean(values), np.nanstd(values) + 1e-9
        log_odds += random.normal(0, strength) * np.clip(
            np.nan_to_num((values - centre) / spread), -3, 3
        )
    for column in random.choice(features.categories.codes.shape[1], 2, replace=False):
        levels = random.normal(0, strength, len(features.categories.levels[column]) + 1)
        log_odds += levels[features.categories.codes[:, column]]
    # The largest of perturbed log odds are a draw without replacement (Gumbel).
    keys = log_odds + random.gumbel(size=len(log_odds))
    return np.argpartition(keys, -ROWS)[-ROWS:].astype(np.int64)


def tilted_alone(features: Features, random: np.random.Generator, strength: float) -> I64:
    """As :func:`tilted`, by one of the features."""
    numbers = features.numeric.shape[1]
    column = int(random.integers(numbers + features.categories.codes.shape[1]))
    if column < numbers:
        values = features.numeric[:, column]
        centre, spread = np.nanmean(values), np.nanstd(values) + 1e-9
        standard = np.clip(np.nan_to_num((values - centre) / spread), -3, 3)
        log_odds = random.normal(0, strength) * standard
    else:
        column -= numbers
        levels = random.normal(0, strength, len(features.categories.levels[column]) + 1)
        log_odds = levels[features.categories.codes[:, column]]
    keys = log_odds + random.gumbel(size=len(log_odds))
    return np.argpartition(keys, -ROWS)[-ROWS:].astype(np.int64)


def declared_flights() -> tuple[Declaration, Labelled]:
    """All flights in event-time order."""
    data_directory()
    schema = event_schema_text()
    text = (ROOT / "infra" / "models" / "flights.toml").read_text(encoding="utf-8")
    declared = parse_declaration(
        text, source="flights", event_schema=schema, check_candidate=check_parameters
    )
    declared = replace(declared, alerts=replace(declared.alerts, segment="carrier"))
    flights = load_flights()
    block, rejected = EventDecoder(declared).decode(flights.events)
    if rejected:
        raise RuntimeError(f"{len(rejected)} flights cannot be read")
    label = dict(zip(flights.label_ids, flights.labels.tolist(), strict=True))
    labels = np.array([label[bytes(event)] for event in block.ids])
    return declared, Labelled(block.features, labels, np.full(len(labels), np.nan))


def synthetic_declaration() -> Declaration:
    names = [f"x{k}" for k in range(6)]
    fields = [
        '{"name": "id", "type": "string"}',
        '{"name": "at", "type": "long"}',
        '{"name": "kind", "type": "string"}',
        *(f'{{"name": "{name}", "type": "double"}}' for name in names),
    ]
    schema = f'{{"type": "record", "name": "Synthetic", "fields": [{", ".join(fields)}]}}'
    lines = [
        '[model]\nname = "synthetic"',
        '[events]\nschema = "synthetic.avsc"\nid = "id"\ntime = "at"',
        '[labels]\nhorizon = "1h"',
        '[windows]\nsize = "10m"',
        '[alerts]\nsegment = "kind"',
        '[[features]]\nname = "kind"\nkind = "categorical"',
        *(
            f'[[features]]\nname = "{name}"\nkind = "numeric"\nlimits = [-100, 100]'
            for name in names
        ),
    ]
    return parse_declaration(
        "\n".join(lines),
        source="synthetic",
        event_schema=schema,
        check_candidate=check_parameters,
    )

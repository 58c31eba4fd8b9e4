"""Dead letters against the records they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from driftloop.kernel.codec.records import codec
from driftloop.kernel.records import DeadLetter

from .findings import Findings
from .reading import Record, read
from .truth import Place


def read_letters(bootstrap: str, topic: str) -> list[DeadLetter]:
    """All of them."""
    return [codec(DeadLetter).decode(record.value) for record in read(bootstrap, topic)]


def place_of(letter: DeadLetter) -> Place:
    """Where the record lies that it is of."""
    return letter.topic, letter.partition, letter.offset


def check_letters(
    letters: Sequence[DeadLetter], events: str, broken: Mapping[Place, Record], found: Findings
) -> None:
    """Every broken record has one dead letter with its very bytes, no record has two, and of
    ``events`` no other has one. Of other labels see ``labels.account``; commands that could not be
    followed have one, too."""
    places = [place_of(letter) for letter in letters]
    for place, letter in zip(places, letters, strict=True):
        source = broken.get(place)
        if source is not None:
            headers = tuple((h.key, h.value) for h in letter.headers)
            if (letter.key, letter.value, headers) != (source.key, source.value, source.headers):
                found.mismatched(f"dead letter of {place}: its bytes are not the record's")
        elif letter.topic == events:
            found.mismatched(f"dead letter of {place}: {letter.reason}, {letter.detail}")
    found.once("dead letter of", places)
    for place in broken.keys() - set(places):
        found.lost(f"dead letter of {place}")

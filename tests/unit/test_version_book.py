"""Versions by model and number: all of them there, a few of them decoded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftloop.kernel.codec.records import codec
from driftloop.kernel.errors import DecodeError
from driftloop.kernel.records import Version
from driftloop.kernel.version_book import _READY, VersionBook
from window_builders import version


def test_all_that_were_put_are_there_and_are_as_they_were() -> None:
    book = VersionBook()
    made = {(model, n): version(n, model) for n in range(1, 12) for model in ("a", "b")}
    for one in made.values():
        book.put(codec(Version).encode(one))
    assert len(book) == len(made)
    assert set(book) == set(made)
    for key, one in made.items():
        assert book[key] == one
    assert ("a", 99) not in book
    assert book.get(("a", 99)) is None
    with pytest.raises(KeyError):
        book["c", 1]


def test_those_asked_for_last_are_not_decoded_again() -> None:
    book = VersionBook()
    for number in range(1, 20):
        book["a", number] = version(number, "a")
    asked = [book["a", number] for number in range(1, 1 + _READY)]
    again = [book["a", number] for number in range(1, 1 + _READY)]
    assert all(one is other for one, other in zip(asked, again, strict=True))
    book["a", 30] = version(30, "a")
    assert book["a", 1] == asked[0]
    assert book["a", 1] is not asked[0]


def test_a_record_that_comes_again_takes_the_place_of_the_first() -> None:
    book = VersionBook()
    book["a", 1] = version(1, "a")
    later = replace(version(1, "a"), created_at=77)
    book.put(codec(Version).encode(later))
    assert book["a", 1] == later
    assert len(book) == 1
    del book["a", 1]
    assert ("a", 1) not in book
    assert book.get(("a", 1)) is None


def test_what_is_no_version_is_refused() -> None:
    book = VersionBook()
    with pytest.raises(DecodeError):
        book.put(b"no version")
    assert not book

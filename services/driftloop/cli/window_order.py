"""What the records of a model's windows say of their place on the topic: it is in no digest.

The revision is how often the window was given out before. ``parts`` is how many windows of its
start and version there were when it was given out; those of one closing follow one another. The
watermark never goes back, and has passed the window's end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from driftloop.kernel.records import Window


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a record that is not as it should be."""

    window: str
    """Its id."""
    text: str
    certain: bool = True
    """Otherwise it could be as the record says, but that is not usual."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What one record says, and what those so far give."""

    window: Window
    due: int
    """The revision that it should be."""
    there: int
    """Windows of its start and version, up to it."""

    @property
    def key(self) -> tuple[int, int]:
        return self.window.start, self.window.version

    def finding(self, what: str, *, certain: bool = True) -> Finding:
        window = self.window
        text = f"window {window.id} revision {self.due}: {what}"
        return Finding(window.id, text, certain)


class WindowOrder:
    """Of the windows of one stream of one model, in the topic's order."""

    def __init__(self, *, from_start: bool) -> None:
        """``from_start``: whether the topic still has all of them. Otherwise nothing is said of
        parts, nor of the revision that a window begins with: others may have come before."""
        self._from_start = from_start
        self._places: list[_Place] = []
        self._newest: dict[str, Window] = {}
        self._due: dict[str, int] = {}
        self._ids: dict[tuple[int, int], set[str]] = {}

    def add(self, window: Window) -> None:
        """The next record."""
        id = window.id
        if self._newest.get(id) == window:
            return  # there twice, which tells nothing more
        self._newest[id] = window
        ids = self._ids.setdefault((window.start, window.version), set())
        ids.add(id)
        due = self._due.get(id, 0 if self._from_start else window.revision)
        self._due[id] = due + 1
        self._places.append(_Place(window, due, len(ids)))

    def findings(self, *, at_end: bool) -> list[Finding]:
        """``at_end``: whether the record added last is the topic's last."""
        found = [
            place.finding(f"it says that it is revision {place.window.revision}")
            for place in self._places
            if place.window.revision != place.due
        ]
        found += self._watermarks()
        return [*found, *self._parts(at_end=at_end)] if self._from_start else found

    def _watermarks(self) -> Iterator[Finding]:
        passed = [p for p in self._places if p.window.watermark >= p.window.end]
        steady = _steady([place.window.watermark for place in passed])
        kept = {id(passed[index]) for index in steady}
        for place in self._places:
            watermark = place.window.watermark
            if watermark < place.window.end:
                yield place.finding(f"its watermark {watermark} has not come to its end")
            elif id(place) not in kept:
                yield place.finding(
                    f"its watermark {watermark} does not lie between those before and after it"
                )

    def _parts(self, *, at_end: bool) -> Iterator[Finding]:
        told = False
        """Whether a record before told its parts: those of older releases do not."""
        for run in _runs(self._places):
            said = [place.window.parts for place in run]
            there = run[-1].there
            # The others may still come.
            cut = not at_end and run[-1] is self._places[-1] and min(said) == max(said) > there
            if cut or (not told and not any(said)):
                continue
            told = True
            certain = not _by_turns(run)
            for place, parts in zip(run, said, strict=True):
                if parts != there:
                    yield place.finding(
                        f"it says that its start and version have {parts} parts when it is given "
                        f"out, and the topic has {there}",
                        certain=certain,
                    )


def _runs(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    """Records of one start and version that follow one another, each of another shadow, in their
    order: as they are given out together."""
    for _, same in groupby(places, lambda place: place.key):
        run: list[_Place] = []
        for place in same:
            if run and place.window.shadow <= run[-1].window.shadow:
                yield run
                run = []
            run.append(place)
        yield run


def _by_turns(run: Sequence[_Place]) -> bool:
    """Whether what they say is true if they were not given out together, but one or some after the
    others: rows of a source partition that was not waited for come when the others have closed."""
    for parts, group in groupby(run, lambda place: place.window.parts):
        *_, last = group
        if parts not in (0, last.there):
            return False
    return True


def _steady(values: Sequence[int]) -> list[int]:
    """Places of as many of the values as possible that do not descend."""
    least: list[int] = []
    """Of the sequences of each length so far the least last value; then its place."""
    last: list[int] = []
    before: list[int] = []
    for place, value in enumerate(values):
        at = bisect_right(least, value)
        before.append(last[at - 1] if at else -1)
        least[at : at + 1] = [value]
        last[at : at + 1] = [place]
    found: list[int] = []
    place = last[-1] if last else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found

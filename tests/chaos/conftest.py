"""What the fuzz tests share: real records of models in every form, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness.corpus import Corpus, make_corpus
from harness.forms import Form

from driftloop.kernel.codec.wire import installed


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Form], Corpus]:
    """The corpus of a form."""
    made: dict[str, Corpus] = {}

    def find(form: Form) -> Corpus:
        if form.name not in made:
            with installed(form.wire()):
                made[form.name] = make_corpus(tmp_path_factory.mktemp("corpus"), form)
        return made[form.name]

    return find


@pytest.fixture
def corpus(request: pytest.FixtureRequest, corpora: Callable[[Form], Corpus]) -> Iterator[Corpus]:
    """That of the form which the test is parametrized with, and its wire in force."""
    found = corpora(request.param)
    with installed(found.wire):
        yield found

"""Lines of keys in every form that TOML has."""

from __future__ import annotations

import pytest

from driftloop.kernel.toml_lines import Path, TomlText

DOCUMENT = '''\
# a comment, [not.a.table]
plain = 1 # after = it
"quoted.key" = 'C:\\path\\'
a.b . "c d" = 2013-01-01T06:00:00Z
floats = [
  1.5, -inf, # [
  { x = 1, y = [2,
    3] },
]
text = """
[inside]
key = "value" \\""" ""
still""""
literal = \'\'\'
[inside]\'\'\'
empty = {}
[table]
one = true
[table.deeper.still]
two = 2
[[rows]]
name = "first"
[[rows.parts]]
part = 1
[[rows]]
name = "second"
[rows.sub]
z = 0
[[rows.parts]]
part = 2
[[rows.parts]]
part = 3'''


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("plain",), 2),
        (("quoted.key",), 3),
        (("a", "b", "c d"), 4),
        (("a",), 4),
        (("floats",), 5),
        (("floats", 0), 6),
        (("floats", 2, "x"), 7),
        (("floats", 2, "y", 1), 8),
        (("text",), 10),
        (("literal",), 14),
        (("empty",), 16),
        (("table",), 17),
        (("table", "one"), 18),
        (("table", "deeper", "still", "two"), 20),
        (("rows",), 21),
        (("rows", 0, "name"), 22),
        (("rows", 0, "parts", 0, "part"), 24),
        (("rows", 1), 25),
        (("rows", 1, "name"), 26),
        (("rows", 1, "sub", "z"), 28),
        (("rows", 1, "parts", 0, "part"), 30),
        (("rows", 1, "parts", 1, "part"), 32),
        (("rows", 1, "lacking"), 25),
        (("lacking", "too"), 0),
    ],
)
def test_a_key_is_found_on_its_line(path: Path, line: int, newline: str) -> None:
    assert TomlText(DOCUMENT.replace("\n", newline)).line(path) == line


def test_nothing_is_on_no_line() -> None:
    assert TomlText("").line(("x",)) == 0
    assert TomlText("# only a comment").line(()) == 0

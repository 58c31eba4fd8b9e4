"""Text from records on a terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from driftloop.cli.printable import printable, printable_lines, printable_record
from driftloop.cli.records_text import record_text
from driftloop.kernel.reasons import Reason
from driftloop.kernel.records import DeadLetter


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 漢字", "plain, ünïcode 漢字"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
        ("\u202eright to left\u2028line", "\\u202eright to left\\u2028line"),
        ("\x9b31m", "\\x9b31m"),
        ("pay\u200bpal\xad\ufeff\U000e0041", "pay\\u200bpal\\xad\\ufeff\\U000e0041"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines() -> None:
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"


def test_a_record_is_shown_without_control_characters_however_deep_they_are() -> None:
    letter = DeadLetter(
        "drift", Reason.MALFORMED, "of \x1b[1m", "t\x07", 0, 1, 2, b"k\x1b", b"v", (("h\n", b"x"),)
    )
    shown = printable_record(letter)
    assert (shown.topic, shown.key) == ("t\\x07", b"k\x1b")
    assert shown.headers == (("h\\n", b"x"),)
    assert "\x1b" not in record_text(letter)


def test_an_output_that_is_not_unicode_gets_escapes_and_json() -> None:
    program = (
        "from driftloop.cli.output import Output, encodable; encodable(); "
        "Output(False).show({}, 'caf\\xe9'); Output(True).show({'name': 'caf\\xe9'}, '')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )
    text, document = done.stdout.splitlines()
    assert text == b"caf\\xe9"
    assert json.loads(document) == {"name": "café"}

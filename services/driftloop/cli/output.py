"""What a command prints: its result on standard output, everything else on standard error."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import orjson
import typer

from driftloop.cli.printable import printable_lines
from driftloop.kernel.codec.mapping import to_plain
from driftloop.kernel.errors import ConfigurationError, DriftloopError

P = ParamSpec("P")

_INTERRUPTED = 130
_BROKEN_PIPE = 141


class Output:
    """Human text, or one JSON object per line."""

    def __init__(self, as_json: bool) -> None:
        self.json = as_json

    def show(self, document: Mapping[str, Any], text: str) -> None:
        """One result: ``document`` as JSON, or ``text``."""
        write(as_json(document) if self.json else printable_lines(text))

    def progress(self, line: str) -> None:
        """What is going on, for people."""
        sys.stderr.write(f"{printable_lines(line)}\n")
        sys.stderr.flush()


def encodable() -> None:
    """Characters that the output's encoding lacks are written as ``\\xe9``, and are no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(line: str) -> None:
    """One line to standard output, at once: whoever reads it may be waiting."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def as_json(document: Any) -> str:
    """Records become objects, bytes base64 text, NaN and infinity null. Of ASCII alone where
    standard output is not Unicode, so that it is JSON there, too."""
    found = orjson.dumps(to_plain(document), default=_base64, option=orjson.OPT_NON_STR_KEYS)
    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    return found.decode() if unicode else json.dumps(orjson.loads(found))


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


def reported(command: Callable[P, int | None]) -> Callable[P, None]:
    """A command whose errors are a message and an exit code, and never a traceback, where they
    are of the kind one expects. The command may return its exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or 0
        except DriftloopError as error:
            sys.stderr.write(f"driftloop: {printable_lines(str(error))}\n")
            code = 2 if isinstance(error, UsageError) else 1
        except KeyboardInterrupt:
            sys.stderr.write("driftloop: interrupted\n")
            code = _INTERRUPTED
        except BrokenPipeError:
            # The reader has had enough; nothing more may be written, at exit neither.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = _BROKEN_PIPE
        if code:
            raise typer.Exit(code)

    return run


class UsageError(ConfigurationError):
    """Options or arguments that do not go together."""

"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Model = Annotated[str, typer.Argument(help="The model's name.")]
OneModel = Annotated[str | None, typer.Option("--model", help="Only this model.")]
Why = Annotated[str, typer.Option("--why", help="For the audit trail.")]

"""Set-up compiles every loop once; what it runs must be what the families take."""

from __future__ import annotations

from driftloop.cli.warm import warm_all


def test_every_loop_can_be_compiled_ahead() -> None:
    warm_all()

"""Which processes of a directory run."""

from __future__ import annotations

import os
from pathlib import Path

from driftloop.cli.announcements import alive


def processes_of(directory: Path) -> dict[int, str]:
    """Id and command line of each process that has the directory in its environment or its command
    line, but for this one."""
    name = os.fsencode(directory)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            environ = (entry / "environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        if name in words + environ and alive(int(entry.name)):
            found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def workers_of(directory: Path) -> list[int]:
    """Those among them that train."""
    found = processes_of(directory)
    return [pid for pid, line in found.items() if "driftloop.trainer.worker" in line]

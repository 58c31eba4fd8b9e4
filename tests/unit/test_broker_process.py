"""A guarded process never outlives the one that wanted it, in whatever way that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from driftloop.adapters.broker.process import GuardedProcess
from driftloop.kernel.errors import BrokerError

ENDLESS = [sys.executable, "-I", "-S", "-c", "import signal\nwhile True: signal.pause()"]
STUBBORN = [
    *(sys.executable, "-I", "-S", "-c"),
    "import signal, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "while True: signal.pause()",
]
OWNER = """
import os, signal, sys, time
from pathlib import Path
from driftloop.adapters.broker.process import GuardedProcess
process = GuardedProcess({command!r}, environ={{}}, log=Path({log!r}), grace_s=5)
print(process.pid, flush=True)
{rest}
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or read
        return False
    return state != "Z"


def eventually(holds: Callable[[], bool], deadline_s: float = 20.0) -> bool:
    deadline = time.monotonic() + deadline_s
    turn = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        turn.wait(0.02)
    return True


def owner(tmp_path: Path, rest: str) -> subprocess.Popen[str]:
    program = OWNER.format(command=ENDLESS, log=str(tmp_path / "log"), rest=rest)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def announced(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_when_its_owner_is_ended_by(number: signal.Signals, tmp_path: Path) -> None:
    with owner(tmp_path, "while True: signal.pause()") as process:
        pid = announced(process)
        assert alive(pid)
        process.send_signal(number)
        process.wait(20)
        assert eventually(lambda: not alive(pid))


def test_it_ends_when_its_owner_returns(tmp_path: Path) -> None:
    with owner(tmp_path, "") as process:
        pid = announced(process)
        assert process.wait(20) == 0
        assert not alive(pid)


def test_it_ends_when_its_owner_dies_and_a_fork_still_holds_the_pipe(tmp_path: Path) -> None:
    rest = (
        "fork = os.fork()\n"
        "if fork == 0:\n"
        "    while True: signal.pause()\n"
        "print(fork, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with owner(tmp_path, rest) as process:
        pid = announced(process)
        fork = announced(process)
        try:
            process.wait(20)
            assert eventually(lambda: not alive(pid))
        finally:
            os.kill(fork, signal.SIGKILL)


def test_it_ends_when_its_guardian_is_killed(tmp_path: Path) -> None:
    process = GuardedProcess(ENDLESS, environ={}, log=tmp_path / "log", grace_s=5)
    try:
        guardian = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guardian, signal.SIGKILL)
        assert eventually(lambda: not alive(process.pid))
    finally:
        process.stop()


def test_it_goes_on_when_the_thread_that_started_it_ends(tmp_path: Path) -> None:
    started: list[GuardedProcess] = []

    def start() -> None:
        started.append(GuardedProcess(ENDLESS, environ={}, log=tmp_path / "log", grace_s=5))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        assert started[0].wait(0.3) is None
        assert alive(started[0].pid)
    finally:
        started[0].stop()


def test_stop_ends_it_and_may_be_repeated(tmp_path: Path) -> None:
    process = GuardedProcess(ENDLESS, environ={}, log=tmp_path / "log", grace_s=5)
    process.stop()
    assert not alive(process.pid)
    assert process.exit_code == 128 + signal.SIGTERM
    process.stop()


def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    process = GuardedProcess(STUBBORN, environ={}, log=tmp_path / "log", grace_s=0.2)
    assert eventually(lambda: "deaf" in (tmp_path / "log").read_text())
    process.stop()
    assert not alive(process.pid)
    assert process.exit_code == 128 + signal.SIGKILL


def test_kill_leaves_nothing(tmp_path: Path) -> None:
    process = GuardedProcess(ENDLESS, environ={}, log=tmp_path / "log", grace_s=5)
    process.kill()
    assert not alive(process.pid)
    assert not process.running


def test_its_exit_code_and_output_are_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", "print('said'); raise SystemExit(7)"]
    process = GuardedProcess(command, environ={}, log=tmp_path / "log", grace_s=5)
    assert process.wait(20) == 7
    assert "said" in (tmp_path / "log").read_text()
    process.stop()


def test_a_command_that_is_not_there_names_the_log(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="could not be started; see"):
        GuardedProcess(["/no/such/command"], environ={}, log=tmp_path / "log", grace_s=5)

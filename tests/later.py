"""An executor that works when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from typing_extensions import override


class Later(Executor):
    """Does what was submitted when told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        self.waiting.append(work)
        return future

    def work(self) -> int:
        done, self.waiting = self.waiting, []
        for task in done:
            task()
        return len(done)

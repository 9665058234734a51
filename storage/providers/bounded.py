"""Calls into a library that may never come back, each with a limit: they run one after the other on a thread of its
own, and whoever asked is told when that takes too long.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from storage.errors import Unavailable

Answer = TypeVar("Answer")


class BoundedThread:
    """One thread, started at its first use; a daemon, so that a call that hangs keeps no process from ending."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[[], Answer], limit_s: float) -> Answer:
        """What `call` gives or raises; Unavailable after the limit. What was not begun by then is never begun."""
        future: Future[Answer] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._waiting.put(run)
        try:
            return future.result(limit_s)
        except TimeoutError:
            future.cancel()
            raise Unavailable(f"the key provider has not answered within {limit_s:g} s") from None

    def _run(self) -> None:
        while True:
            self._waiting.get()()

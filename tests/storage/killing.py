"""Processes that are killed (-9) in the middle, and processes at once: forked, so that each need not begin anew.

Starting Python and loading the store takes 1.5 s of a processor, a fork nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from multiprocessing.pool import Pool
from pathlib import Path

from storage.erasure import Step
from storage.recordings import Recordings
from tests.storage.stores import open_at


def die() -> None:
    """The end of this process, at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in(act: Callable[[], object]) -> None:
    """Does something in a process of its own, which is to `die` of it. No store, and no thread, may be open here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: none of ours is running
        child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def killed_at(step: Step, root: Path, act: Callable[[Recordings], object]) -> None:
    """Does something with the store in `root`, in a process that dies as soon as the step is durable.

    The store must not be open here.
    """

    def use() -> None:
        with open_at(root, on_step=lambda at: die() if at is step else None) as store:
            act(store)

    killed_in(use)


def processes(number: int, loaded: str) -> Pool:
    """That many, forked from one that has nothing open and has loaded a module if it is the first of these."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([loaded])
    return context.Pool(number)

"""A process that is killed (-9) at a step of an erasure, forked so that it need not be started anew each time."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

from storage.erasure import Step
from storage.recordings import Recordings
from tests.storage.stores import open_at


def killed_at(step: Step, root: Path, act: Callable[[Recordings], object]) -> None:
    """Does something with the store in `root`, in a process that dies as soon as the step is durable.

    The store must not be open here.
    """

    def die(at: Step) -> None:
        if at is step:
            os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: none of ours is running
        child = os.fork()
    if child == 0:
        try:
            with open_at(root, on_step=die) as store:
                act(store)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

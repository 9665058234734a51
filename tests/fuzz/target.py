"""What a parser promises about any bytes, as something that can be run: its errors, its inverse, its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

CORPUS = Path(__file__).parent / "corpus"

CPU_S_MAX = 0.25
"""Of this thread, for one input: a parser that takes longer would hold up every other call. It is a hang."""

TRIES = 3
"""Before an input counts as a hang: the collector's work, and a first call's, is none of the parser's."""

LENGTH_MAX = 8192
"""Octets of an input: what goes wrong in a message of that size goes wrong in longer ones; the seeds may be longer."""

Value = TypeVar("Value")


class Hang(Exception):
    """An input took longer than CPU_S_MAX."""


@dataclass(frozen=True, slots=True)
class Target(Generic[Value]):
    """`read` may raise what is `promised`; `use` does with its value what the program does, and may raise nothing.

    Where what is read can be written again, `use` asserts that it is read as the same.
    """

    name: str
    read: Callable[[bytes], Value]
    use: Callable[[Value], object]
    promised: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]

    def run(self, data: bytes) -> None:
        """One input. What comes out of this is a finding."""
        try:
            value = self.read(data)
        except self.promised:
            return
        self.use(value)

    def check(self, data: bytes) -> float:
        """One input against the clock: seconds of this thread. Raises `Hang`, and whatever `run` does."""
        spent_s = 0.0
        for _ in range(TRIES):
            began = time.thread_time()
            self.run(data)
            spent_s = time.thread_time() - began
            if spent_s <= CPU_S_MAX:
                return spent_s
        raise Hang(f"{self.name}: {spent_s:.2f} s for {len(data)} octets")

    def kept(self) -> list[bytes]:
        """The corpus, the shortest first."""
        return sorted(
            (path.read_bytes() for path in (CORPUS / self.name).iterdir()), key=lambda data: (len(data), data)
        )

"""One finding of a check: what was found, how bad it is, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad a finding is: `warn` costs something some day, with `fail` callvault does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Row:
    """A finding; `mend` is empty where nothing needs mending."""

    name: str
    state: State
    found: str
    mend: str = ""


def graded(name: str, found: str, mend: str, *, fail: bool = False, warn: bool = False) -> Row:
    """A row whose state is the worst that applies; what is well needs no mending."""
    state = State.FAIL if fail else State.WARN if warn else State.OK
    return Row(name, state, found, "" if state is State.OK else mend)

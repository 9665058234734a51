"""One erasure watched: when each of its steps was durable, what CPU it took here and in the processes that it asked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from benchmarks import processes
from storage.catalogue import Catalogue
from storage.erasure import Step
from storage.tables import change_steps, changes

GROUND, ACTOR = "Art. 17(1)(a) GDPR", "bench"


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: monotonic, CPU of this process, and of its children (a database's server, a key provider's)."""

    at_s: float
    cpu_s: float
    children_s: float

    @classmethod
    def now(cls) -> Moment:
        """This one."""
        return cls(time.monotonic(), time.process_time(), processes.children_s(os.getpid()))


@dataclass(slots=True)
class Watch:
    """Told of each step, `on_step` of the store that is measured; `then` is what else is to happen at a step."""

    steps: dict[Step, Moment] = field(default_factory=dict)
    then: dict[Step, Callable[[], None]] = field(default_factory=dict)

    def note(self, step: Step) -> None:
        """For `Recordings.open`."""
        self.steps.setdefault(step, Moment.now())
        if step in self.then:
            self.then.pop(step)()

    def time(self, work: Callable[[], object]) -> dict[str, Any]:
        """The figures of an erasure: seconds from the request on, CPU of what is done until the certificate stands.

        `refused_s` is when every process has let go of the keys (the lease has run out); `cpu_s` and what follows is
        of the whole until the certificate, `sweep_…` of what nobody waits for.
        """
        self.steps.clear()
        began = Moment.now()
        work()
        return self._figures(began)

    def _figures(self, began: Moment) -> dict[str, Any]:
        def after(step: Step) -> float:
            return round(self.steps[step].at_s - began.at_s, 3)

        found: dict[str, Any] = {
            "intent_s": after(Step.INTENT),
            "refused_s": after(Step.LAPSE),
            "rewrapped_s": after(Step.REWRAP),
            "read_back_s": after(Step.READ_BACK),
            "key_destroyed_s": after(Step.DESTROY),
            "certificate_s": after(Step.DONE),
        }
        found |= _cpu("", began, self.steps[Step.DONE])
        order = list(self.steps)
        for before, step in zip([None, *order], order, strict=False):
            since = began if before is None else self.steps[before]
            found[f"{step.value}_cpu_s"] = round(self.steps[step].cpu_s - since.cpu_s, 3)
        if Step.SWEEP in self.steps:
            found["sweep_s"] = round(self.steps[Step.SWEEP].at_s - self.steps[Step.DONE].at_s, 3)
            found |= _cpu("sweep_", self.steps[Step.DONE], self.steps[Step.SWEEP])
        return found


def _cpu(name: str, began: Moment, ended: Moment) -> dict[str, float]:
    return {
        f"{name}cpu_s": round(ended.cpu_s - began.cpu_s, 3),
        f"{name}others_cpu_s": round(ended.children_s - began.children_s, 2),
    }


def counts(catalogue: Catalogue) -> dict[str, int]:
    """What the newest change of epoch has wrapped anew, over all roots."""
    query = select(change_steps.c.facts).join(changes, changes.c.id == change_steps.c.change)
    query = query.where(change_steps.c.step == Step.REWRAP.value).order_by(changes.c.serial.desc()).limit(1)
    with catalogue.reading() as connection:
        by_root = json.loads(connection.execute(query).scalar_one())["counts"]
    total: dict[str, int] = {}
    for found in by_root.values():
        for name, count in found.items():
            total[name] = total.get(name, 0) + count
    return total

"""The book of breach cases: the operator's, each a dossier; opened, moved on, and reminded of in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.rights.breach import HOURS_MAX, OLDEST_S, Breach, State, Step
from gateway.rights.orders import OPERATOR
from gateway.rights.request import checked_text
from storage.errors import Refused
from storage.exposure import Scope, Touched
from storage.model import CallId
from storage.recordings import Recordings
from storage.times import utc


@dataclass(frozen=True, slots=True)
class Overdue:
    """A share of a case's time is over; ALL: it is overdue. No personal data."""

    case: CallId
    share: float


class Breaches:
    """One installation's cases. What is not allowed raises Refused; NotFound for what is no case."""

    def __init__(self, recordings: Recordings) -> None:
        self._store = recordings.breaches
        self.operator = recordings.tenant(OPERATOR)

    def open(self, scope: Scope, what: str, *, aware_s: float, now_s: float, by: str, hours: int = HOURS_MAX) -> CallId:
        """A breach has become known; its clock runs from then. `hours` are what the tenants concerned were promised."""
        if not 0 <= now_s - aware_s <= OLDEST_S:
            raise Refused("a breach became known now or within the last 366 days")
        case = Breach(scope, aware_s, by, hours, texts={"what": checked_text(what, "what happened")})
        facts = {"aware": utc(aware_s), "due": utc(case.due_s), "places": " ".join(scope.reached)}
        return self._store.open(self.operator, case.to_json(), by, facts)

    def read(self, id: CallId) -> Breach:
        """One case."""
        return Breach.parse(self._store.read(self.operator, id))

    def all(self) -> Iterator[tuple[CallId, Breach]]:
        """All cases, newest first."""
        for id, body in self._store.all(self.operator):
            yield id, Breach.parse(body)

    def take(self, id: CallId, step: Step, *, now_s: float, by: str, **facts: Any) -> Breach:
        """A step, which the ledger learns of by its name."""
        body = self._store.amend(
            self.operator, id, lambda text: Breach.parse(text).take(step, now_s, by, **facts).to_json()
        )
        case = Breach.parse(body)
        late = {"late": now_s >= case.due_s} if step is Step.NOTIFY else {}
        self._store.enter(id, step.value, by, late)
        return case

    def survey(self, case: Breach) -> Sequence[Touched]:
        """What was within reach, by tenant, as it is counted now."""
        return self._store.survey(case.scope)

    def reported(self, id: CallId, sha256: str, *, by: str) -> int:
        """Notes in the ledger that a report was made, by its digest; gives the entry's number."""
        return self._store.enter(id, "report", by, {"sha256": sha256})

    def remind(self, now_s: float) -> list[Overdue]:
        """What is due to be told of open cases and was not: each share once. Remembered before it is given."""
        told: list[Overdue] = []
        for id, case in self.all():
            if not (due := case.due(now_s)):
                continue
            self._store.amend(self.operator, id, partial(_told, due))
            told += [Overdue(id, share) for share in due]
        return told

    def counts(self, now_s: float) -> Counter[str]:
        """How many cases stand where, and `overdue`; and in how many whole hours the first open one is due."""
        found, left = Counter[str](), list[float]()
        for _, case in self.all():
            found[case.state.value] += 1
            found["overdue"] += case.overdue(now_s)
            left += [case.due_s - now_s] * (case.state is State.OPEN)
        if left:
            found["due_s"] = int(min(left))
        return found


def _told(shares: list[float], text: bytes) -> bytes:
    return Breach.parse(text).told(shares).to_json()

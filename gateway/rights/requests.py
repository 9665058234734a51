"""The book of requests: each a dossier of its tenant, opened, moved on, answered, and reminded of in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

from gateway.outside import Destination
from gateway.rights.answers import ANSWERS, Answering
from gateway.rights.deadlines import Deadlines, today
from gateway.rights.delivering import Delivery, Ground
from gateway.rights.destinations import authorisation
from gateway.rights.export import Plan
from gateway.rights.request import EXPORTING, OPEN, Request, Right, State, Step, checked_text
from gateway.rights.share import Matched, share_of
from storage.errors import Erased, NotFound, NotReady, Refused, Restricted
from storage.model import CallId, Kind, TenantId
from storage.recordings import Recordings
from storage.sealedexport import Recipient

OLDEST_DAYS = 366
"""How long ago a request may have come that is entered today."""

ALL = 1.0
"""The share of its time after which a request is overdue."""

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Reminder:
    """A share of a request's time is over; ALL: it is overdue. No personal data."""

    tenant: TenantId
    request: CallId
    share: float


class Requests:
    """One installation's requests. What is not allowed raises Refused; NotFound for another tenant's."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings

    def open(
        self,
        tenant: TenantId,
        right: Right,
        subject: str,
        *,
        received: date,
        deadlines: Deadlines,
        zone: str,
        now_s: float,
    ) -> CallId:
        """A request has come, on a day of the tenant's zone."""
        age = (today(now_s, zone) - received).days
        if not 0 <= age <= OLDEST_DAYS:
            raise Refused(f"a request came today or within the last {OLDEST_DAYS} days")
        request = Request(right, received, zone, checked_text(subject, "who asks"), deadlines)
        return self._recordings.dossiers.open(tenant, Kind.REQUEST, request.to_json())

    def read(self, tenant: TenantId, id: CallId) -> Request:
        """One request."""
        return Request.parse(self._recordings.dossiers.read(tenant, id, Kind.REQUEST))

    def all(self, tenant: TenantId) -> Iterator[tuple[CallId, Request]]:
        """The tenant's requests, newest first; those whose time of keeping is over are left out."""
        before = None
        while page := self._recordings.dossiers.list(tenant, Kind.REQUEST, limit=_PAGE, before=before):
            for record in page:
                try:
                    yield record.id, self.read(tenant, record.id)
                except (Erased, NotFound):
                    continue
            before = page[-1].id

    def take(self, tenant: TenantId, id: CallId, step: Step, *, now_s: float, by: str, **facts: Any) -> Request:
        """A step that needs nothing but the request."""
        return self._change(tenant, id, lambda request: request.take(step, now_s, by, **facts))

    def match(
        self, tenant: TenantId, id: CallId, matches: list[Matched], *, now_s: float, by: str
    ) -> tuple[Request, list[CallId]]:
        """Name the calls, and the person in each; each must be there. Gives the calls that are erased already."""
        erased: list[CallId] = []
        for matched in matches:
            try:
                share_of(self._recordings, tenant, matched)
            except Erased:
                erased.append(matched.call)
            except Restricted:  # it is there, and nobody may look who is in it
                continue
        named = [matched.to_json() for matched in matches]
        return self.take(tenant, id, Step.MATCH, now_s=now_s, by=by, matches=named), erased

    def answer(
        self, tenant: TenantId, id: CallId, given: Mapping[str, Any], *, now_s: float, by: str
    ) -> tuple[Request, Mapping[str, Any]]:
        """Carry out what is asked for and close the request; gives what was done. Done twice, it is done once."""
        request = self.read(tenant, id)
        request.take(Step.ANSWER, now_s, by)  # Refused before anything is done
        done = ANSWERS[request.right](Answering(self._recordings, tenant, id, request, now_s, by), given)
        return self.take(tenant, id, Step.ANSWER, now_s=now_s, by=by, done=dict(done)), done

    def plan(self, tenant: TenantId, id: CallId) -> Plan:
        """What an export of the request has; Refused until the person is identified and others' data weighed."""
        request = self.read(tenant, id)
        if request.right not in EXPORTING:
            raise Refused(f"a request for {request.right.value} has no export")
        if request.identified is None or request.state not in (State.IDENTIFIED, State.ANSWERED):
            raise Refused("nothing is handed out before it is established who asks")
        if request.decision is None:
            raise NotReady("first the calls are named, and it is decided what of others goes out (Art. 15(4))")
        decision = {"words": request.words.value, "reason": request.decision["reason"]}
        about = {"request": id, "right": request.right.value, "others_data": decision}
        return Plan(tenant, request.matches, about, words=request.words)

    def delivery(
        self, tenant: TenantId, id: CallId, *, by: str, admitted: Callable[[str], Destination] | None = None
    ) -> Delivery:
        """The same with where it goes. `admitted` gives the destination that was decided on, as it is authorised now;
        Refused if that is not so any more, or not yet."""
        plan, decision = self.plan(tenant, id), self.read(tenant, id).decision or {}
        to, key = decision.get("to") or "", decision.get("key")
        name, allowed = decision.get("destination"), dict[str, Any]()
        if name:
            if admitted is None:
                raise Refused(f"no destination {name} is authorised")
            found = admitted(name)
            to, key, allowed = found.to, found.key or key, authorisation(found)
            plan = replace(plan, parts=frozenset(found.parts), fields=found.allowed)
        return Delivery(plan, Ground.REQUEST, id, to, by, Recipient.parse(key) if key else None, authorised=allowed)

    def remind(self, tenant: TenantId, now_s: float) -> list[Reminder]:
        """What is due to be told of open requests and was not: each share once. Remembered before it is given."""
        told: list[Reminder] = []
        for id, request in self.all(tenant):
            due = _due(request, now_s)
            if not due:
                continue
            self._change(tenant, id, partial(_told, due))
            told += [Reminder(tenant, id, share) for share in due]
        return told

    def counts(self, tenant: TenantId, now_s: float) -> Counter[str]:
        """How many stand where; `overdue` are open ones whose time is over."""
        counted = Counter[str]()
        for _, request in self.all(tenant):
            counted[request.state.value] += 1
            counted["overdue"] += request.overdue(now_s)
        return counted

    def _change(self, tenant: TenantId, id: CallId, change: Callable[[Request], Request]) -> Request:
        body = self._recordings.dossiers.amend(
            tenant, id, Kind.REQUEST, lambda text: change(Request.parse(text)).to_json()
        )
        return Request.parse(body)


def _told(due: Sequence[float], request: Request) -> Request:
    warned = {*request.warned, *(share for share in due if share < ALL)}
    return replace(request, warned=tuple(sorted(warned)), breached=request.breached or ALL in due)


def _due(request: Request, now_s: float) -> list[float]:
    if request.state not in OPEN:
        return []
    warnings = request.deadlines.warnings_s(request.received, request.zone, extended=request.extended)
    due = [share for share, at_s in warnings if now_s >= at_s and share not in request.warned]
    return due + [ALL] * (request.overdue(now_s) and not request.breached)

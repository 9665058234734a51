"""Requests of people who were recorded: entered, moved on step by step, and answered, by officers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.context import AsOfficer, Caller, Context, InContext
from gateway.calls.identifiers import VALUE_CHARACTERS_MAX, Sort
from gateway.outside import Destination
from gateway.rights.deadlines import today
from gateway.rights.delivering import Delivery, deliver
from gateway.rights.destinations import admitted, authorised
from gateway.rights.matching import calls_of
from gateway.rights.parts import Words
from gateway.rights.request import MATCHES_MAX, TEXT_CHARACTERS_MAX, Request, Right, Step
from gateway.rights.requests import Requests
from gateway.rights.share import Matched
from storage.errors import Refused
from storage.model import CallId, is_id
from storage.recordings import Recordings
from storage.sealedexport import recipient_of

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/requests", tags=["requests"])

LISTED_MAX = 500
PERSON = "the person who asks"

Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewRequest(_Body):
    """A request as it came in; `subject` says who asks, and is sealed."""

    right: Right
    received: date = Field(description="day on which it came, in the tenant's time zone")
    subject: Text


class Identity(_Body):
    """How it was established who asks. The proof itself is kept elsewhere."""

    how: Text


class Number(_Body):
    """Whose calls are looked for."""

    by: Sort = Sort.NUMBER
    value: Annotated[str, Field(min_length=1, max_length=VALUE_CHARACTERS_MAX)]


class Matches(_Body):
    """The calls, each as `CALL/WHO`; who is a participant's id, `caller` or `called`."""

    matches: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}/([0-9a-f]{32}|caller|called)$")]],
        Field(min_length=1, max_length=MATCHES_MAX),
    ]


class Decision(_Body):
    """What of others may be in the copy (Art. 15(4) GDPR), and where it goes: to the person, or on its behalf to
    somebody else, who is named, or to a destination of the configuration. With a key it is sealed for that."""

    words: Words
    reason: Text
    to: Annotated[str, Field(min_length=1, max_length=200)] = PERSON
    key: Annotated[str | None, Field(max_length=100, description="`cvx1-public-…`")] = None
    destination: Annotated[str | None, Field(max_length=64)] = None


class Reason(_Body):
    """Why."""

    reason: Text


class Refusal(_Body):
    """On what ground."""

    ground: Text


class Answer(_Body):
    """What a right's answer needs: rectification a `statement`, objection `upheld` and `reason`, withdrawal a `purpose`
    if it is of one only; the others nothing: they are carried out on the calls that were named."""

    statement: Annotated[str | None, Field(max_length=TEXT_CHARACTERS_MAX)] = None
    upheld: bool | None = None
    reason: Annotated[str | None, Field(max_length=TEXT_CHARACTERS_MAX)] = None
    purpose: Annotated[str | None, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = None


def request_id(request: str) -> CallId:
    """A request's id from the path; what cannot be one is 404, as another tenant's would be."""
    if not is_id(request):
        raise HTTPException(404, "no such request")
    return CallId(request)


def book(context: InContext) -> Requests:
    """The book of requests."""
    return Requests(context.recordings)


OfRequest = Annotated[CallId, Depends(request_id)]
InBook = Annotated[Requests, Depends(book)]


@router.post("", status_code=201)
def enter(context: InContext, who: AsOfficer, requests: InBook, body: NewRequest) -> dict[str, Any]:
    """Enter a request. Its clock runs from the day on which it came."""
    now_s, zone = context.clock(), context.zone(who.tenant)
    deadlines = context.deadlines(who.tenant)
    made = requests.open(
        who.tenant, body.right, body.subject, received=body.received, deadlines=deadlines, zone=zone, now_s=now_s
    )
    return shown(made, requests.read(who.tenant, made), now_s)


@router.get("")
def listed(
    context: InContext, who: AsOfficer, requests: InBook, limit: Annotated[int, Query(ge=1, le=LISTED_MAX)] = 100
) -> dict[str, Any]:
    """The tenant's requests, newest first, without calls and history."""
    now_s = context.clock()
    found = islice(requests.all(who.tenant), limit)
    return {"requests": [shown(id, request, now_s, brief=True) for id, request in found]}


@router.get("/{request}")
def one(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest) -> dict[str, Any]:
    """One request, with everything that was done with it."""
    return shown(request, requests.read(who.tenant, request), context.clock())


@router.post("/{request}/identity")
def identify(
    context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Identity
) -> dict[str, Any]:
    """It was checked who asks: by whom and when is remembered."""
    return _step(context, who, requests, request, Step.IDENTIFY, how=body.how)


@router.post("/{request}/candidates")
def candidates(
    context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Number
) -> dict[str, Any]:
    """Calls that have a number or address, for somebody to look at: nothing is done with them."""
    requests.read(who.tenant, request)
    found = calls_of(context.recordings, who.tenant, body.by, body.value)
    rows = [
        {"call": record.id, "day": record.day, "state": record.state.value, "who": people}
        for record, people in islice(found, MATCHES_MAX)
    ]
    return {"calls": rows, "complete": next(iter(found), None) is None}


@router.post("/{request}/matches")
def match(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Matches) -> dict[str, Any]:
    """These calls, and in each this person; in place of those named before. Those erased already are told."""
    named = [Matched(CallId(call), person) for call, _, person in (text.partition("/") for text in body.matches)]
    now_s = context.clock()
    moved, erased = requests.match(who.tenant, request, named, now_s=now_s, by=who.token)
    return shown(request, moved, now_s) | {"erased": erased}


@router.post("/{request}/decision")
def decide(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Decision) -> dict[str, Any]:
    """What of others may be in the copy, and where it goes."""
    to, key = body.to, body.key
    if body.destination is not None:
        day = today(context.clock(), context.zone(who.tenant))
        try:
            found = authorised(context.destinations(who.tenant), body.destination, (), day)
        except Refused:
            log.warning("copy refused: destination not authorised", extra={"tenant": who.tenant})
            context.released["egress_refused"] += 1
            raise
        to, key = found.to, found.key or key
    if key is not None:
        recipient_of(key)
    facts = {"words": body.words.value, "reason": body.reason, "to": to, "key": key, "destination": body.destination}
    return _step(context, who, requests, request, Step.DECIDE, **facts)


@router.post("/{request}/extension")
def extend(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Reason) -> dict[str, Any]:
    """More time, once, before the first has run out (Art. 12(3) GDPR)."""
    return _step(context, who, requests, request, Step.EXTEND, reason=body.reason)


@router.post("/{request}/refusal")
def refuse(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Refusal) -> dict[str, Any]:
    """Refuse, on a ground."""
    return _step(context, who, requests, request, Step.REFUSE, ground=body.ground)


@router.post("/{request}/withdrawal")
def withdraw(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest) -> dict[str, Any]:
    """Whoever asked does not ask any more."""
    return _step(context, who, requests, request, Step.WITHDRAW)


@router.post("/{request}/answer")
def answer(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest, body: Answer) -> dict[str, Any]:
    """Carry out what is asked for, and close the request."""
    now_s, given = context.clock(), body.model_dump(exclude_none=True)
    moved, done = requests.answer(who.tenant, request, given, now_s=now_s, by=who.token)
    return shown(request, moved, now_s) | {"done": done}


@router.get("/{request}/export", response_class=StreamingResponse)
def export(context: InContext, who: AsOfficer, requests: InBook, request: OfRequest) -> StreamingResponse:
    """The copy itself: a ZIP, or that sealed for its recipient. It is on record before its first byte. To a destination
    only what it is authorised for leaves, and nothing before the tenant was told of it."""
    day = today(context.clock(), context.zone(who.tenant))

    def now_admitted(name: str) -> Destination:
        try:
            return admitted(context.recordings.register, who.tenant, context.destinations(who.tenant), name, day)
        except Refused:
            log.warning("copy refused: destination not authorised", extra={"tenant": who.tenant})
            context.released["egress_refused"] += 1
            raise

    delivery = requests.delivery(who.tenant, request, by=who.token, admitted=now_admitted)
    return sent(context.recordings, context, delivery)


def sent(recordings: Recordings, context: Context, delivery: Delivery) -> StreamingResponse:
    """A copy as an answer."""
    parts = deliver(recordings, delivery)
    context.released[f"released_{delivery.ground.value}"] += 1
    headers = {"Cache-Control": "no-store"}
    headers["Content-Disposition"] = f'attachment; filename="{delivery.reference}.{delivery.suffix}"'
    kind = "application/zip" if delivery.key is None else "application/octet-stream"
    return StreamingResponse(_body(parts), 200, headers, media_type=kind)


def _body(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield from parts


def shown(id: CallId, request: Request, now_s: float, *, brief: bool = False) -> dict[str, Any]:
    """A request as officers see it."""
    row: dict[str, Any] = {
        **{"id": id, "right": request.right.value, "state": request.state.value, "subject": request.subject},
        **{"received": request.received.isoformat(), "due": _utc(request.due_s), "zone": request.zone},
        **{"last_day": request.last_day.isoformat(), "extended": request.extended, "overdue": request.overdue(now_s)},
    }
    if brief:
        return row
    row |= {"matches": [f"{matched.call}/{matched.who}" for matched in request.matches]}
    history: Sequence[Any] = [{**entry, "at": _utc(entry["at"])} for entry in request.history]
    return row | {"identified": request.identified, "decision": request.decision, "history": history}


def _step(context: Context, who: Caller, requests: Requests, id: CallId, step: Step, **facts: Any) -> dict[str, Any]:
    now_s = context.clock()
    return shown(id, requests.take(who.tenant, id, step, now_s=now_s, by=who.token, **facts), now_s)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

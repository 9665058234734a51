"""Breach cases (Art. 33, 34 GDPR): for the operator alone, whose tokens are no tenant's."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.api.context import AsOperator, Context, InContext
from gateway.promises.record import measures_of
from gateway.rights.breach import HOURS_MAX, Breach, Step, checked_scope
from gateway.rights.breaches import Breaches
from gateway.rights.breachreport import as_markdown, digest, report
from gateway.rights.orders import OPERATOR
from gateway.rights.request import TEXT_CHARACTERS_MAX
from storage.exposure import CALLS_MAX, Reach, Scope
from storage.model import CallId, TenantId, is_id
from storage.times import utc

router = APIRouter(prefix="/v1/breaches", tags=["breaches"])

Text = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]


class Within(BaseModel):
    """What was within reach: places, and what narrows it. Empty: not narrowed by that."""

    model_config = ConfigDict(extra="forbid")
    reached: Annotated[list[Reach], Field(min_length=1)]
    tenants: Annotated[list[str], Field(max_length=500, description="by name")] = []
    calls: Annotated[list[str], Field(max_length=CALLS_MAX)] = []
    first: Annotated[str, Field(max_length=10, description="UTC day of the first call")] = ""
    last: Annotated[str, Field(max_length=10)] = ""
    region: Annotated[str, Field(max_length=32)] = ""
    since: Annotated[AwareDatetime | None, Field(description="when the breach began")] = None


class Opening(BaseModel):
    """A breach has become known: what happened, since when it is known, and what was within reach."""

    model_config = ConfigDict(extra="forbid")
    what: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
    scope: Within
    aware: AwareDatetime | None = None


class Act(BaseModel):
    """What a step needs: texts to describe, a scope, who was told and by which reference, a reason."""

    model_config = ConfigDict(extra="forbid")
    what: Text = ""
    causes: Text = ""
    effects: Text = ""
    taken: Text = ""
    contact: Text = ""
    scope: Within | None = None
    to: Text = ""
    reference: Text = ""
    reason: Text = ""


def case_id(case: str) -> CallId:
    """A case's id from the path; what cannot be one is 404."""
    if not is_id(case):
        raise HTTPException(404, "no such breach")
    return CallId(case)


def book(context: InContext, who: AsOperator) -> Breaches:
    """The book of cases."""
    return Breaches(context.recordings)


OfCase = Annotated[CallId, Depends(case_id)]
InBook = Annotated[Breaches, Depends(book)]


@router.post("", status_code=201)
def opened(context: InContext, who: AsOperator, breaches: InBook, body: Opening) -> dict[str, Any]:
    """Open a case: the 72 hours run from `aware`, or from now."""
    scope, now_s = _scope(context, body.scope), context.clock()
    aware_s = now_s if body.aware is None else body.aware.timestamp()
    hours = _hours(context, scope)
    id = breaches.open(scope, body.what, aware_s=aware_s, now_s=now_s, by=who.token, hours=hours)
    return _shown(id, breaches.read(id), now_s)


@router.get("")
def listed(context: InContext, breaches: InBook, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> dict[str, Any]:
    """All cases, newest first."""
    now_s = context.clock()
    return {"breaches": [_shown(id, case, now_s) for id, case in islice(breaches.all(), limit)]}


@router.get("/{case}")
def one(context: InContext, breaches: InBook, case: OfCase) -> dict[str, Any]:
    """One case, with everything that was done with it."""
    return _shown(case, breaches.read(case), context.clock())


@router.post("/{case}/{step}")
def act(context: InContext, who: AsOperator, breaches: InBook, case: OfCase, step: Step, body: Act) -> dict[str, Any]:
    """`describe`, `scope`, `notify` (the authority), `tell` (a tenant), `people`, `close`."""
    facts: dict[str, Any] = {name: text for name, text in body.model_dump(exclude={"scope"}).items() if text}
    if body.scope is not None:
        facts["scope"] = _json(_scope(context, body.scope))
    elif step is Step.SCOPE:
        raise HTTPException(422, "a scope is needed")
    return _shown(case, breaches.take(case, step, now_s=context.clock(), by=who.token, **facts), context.clock())


@router.get("/{case}/report", response_class=Response)
def reported(
    context: InContext,
    who: AsOperator,
    breaches: InBook,
    case: OfCase,
    tenant: Annotated[str | None, Query(max_length=63, description="one tenant's report alone")] = None,
    format: Literal["md", "json"] = "json",
) -> Response:
    """The report for the authority, or with `tenant` for that tenant alone; its digest is in the ledger before it is
    given."""
    found = breaches.read(case)
    names = {id: name for name, id in context.tenants().items()} | {breaches.operator: OPERATOR}
    touched = breaches.survey(found)
    if tenant is not None:
        touched = [one for one in touched if names.get(one.tenant) == tenant]
        if not touched:
            raise HTTPException(404, "nothing of this tenant was within reach")
    measures = {names[one.tenant]: measures_of(live) for one in touched if (live := context.live(one.tenant))}
    body = report(case, found, touched, names, measures, context.clock())
    entry = breaches.reported(case, digest(body), by=who.token)
    headers = {"Cache-Control": "no-store", "X-Ledger-Entry": str(entry)}
    if format == "md":
        return Response(as_markdown(body), headers=headers, media_type="text/markdown; charset=utf-8")
    return JSONResponse(body, headers=headers)


def _scope(context: Context, body: Within) -> Scope:
    known = context.tenants()
    unknown = [name for name in body.tenants if name not in known]
    if unknown:
        raise HTTPException(404, f"no such tenant: {', '.join(unknown)}")
    given: dict[str, Any] = body.model_dump(exclude={"since", "tenants"})
    given["tenants"] = [known[name] for name in body.tenants]
    given["since_s"] = 0.0 if body.since is None else body.since.timestamp()
    return checked_scope(given)


def _json(scope: Scope) -> dict[str, Any]:
    return {name: getattr(scope, name) for name in scope.__slots__}


def _hours(context: Context, scope: Scope) -> int:
    """What the strictest of the tenants concerned was promised, and never more than the law has."""
    concerned: list[TenantId] = list(scope.tenants) or list(context.tenants().values())
    promised = [context.recordings.policy(tenant).breach.hours for tenant in concerned]
    return min([HOURS_MAX, *(hours for hours in promised if hours)])


def _shown(id: CallId, case: Breach, now_s: float) -> dict[str, Any]:
    scope = _json(case.scope) | {"since": utc(case.scope.since_s) if case.scope.since_s else None}
    scope.pop("since_s")
    return {
        **{"id": id, "state": case.state.value, "known_since": utc(case.aware_s), "due": utc(case.due_s)},
        **{"hours_left": round((case.due_s - now_s) / 3600, 1), "overdue": case.overdue(now_s)},
        **{"told": None if case.notified_s is None else utc(case.notified_s), "scope": scope},
        **{"texts": dict(case.texts), "opened_by": case.by},
        "history": [{**entry, "at": utc(entry["at"])} for entry in case.history],
    }

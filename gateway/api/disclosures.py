"""Disclosure orders: for the operator alone, whose tokens are no tenant's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.api.context import AsOperator, InContext
from gateway.calls.identifiers import VALUE_CHARACTERS_MAX, Sort
from gateway.rights.order import CALLS_MAX, Order, Step, named
from gateway.rights.orders import Orders
from gateway.rights.parts import Part
from gateway.rights.request import TEXT_CHARACTERS_MAX
from storage.model import CallId, is_id
from storage.sealedexport import recipient_of

router = APIRouter(prefix="/v1/disclosures", tags=["disclosures"])


class NewOrder(BaseModel):
    """An order: whose calls (a tenant's name), by which authority and ground, which calls (`CALL`, `CALL/WHO`) or which
    number's, of which time, until when it is good. Gagged, its tenant does not learn of it."""

    model_config = ConfigDict(extra="forbid")
    tenant: Annotated[str, Field(max_length=63)]
    authority: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
    ground: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
    first: AwareDatetime
    last: AwareDatetime
    until: date
    parts: Annotated[list[Part], Field(min_length=1)]
    calls: Annotated[list[str], Field(max_length=CALLS_MAX)] = []
    by: Sort = Sort.NUMBER
    number: Annotated[str | None, Field(min_length=1, max_length=VALUE_CHARACTERS_MAX)] = None
    gagged: bool = False
    key: Annotated[str | None, Field(max_length=100, description="`cvx1-public-…`")] = None


def order_id(order: str) -> CallId:
    """An order's id from the path; what cannot be one is 404."""
    if not is_id(order):
        raise HTTPException(404, "no such order")
    return CallId(order)


def book(context: InContext, who: AsOperator) -> Orders:
    """The book of orders."""
    return Orders(context.recordings)


OfOrder = Annotated[CallId, Depends(order_id)]
InBook = Annotated[Orders, Depends(book)]


@router.post("", status_code=201)
def enter(context: InContext, who: AsOperator, orders: InBook, body: NewOrder) -> dict[str, Any]:
    """Enter an order. Another token has to approve it."""
    tenant = context.tenants().get(body.tenant)
    if tenant is None:
        raise HTTPException(404, "no such tenant")
    if body.key is not None:
        recipient_of(body.key)
    order = Order(
        tenant=tenant,
        authority=body.authority,
        ground=body.ground,
        first_s=body.first.timestamp(),
        last_s=body.last.timestamp(),
        until=body.until,
        by=who.token,
        at=int(context.clock()),
        parts=tuple(dict.fromkeys(body.parts)),
        gagged=body.gagged,
        key=body.key,
        calls=tuple(dict.fromkeys(map(named, body.calls))),
        number=None if body.number is None else (body.by, body.number),
    )
    made = orders.enter(order)
    return _shown(made, order)


@router.get("")
def listed(orders: InBook, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> dict[str, Any]:
    """All orders, newest first."""
    return {"orders": [_shown(id, order) for id, order in islice(orders.all(), limit)]}


@router.get("/report")
def report(orders: InBook, year: Annotated[int, Query(ge=2000, le=9999)]) -> dict[str, Any]:
    """The transparency report of a year: numbers, of all tenants together."""
    return {"year": year, **orders.report(year)}


@router.get("/{order}")
def one(orders: InBook, order: OfOrder) -> dict[str, Any]:
    """One order, with everything that was done with it."""
    return _shown(order, orders.read(order))


@router.post("/{order}/{act}")
def act(context: InContext, who: AsOperator, orders: InBook, order: OfOrder, act: str) -> dict[str, Any]:
    """`approval`, by another token than entered it; `rejection`; `revocation`."""
    steps = {"approval": Step.APPROVE, "rejection": Step.REJECT, "revocation": Step.REVOKE}
    if act not in steps:
        raise HTTPException(404, "no such act")
    return _shown(order, orders.take(order, steps[act], now_s=context.clock(), by=who.token))


@router.get("/{order}/export", response_class=StreamingResponse)
def export(context: InContext, who: AsOperator, orders: InBook, order: OfOrder) -> StreamingResponse:
    """Exactly what an approved order covers; on record before its first byte."""
    parts, sealed = orders.execute(order, now_s=context.clock(), by=who.token)
    context.released["released_order"] += 1
    headers = {"Cache-Control": "no-store"}
    headers["Content-Disposition"] = f'attachment; filename="{order}.{"cvx" if sealed else "zip"}"'
    kind = "application/octet-stream" if sealed else "application/zip"
    return StreamingResponse(parts, 200, headers, media_type=kind)


def _shown(id: CallId, order: Order) -> dict[str, Any]:
    return {
        **{"id": id, "state": order.state.value, "tenant": order.tenant, "authority": order.authority},
        **{"ground": order.ground, "first": _utc(order.first_s), "last": _utc(order.last_s)},
        **{"until": order.until.isoformat(), "parts": list(order.parts), "gagged": order.gagged, "key": order.key},
        **{"calls": [f"{one.call}/{one.who}" for one in order.calls]},
        **{"number": None if order.number is None else order.number[1], "entered_by": order.by},
        **{"history": [{**entry, "at": _utc(entry["at"])} for entry in order.history]},
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

"""What the API's routes work with, and who is asking."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from gateway.calls.pause import Pauses
from gateway.events import Hub
from gateway.ingest.whip import WhipIngest
from gateway.outside import Destination
from gateway.promises.measures import Live
from gateway.promises.page import Facts
from gateway.rights.deadlines import Deadlines
from gateway.rights.orders import OPERATOR
from storage.errors import Expired
from storage.model import CallId, Kind, TenantId, is_id
from storage.processor import Processor
from storage.recordings import Recordings
from storage.records import CallRecord
from storage.tokens import Role, Tokens

TOKEN_CHARACTERS_MAX = 256  # ours have 50; anything longer is not looked up

LOOPBACK = ("127.0.0.0/8", "::1/128")


async def _no_metrics() -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that the routes use. `end_call` ends a call that is still live; `ready` names what is
    not ready, `counters` tells how often things happened since the start, `metrics` renders everything for monitoring,
    `alarms` names what is wrong, `monitors` are the networks that may ask, `zone` is where a tenant's days begin,
    `facts` what the page about its policy tells of its settings, None if it is not configured;
    `whip` takes browsers' calls; without `pauses` no call is live. `deadlines` are what a tenant promises to people who
    ask, `destinations` where copies of its calls may go, `released` counts what was handed out, by ground,
     `processors` who else gets or holds data of its, `tenants` are the configured ones by name, `live` what is in
     effect for one, None if it is none."""

    recordings: Recordings
    tokens: Tokens
    hub: Hub
    end_call: Callable[[CallId], None]
    ready: Callable[[], list[str]]
    counters: Callable[[], dict[str, int]]
    metrics: Callable[[], Awaitable[bytes]] = _no_metrics
    alarms: Callable[[], list[str]] = list
    monitors: Callable[[], Sequence[str]] = lambda: LOOPBACK
    zone: Callable[[TenantId], str] = lambda tenant: "UTC"
    facts: Callable[[TenantId], Facts | None] = lambda tenant: None
    whip: WhipIngest | None = None
    pauses: Pauses | None = None
    clock: Callable[[], float] = time.time
    deadlines: Callable[[TenantId], Deadlines] = lambda tenant: Deadlines()
    destinations: Callable[[TenantId], Sequence[Destination]] = lambda tenant: ()
    released: Counter[str] = field(default_factory=Counter)
    processors: Callable[[TenantId], Sequence[Processor]] = lambda tenant: ()
    tenants: Callable[[], Mapping[str, TenantId]] = dict
    live: Callable[[TenantId], Live | None] = lambda tenant: None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a token's tenant and role."""

    tenant: TenantId
    role: Role
    token: str = ""  # its id: who did what is remembered by it

    @property
    def hears_originals(self) -> bool:
        """Whether originals (not only redacted text) open for this role."""
        return self.role in (Role.OFFICER, Role.ADMIN)


def context(request: Request) -> Context:
    """The context that the application was made with."""
    found: Context = request.app.state.context
    return found


def bearer(request: Request) -> Caller:
    """The token's tenant and role; 401 without a valid bearer token. A plain function: it runs in a thread."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and 0 < len(token) <= TOKEN_CHARACTERS_MAX:
        found = context(request).tokens.lookup(token.strip())
        if found is not None:
            return Caller(found.tenant, found.role, found.token)
    raise HTTPException(401, "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})


def caller(who: Annotated[Caller, Depends(bearer)]) -> Caller:
    """A caller who may see the tenant's calls; 403 for a token that only sends them, and for the operator's."""
    if who.role is Role.WHIP:
        raise HTTPException(403, "this token only sends calls")
    if who.role is Role.OPERATOR:
        raise HTTPException(403, "the operator sees no tenant's calls")
    return who


def officer(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """A caller who may erase and open originals; 403 for others."""
    if not who.hears_originals:
        raise HTTPException(403, "this needs the role officer or admin")
    return who


def check_kept(context: Context, who: Caller, record: CallRecord, kind: Kind) -> None:
    """Expired for those who are no officers, where nothing but a hold keeps artefacts of this kind any more."""
    if record.held and not who.hears_originals and kind in context.recordings.holds.alone(record.id).values():
        raise Expired(f"call {record.id}: the time of its {kind.value} is over")


def operator(context: Annotated[Context, Depends(context)], who: Annotated[Caller, Depends(bearer)]) -> Caller:
    """The operator; 403 for every tenant's token, whatever its role."""
    if who.role is not Role.OPERATOR or who.tenant != context.recordings.tenant(OPERATOR):
        raise HTTPException(403, "this is the operator's")
    return who


def call_id(call: str) -> CallId:
    """A call's id from the path; what cannot be one is 404, as another tenant's would be."""
    if not is_id(call):
        raise HTTPException(404, "no such call")
    return CallId(call)


InContext = Annotated[Context, Depends(context)]
AsCaller = Annotated[Caller, Depends(caller)]
AsOfficer = Annotated[Caller, Depends(officer)]
AsOperator = Annotated[Caller, Depends(operator)]
OfCall = Annotated[CallId, Depends(call_id)]

"""WHIP (RFC 9725): a browser posts its offer and sends a call's audio; the session is the resource it gets.

Statuses are the RFC's: 406 where not all of an offer can be taken (§4.4.3), 412 and 428 for the ICE session (§4.3.1),
422 for a restart, which we do not do (§4.3.1), 405 for methods that it keeps for later (§4.2).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from starlette.responses import JSONResponse

from gateway.api.context import Caller, InContext, bearer
from gateway.calls.admission import Busy, Closed
from gateway.calls.switchboard import RETRY_AFTER_S
from gateway.config import IceServer
from gateway.ingest.whip import NoRestart, NoSession, Precondition, Taken, WhipIngest
from media.errors import Malformed, Unsupported
from storage.model import is_id
from storage.tokens import Role

router = APIRouter(prefix="/v1/whip", tags=["whip"])

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
SENDERS = (Role.WHIP, Role.ADMIN)

STATUSES: dict[type[Exception], tuple[int, str]] = {
    NoSession: (404, "no such session"),
    Taken: (409, "the call has both of its tracks"),
    Precondition: (412, "another ICE session"),
    NoRestart: (422, "ICE is not restarted here; post a new offer"),
}


def sender(who: Annotated[Caller, Depends(bearer)]) -> Caller:
    """A caller who may send a call's audio; 403 for others."""
    if who.role not in SENDERS:
        raise HTTPException(403, "this needs the role whip or admin")
    return who


AsSender = Annotated[Caller, Depends(sender)]


@router.post("", status_code=201)
async def begin(
    request: Request,
    context: InContext,
    who: AsSender,
    call: Annotated[str, Query(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = "",
) -> Response:
    """Post an SDP offer of one audio stream; the answer has ours. Sessions that name the same `call` are its tracks."""
    _expect(request, SDP)
    whip = _whip(context.whip)
    source = request.client.host if request.client is not None else ""
    try:
        begun = await whip.begin(who.tenant, await request.body(), source, call)
    except Malformed as error:
        return _refused(400, str(error))
    except Unsupported as error:
        return _refused(406, str(error))
    except Closed as closed:
        return _refused(403, closed.reason)
    except Busy as busy:
        return _refused(503, busy.reason, {"Retry-After": str(RETRY_AFTER_S)})
    except Taken as error:
        return _mapped(error)
    response = Response(begun.answer, 201, media_type=SDP)
    response.headers["Location"] = f"/v1/whip/{begun.session}"
    response.headers["ETag"] = f'"{begun.tag}"'
    response.headers["Accept-Patch"] = FRAGMENT
    response.headers["Callvault-Call"] = begun.call
    for server in whip.settings.whip.ice_servers:
        response.headers.append("Link", _link(server))
    return response


@router.patch("/{session}", status_code=204)
async def trickle(request: Request, context: InContext, who: AsSender, session: str) -> Response:
    """Tell of more ICE candidates; `If-Match` has the session's entity-tag."""
    _expect(request, FRAGMENT)
    tag = request.headers.get("if-match")
    try:
        whip = _whip(context.whip)
        whip.trickle(who.tenant, session, "" if tag is None else tag.strip().strip('"'), await request.body())
    except Malformed as error:
        return _refused(400, str(error))
    except Precondition as error:
        return _mapped(error) if tag is not None else _refused(428, "If-Match is needed")
    except (NoSession, NoRestart) as error:
        return _mapped(error)
    return Response(status_code=204)


@router.delete("/{session}")
async def end(context: InContext, who: AsSender, session: str) -> dict[str, str]:
    """The client is done: the session ends, and with its last one the call."""
    try:
        _whip(context.whip).end(who.tenant, session)
    except NoSession as error:
        raise HTTPException(404, "no such session") from error
    return {"session": session if is_id(session) else ""}


@router.options("", include_in_schema=False)
@router.options("/{session}", include_in_schema=False)
async def options() -> Response:
    """What may be asked for; a page's browser asks before it sends anything, and without a token."""
    return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST, PATCH, DELETE"})


def _whip(whip: WhipIngest | None) -> WhipIngest:
    if whip is None or not whip.enabled:
        raise HTTPException(404, "WHIP is off")
    return whip


def _expect(request: Request, media_type: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise HTTPException(415, f"this takes {media_type}")


def _mapped(error: Exception) -> Response:
    status, text = STATUSES[type(error)]
    return _refused(status, text)


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": text}, status, headers)


def _link(server: IceServer) -> str:
    """RFC 9725 §4.6."""
    link = f'<{server.url}>; rel="ice-server"'
    if server.username:
        secret = server.credential.get_secret_value()
        link += f'; username="{server.username}"; credential="{secret}"; credential-type="password"'
    return link

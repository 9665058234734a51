"""The HTTP API: routes put together, errors mapped to statuses by one table."""

from __future__ import annotations

import logging
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from gateway.api import (
    audio,
    breaches,
    calls,
    consents,
    copies,
    disclosures,
    erasures,
    events,
    health,
    holds,
    keys,
    metrics,
    pauses,
    policy,
    processors,
    ratings,
    requests,
    restrictions,
    retention,
    search,
    statistics,
    whip,
)
from gateway.api.context import Context
from gateway.api.cors import Cors
from gateway.api.limits import BodyLimit
from gateway.errors import Unavailable
from storage import errors

log = logging.getLogger(__name__)

STATUSES: dict[type[errors.StoreError], int] = {
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.Erased: 410,
    errors.NotReady: 409,
    errors.OnHold: 409,
    errors.Restricted: 423,
    errors.Refused: 403,
    errors.Unavailable: 503,
    errors.DataError: 500,
    errors.StoreError: 500,
}


def create_app(context: Context) -> FastAPI:
    """The application. Everything below /v1 needs a bearer token, bound to one tenant and role."""
    app = FastAPI(
        title="callvault",
        version=version("callvault"),
        summary="Recordings: list, hear, read redacted transcripts, follow live events, erase with a certificate.",
        docs_url=None,  # its page loads scripts from elsewhere; /openapi.json is the description
        redoc_url=None,
    )
    app.state.context = context
    app.add_middleware(BodyLimit)
    app.add_middleware(Cors)
    of_calls = (calls, search, audio, keys, pauses, policy, statistics, ratings, retention)
    of_rights = (erasures, holds, restrictions, consents, requests, copies, processors, disclosures, breaches)
    for module in (health, metrics, *of_calls, *of_rights, events, whip):
        app.include_router(module.router)
    app.add_exception_handler(errors.StoreError, _store_error)
    app.add_exception_handler(Unavailable, _unconfirmed)
    app.add_exception_handler(Exception, _unexpected)
    return app


def status_of(error: errors.StoreError) -> int:
    """The HTTP status of a store's error: that of the nearest class in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


async def _store_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.StoreError)
    status = status_of(error)
    if status >= 500:
        log.exception("store failed a request", exc_info=error)
    headers = {"Retry-After": "2"} if status == 503 else {}
    return JSONResponse({"error": type(error).__name__, "detail": str(error)}, status, headers)


async def _unconfirmed(request: Request, error: Exception) -> JSONResponse:
    """A part of ours, behind this server, did not answer: whether it has done what it was asked to is not known."""
    return JSONResponse({"error": type(error).__name__, "detail": str(error)}, 504, {"Retry-After": "2"})


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.exception("request failed", exc_info=error)
    return JSONResponse({"error": "Internal", "detail": "internal error; the log has it"}, 500)

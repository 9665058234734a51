"""Lets pages of any origin use WHIP: what opens it is a token that the page was given, never something a browser adds.

So no origin is privileged and no credentials are allowed; without a token a page gets nothing that it could not get
without a browser (Fetch §3.2).
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/v1/whip"
_ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, Link, ETag, Accept-Patch, Retry-After, Callvault-Call",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "600",
}


class Cors:
    """Adds the headers to every answer below `PREFIX`, to errors too: a page must be able to read why."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == PREFIX or path.startswith(PREFIX + "/")):
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (_ALLOWED | (_PREFLIGHT if scope["method"] == "OPTIONS" else {})).items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, told)

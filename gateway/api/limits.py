"""Bounds what a request may send before anything reads it."""

from __future__ import annotations

from contextlib import suppress

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 64 << 10  # the largest request of ours has some hundred bytes; more is answered 413


class _TooLarge(Exception):
    """The body went on beyond the limit."""


class BodyLimit:
    """Answers 413 to a request whose body is, or turns out to be, larger than the limit (RFC 9110 §15.5.14)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = BODY_BYTES_MAX

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            if left >= 0:
                await send(message)  # else it is what the application makes of a body that broke off

        with suppress(_TooLarge):
            await self._app(scope, bounded, watched)
        if left < 0:
            await JSONResponse({"error": "TooLarge", "detail": "the body is too large"}, 413)(scope, receive, send)

"""One POST of a JSON document to an address that the configuration names, and the status of its answer.

As little HTTP/1.1 (RFC 9112) as that needs, so that everything has an end: no redirect is followed, no proxy of the
environment is asked, no more than the head of an answer is read, and all of it together has one time limit, however
slowly the other side speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

POST_S = 15.0
"""For everything: name, connection, TLS, our megabyte, the answer's head. Who needs longer is asked again later."""
HEAD_BYTES_MAX = 16 << 10
INTERIM_MAX = 5
"""Answers of the form 1xx before the one that counts."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})( [^\r\n]*)?\r?\n\Z")


class NoAnswer(Exception):
    """There was none, or what came is none; its text is the name of a reason, never what the other side sent."""


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates are checked: by these roots, or the system's. OSError where the file cannot be read."""
    return ssl.create_default_context(cafile=ca_file)


async def post(url: str, body: bytes, *, ca_file: Path | None = None, limit_s: float = POST_S) -> int:
    """Sends the body as application/json; gives the status. NoAnswer."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(limit_s):
            context = trusting(ca_file) if parts.scheme == "https" else None
            port = parts.port or (80 if context is None else 443)
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=HEAD_BYTES_MAX)
            try:
                writer.write(
                    _head(parts.netloc, f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}", len(body))
                )
                writer.write(body)
                await writer.drain()
                return await _status(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError, TimeoutError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
        raise NoAnswer(type(error).__name__) from None


def _head(netloc: str, target: str, size: int) -> bytes:
    lines = (f"POST {target} HTTP/1.1", f"Host: {netloc}", "Content-Type: application/json", f"Content-Length: {size}")
    return "\r\n".join((*lines, "User-Agent: callvault", "Connection: close", "", "")).encode("ascii")


async def _status(reader: asyncio.StreamReader) -> int:
    """The final status; ValueError for what is no answer."""
    for _ in range(INTERIM_MAX + 1):
        match = _STATUS.match(await reader.readline())
        if match is None:
            raise ValueError("no status")
        if (status := int(match[1])) >= 200:  # RFC 9110 §15.2
            return status
        await reader.readuntil(b"\r\n\r\n")
    raise ValueError("no final status")

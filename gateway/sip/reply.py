"""Building responses: what is mirrored from the request, where it goes, and the words of the status codes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.sip.errors import Malformed
from gateway.sip.flow import Flow
from gateway.sip.grammar import NameAddr, Via, split_list
from gateway.sip.headers import Headers, format_lines
from gateway.sip.message import Answerable, Request

TAG_BYTES = 8
"""Of a To tag: with 64 unguessable bits nobody ends a call that he has not seen."""

PHRASES = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    603: "Decline",
}

_MIRRORED = ("From", "To", "Call-ID", "CSeq")


@dataclass(frozen=True, slots=True)
class Incoming:
    """Where a request came from, and by which headers it is answered."""

    headers: Headers
    via: Via
    flow: Flow
    to_tagged: bool
    """Whether To has a tag already."""

    @classmethod
    def of(cls, request: Request, flow: Flow) -> Incoming:
        """A request as it came."""
        return cls(request.headers, request.via, flow, bool(request.to.tag))

    @classmethod
    def of_malformed(cls, error: Answerable, flow: Flow) -> Incoming:
        """What is known of a request that could not be read."""
        try:
            tagged = bool(NameAddr.parse(error.headers.first("To") or "").tag)
        except Malformed:
            tagged = True  # nothing is added to what is not understood
        return cls(error.headers, error.via, flow, tagged)

    @property
    def back(self) -> Flow:
        """The way of its responses: the connection that it came by, or as its Via says (§18.2.2).

        Over a stream the address counts only once that connection is gone: the source's, at the port of sent-by.
        """
        if self.flow.reliable:
            return self.flow.to((self.flow.remote[0], self.via.port or self.flow.default_port))
        return self.flow.to(self.via.reply_to(self.flow.remote))


class Replies:
    """Builds the responses of one agent; those to one request are equal, byte for byte, however often it comes."""

    def __init__(self, server_name: str, tag_key: bytes) -> None:
        self._server = ("Server", server_name)
        self._tag_key = tag_key

    def make(
        self,
        incoming: Incoming,
        status: int,
        headers: Iterable[tuple[str, str]] = (),
        *,
        reason: str = "",
        to_tag: str = "",
        body: bytes = b"",
        routes: bool = False,
    ) -> bytes:
        """A response. Without `to_tag`, for answers outside dialogs, a tag is derived from the request (§8.2.7)."""
        tag = "" if status == 100 else to_tag or self._tag(incoming)
        return reply(incoming, status, tag, reason=reason, headers=[*headers, self._server], body=body, routes=routes)

    def _tag(self, incoming: Incoming) -> str:
        parts = [incoming.via.branch, incoming.via.host]
        parts += [incoming.headers.first(name) or "" for name in ("From", "Call-ID", "CSeq")]
        text = "\n".join(parts).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._tag_key, digest_size=TAG_BYTES).hexdigest()


def reply(
    incoming: Incoming,
    status: int,
    to_tag: str,
    *,
    reason: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    routes: bool = False,
) -> bytes:
    """A response's bytes (RFC 3261 §8.2.6): a function of its arguments, so that a retransmission is equal.

    `to_tag` is added unless To has one; `routes` mirrors Record-Route, for responses that make a dialog (§12.1.1).
    """
    came = incoming.headers
    fields = [("Via", value) for value in came.all("Via")]
    stamped = incoming.via.stamped(incoming.flow.remote)
    if stamped is not incoming.via:
        fields[0] = ("Via", ", ".join([str(stamped), *split_list(fields[0][1])[1:]]))
    if routes:
        fields += [("Record-Route", value) for value in came.all("Record-Route")]
    for name in _MIRRORED:
        value = came.first(name)
        if value is None:
            continue  # only where a 400 answers its absence
        if name == "To" and to_tag and not incoming.to_tagged:
            value = f"{value};tag={to_tag}"
        fields.append((name, value))
    if status == 100 and (timestamp := came.first("Timestamp")):
        fields.append(("Timestamp", timestamp))  # §8.2.6.1
    fields += headers
    fields.append(("Content-Length", str(len(body))))
    start = f"SIP/2.0 {status} {reason or PHRASES.get(status, 'Unknown')}\r\n"
    return f"{start}{format_lines(fields)}\r\n".encode("utf-8", "surrogateescape") + body

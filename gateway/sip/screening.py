"""What is refused before anything is kept of a request, in the order of RFC 3261 §8.2: a table of checks.

All answers here depend on the request alone, so they need no state to be equal for a retransmission (§8.2.7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.sip import reliable, session_timer
from gateway.sip.errors import Malformed
from gateway.sip.message import METADATA, RECORDING_SESSION, SDP, Request
from gateway.sip.siprec.session import TAG as SIPREC

ALLOWED = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK", "UPDATE", "INFO")
ALLOW = ("Allow", ", ".join(ALLOWED))

KNOWN = frozenset({"REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "REFER", "PUBLISH"})
"""Methods that exist and that we do not do: 405; any other word is 501."""

SUPPORTED: tuple[str, ...] = (reliable.TAG, session_timer.TAG, SIPREC)
"""Option tags that a peer may require."""

OFFERING = frozenset({"INVITE", "UPDATE", "PRACK"})
"""Methods whose body is read."""

SCHEMES = frozenset({"sip", "tel", "urn"})
"""Of a Request-URI. Not `sips`: it asks for encryption on every hop, which only TLS has."""

TAKEN = frozenset({SDP, *METADATA})
"""What a body, or a part of one, may be."""
ACCEPT = ("Accept", ", ".join((SDP, *METADATA, "multipart/mixed")))
ACCEPT_ENCODING = ("Accept-Encoding", "identity")

CAPABILITIES = (ALLOW, ACCEPT, ACCEPT_ENCODING, ("Supported", ", ".join(SUPPORTED)))
"""What OPTIONS tells (§11.2)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A final answer that says no."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    reason: str = ""


def _method(request: Request) -> Refusal | None:
    if request.method in ALLOWED:
        return None
    return Refusal(405 if request.method in KNOWN else 501, (ALLOW,))


def _scheme(request: Request) -> Refusal | None:
    return None if request.uri.partition(":")[0].lower() in SCHEMES else Refusal(416)


def _scheme_over_tls(request: Request) -> Refusal | None:
    return None if request.uri.lower().startswith("sips:") else _scheme(request)


def _extensions(request: Request) -> Refusal | None:
    """420 (§8.2.2.3); a CANCEL's Require is not looked at."""
    if request.method == "CANCEL":
        return None
    unknown = [tag for tag in request.tokens("Require") if tag not in SUPPORTED]
    return Refusal(420, (("Unsupported", ", ".join(dict.fromkeys(unknown))),)) if unknown else None


def _content(request: Request) -> Refusal | None:
    """415 (§8.2.3) for a body that matters: an offer, an answer in a PRACK, metadata.

    A part of another type is left aside, unless the sender insists on it (RFC 3204's `handling`).
    """
    if request.method not in OFFERING or not request.body:
        return None
    if any(coding != "identity" for coding in request.tokens("Content-Encoding")):
        return Refusal(415, (ACCEPT_ENCODING,))
    try:
        parts = request.parts
    except Malformed as error:
        return Refusal(400, reason=f"Bad Request: {error.reason}")
    strange = (p for p in parts if p.media_type not in TAKEN and p.disposition != RECORDING_SESSION)
    return Refusal(415, (ACCEPT,)) if any(part.required for part in strange) else None


CHECKS: tuple[Callable[[Request], Refusal | None], ...] = (_method, _scheme, _extensions, _content)

CHECKS_OVER_TLS = tuple(_scheme_over_tls if check is _scheme else check for check in CHECKS)


def screen(request: Request, *, secure: bool = False) -> Refusal | None:
    """The first check that refuses the request, or None; `secure` says whether it came over TLS."""
    for check in CHECKS_OVER_TLS if secure else CHECKS:
        if refusal := check(request):
            return refusal
    return None

"""What is refused before anything is kept of a request, in the order of RFC 3261 §8.2: a table of checks.

All answers here depend on the request alone, so they need no state to be equal for a retransmission (§8.2.7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.sip import reliable, session_timer
from gateway.sip.message import Request

ALLOWED = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK", "UPDATE")
ALLOW = ("Allow", ", ".join(ALLOWED))

KNOWN = frozenset({"REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "INFO", "REFER", "PUBLISH"})
"""Methods that exist and that we do not do: 405; any other word is 501."""

SUPPORTED: tuple[str, ...] = (reliable.TAG, session_timer.TAG)
"""Option tags that a peer may require."""

OFFERING = frozenset({"INVITE", "UPDATE", "PRACK"})
"""Methods whose body is read."""

SCHEMES = frozenset({"sip", "tel", "urn"})
"""Of a Request-URI. Not `sips`: it asks for encryption on every hop, which only TLS has."""

SDP = "application/sdp"
ACCEPT = ("Accept", SDP)
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
    """415 (§8.2.3) for a body that matters: an offer, or an answer in a PRACK."""
    if request.method not in OFFERING or not request.body:
        return None
    if any(coding != "identity" for coding in request.tokens("Content-Encoding")):
        return Refusal(415, (ACCEPT_ENCODING,))
    return None if request.media_type == SDP else Refusal(415, (ACCEPT,))


CHECKS: tuple[Callable[[Request], Refusal | None], ...] = (_method, _scheme, _extensions, _content)

CHECKS_OVER_TLS = tuple(_scheme_over_tls if check is _scheme else check for check in CHECKS)


def screen(request: Request, *, secure: bool = False) -> Refusal | None:
    """The first check that refuses the request, or None; `secure` says whether it came over TLS."""
    for check in CHECKS_OVER_TLS if secure else CHECKS:
        if refusal := check(request):
            return refusal
    return None

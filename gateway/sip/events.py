"""What the user agent tells its gateway, and the little that it must be told at start.

Order that a gateway can rely on, for each dialog number: `Invited` first and once, `Ended` last and once, whatever
happens; between them `Acknowledged` for each accepted INVITE whose ACK came, `Reinvited` / `Cancelled`, `Updated`,
`Told`, `Agreed`, `Informed` and `Probed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.sip.flow import Flow
from gateway.sip.gate import Granted
from gateway.sip.grammar import Address
from gateway.sip.message import Request
from gateway.sip.session_timer import MIN_S, WANTED_S
from gateway.sip.siprec.session import SERVER, is_recording

BRANCH_BYTES = 9
"""Of chance in a branch: no two of ours are ever equal, and nobody guesses one to answer in another's place."""

Why = Literal[
    "bye", "cancel", "rejected", "local", "no_ack", "timeout", "no_prack", "no_answer", "expired", "lost"
]  # fmt: skip
"""How a dialog ended: the peer's BYE; the peer's CANCEL; our `reject`; our `bye`; no ACK to our 200 for 64*T1; the
gateway left the INVITE unanswered until its limit (answered 487); no PRACK for 64*T1 (answered 504); our offer got no
answer; the session timer ran out; a refresh or probe of ours was answered 408 or 481, or not at all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user agent is told at start."""

    server_name: str = "callvault"
    max_dialogs: int = 4096
    """Calls at once, those being set up or torn down included; a further INVITE gets 503. As many as media has legs."""
    session_s: int = WANTED_S
    """Session interval that is asked for where the peer knows session timers and names none; 0 asks for none."""
    session_min_s: int = MIN_S
    """The shortest session interval that a peer may ask for; below it the answer is 422."""


def sent_by(local: Address) -> str:
    """Our host and port as they stand in a URI or a Via."""
    return f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}"


def contact(flow: Flow, asked: Request | None = None, *, sips: bool = False) -> tuple[str, str]:
    """Our Contact header for messages that go by `flow`, in a dialog that must be encrypted or another; in answers to a
    recording client it says what we are."""
    feature = f";{SERVER}" if asked is not None and is_recording(asked) else ""
    if sips:
        return "Contact", f"<sips:{sent_by(flow.local)}>{feature}"
    return "Contact", f"<sip:{sent_by(flow.local)}{f';transport={flow.transport}' if flow.reliable else ''}>{feature}"


def via(flow: Flow, chance: bytes) -> str:
    """The Via of a request of ours by `flow`, from BRANCH_BYTES unpredictable bytes."""
    return f"SIP/2.0/{flow.transport.upper()} {sent_by(flow.local)};branch=z9hG4bK{chance.hex()};rport"


@dataclass(frozen=True, slots=True)
class Invited:
    """A new call: answer with `ring`, `accept` or `reject`. 100 goes out unless that is done at once."""

    dialog: int
    request: Request
    body: bytes = field(repr=False)
    """The SDP offer, or empty (an INVITE without one)."""
    flow: Flow
    granted: Granted


@dataclass(frozen=True, slots=True)
class Reinvited:
    """A re-INVITE of a running call: `accept` or `reject` it; a rejected one leaves the call as it was."""

    dialog: int
    request: Request
    body: bytes = field(repr=False)
    flow: Flow


@dataclass(frozen=True, slots=True)
class Updated:
    """An offer of the peer in an UPDATE or a PRACK: answer with `update`, at once (RFC 3311 §5.2)."""

    dialog: int
    request: Request
    body: bytes = field(repr=False)
    flow: Flow


@dataclass(frozen=True, slots=True)
class Told:
    """Metadata of a recording session in an UPDATE that offers nothing; it is answered already."""

    dialog: int
    request: Request


@dataclass(frozen=True, slots=True)
class Agreed:
    """The peer's answer to an offer of ours: in the PRACK of an early offer, or to a re-INVITE that refreshed."""

    dialog: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Informed:
    """An INFO of the peer: answer with `inform`, once what it asks for is so."""

    dialog: int
    seq: int
    """Its CSeq number, by which it is answered."""
    record: bool | None
    """That the recording go on (True) or stand still (False); None: nothing of it."""
    digit: str
    """The key that was pressed; empty for none."""
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of a `probe`: the status of its final answer, 408 for none. By 408 and 481 the call has ended."""

    dialog: int
    status: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The ACK of an accepted INVITE came; if the INVITE had no offer, with the answer to ours."""

    dialog: int
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The pending INVITE was cancelled and is answered 487. Of the first INVITE, `Ended("cancel")` follows at once."""

    dialog: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; the number names nothing any more."""

    dialog: int
    why: Why


Event = Invited | Reinvited | Updated | Told | Informed | Acknowledged | Agreed | Cancelled | Probed | Ended

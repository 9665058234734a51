"""What the user agent tells its gateway, and the little that it must be told at start.

Order that a gateway can rely on, for each dialog number: `Invited` first and once, `Ended` last and once, whatever
happens; between them `Acknowledged` for each accepted INVITE whose ACK came, and `Reinvited` / `Cancelled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.sip.grammar import Address
from gateway.sip.message import Request

BRANCH_BYTES = 9
"""Of chance in a branch: no two of ours are ever equal, and nobody guesses one to answer in another's place."""

Why = Literal["bye", "cancel", "rejected", "local", "no_ack", "timeout"]
"""How a dialog ended: the peer's BYE; the peer's CANCEL; our `reject`; our `bye`; no ACK to our 200 for 64*T1; the
gateway left the INVITE unanswered until its limit (answered 487)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user agent is told at start."""

    contact_host: str
    """Address that peers reach us by: in Contact and in the Via of our requests."""
    contact_port: int
    server_name: str = "callvault"
    max_dialogs: int = 4096
    """Calls at once, those being set up or torn down included; a further INVITE gets 503. As many as media has legs."""

    @property
    def sent_by(self) -> str:
        """Host and port as they stand in a URI or a Via."""
        host = f"[{self.contact_host}]" if ":" in self.contact_host else self.contact_host
        return f"{host}:{self.contact_port}"

    @property
    def contact(self) -> tuple[str, str]:
        """Our Contact header."""
        return "Contact", f"<sip:{self.sent_by}>"

    def via(self, chance: bytes) -> str:
        """The Via of a request of ours, from BRANCH_BYTES unpredictable bytes."""
        return f"SIP/2.0/UDP {self.sent_by};branch=z9hG4bK{chance.hex()};rport"


@dataclass(frozen=True, slots=True)
class Invited:
    """A new call: answer with `ring`, `accept` or `reject`. 100 is sent already."""

    dialog: int
    request: Request
    body: bytes
    """The SDP offer, or empty (an INVITE without one)."""
    source: Address
    local: Address


@dataclass(frozen=True, slots=True)
class Reinvited:
    """A re-INVITE of a running call: `accept` or `reject` it; a rejected one leaves the call as it was."""

    dialog: int
    request: Request
    body: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The ACK of an accepted INVITE came, with an answer in it if the INVITE had no offer."""

    dialog: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The pending INVITE was cancelled and is answered 487. Of the first INVITE, `Ended("cancel")` follows at once."""

    dialog: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; the number names nothing any more."""

    dialog: int
    why: Why


Event = Invited | Reinvited | Acknowledged | Cancelled | Ended

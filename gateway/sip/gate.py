"""Who may send us requests: asked before anything is kept of one (RFC 3261 §22; §8.2 begins with authentication)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.sip.flow import Flow
from gateway.sip.message import Request
from gateway.sip.screening import Refusal


@dataclass(frozen=True, slots=True, repr=False)
class Granted:
    """A request may be served: by which trunk it came, and from whom.

    `source` is the peer's address, or what a listed proxy says that it is; `name` is that of the certificate that it is
    known by, if it is; `secure` says whether it came over TLS. Only the trunk shows in `repr`.
    """

    trunk: str = ""
    source: str = ""
    name: str = ""
    secure: bool = False

    def __repr__(self) -> str:
        return f"Granted({self.trunk})"


Verdict = Granted | Refusal | None
"""None: no, and nothing is said."""


class Gate(Protocol):
    """Decides by the request, the way it came, and nothing that costs more than a look-up and a hash."""

    def admit(self, request: Request, flow: Flow, now: float, former: Granted | None = None) -> Verdict:
        """Whether a request may be served. `former` is what its dialog was granted, for a request inside one."""
        ...

    def urgent(self, request: Request, granted: Granted) -> bool:
        """Whether a new call may use the room that is kept for those that must not be refused."""
        ...

    def hears(self, flow: Flow) -> bool:
        """Whether anything at all that comes this way is answered, malformed requests included."""
        ...

    def reaches(self, trunk: str, host: str) -> bool:
        """Whether requests of ours in a dialog of `trunk` may go to `host`, which its peer named."""
        ...


class OpenGate:
    """Lets everybody in: for agents that no stranger reaches."""

    def admit(self, request: Request, flow: Flow, now: float, former: Granted | None = None) -> Verdict:
        return former or Granted(source=flow.remote[0])

    def urgent(self, request: Request, granted: Granted) -> bool:
        return False

    def hears(self, flow: Flow) -> bool:
        return True

    def reaches(self, trunk: str, host: str) -> bool:
        return True

"""Session timers (RFC 4028): how long a call may go on without a sign from the other side, and who gives the sign.

Every 2xx to an INVITE or UPDATE settles the terms anew; without Session-Expires in it there is no timer any more.
The refresher sends at half of the interval; the other side hangs up shortly before its end (§10).
Nobody makes us refresh in a loop: an interval under the floor is refused, ignored or raised, whoever says it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gateway.sip.errors import Malformed
from gateway.sip.headers import Headers
from gateway.sip.message import Request, Response

TAG = "timer"
"""The option tag."""

MIN_S = 90
"""No interval may be shorter (§4): a refresh is answered within 32 s, and some room for one more."""

WANTED_S = 1800
"""What we ask of a peer that knows session timers and names no interval (recommended by §4): a call whose BYE was lost
ends half an hour later."""

MAX_S = 86_400
"""A longer interval is shortened to this, as a server may (§9): one day finds a dead call as surely as thirty."""

EARLY_S_MAX = 32.0
"""How long before the end the side that waits hangs up, at most; a third of the interval if that is less (§10)."""

_HEADER = re.compile(r"([0-9]{1,10})\s*(;.*)?\Z", re.DOTALL)

Refresher = Literal["", "uac", "uas"]
"""Who refreshes, seen from the transaction that says so: its client, its server, or whoever its server chooses."""


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """The header of that name (§4)."""

    interval_s: int
    refresher: Refresher = ""

    @classmethod
    def parse(cls, text: str) -> SessionExpires:
        interval_s, rest = _seconds(text, "Session-Expires")
        refresher: Refresher = ""
        for parameter in rest.split(";"):
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "refresher":
                match value.strip().lower():
                    case "uac":
                        refresher = "uac"
                    case "uas":
                        refresher = "uas"
                    case _:
                        raise Malformed("refresher is neither uac nor uas")
        return cls(interval_s, refresher)

    def __str__(self) -> str:
        return f"{self.interval_s};refresher={self.refresher}" if self.refresher else str(self.interval_s)


@dataclass(frozen=True, slots=True)
class Session:
    """A running timer."""

    interval_s: int
    ours: bool
    """Whether the refreshes are ours to send."""
    since: float
    """When the 2xx was sent or came."""

    @property
    def refresh_at(self) -> float:
        """When the refresher sends."""
        return self.since + self.interval_s / 2

    @property
    def over_at(self) -> float:
        """When a call that was not refreshed is hung up."""
        return self.since + self.interval_s - min(EARLY_S_MAX, self.interval_s / 3)

    @property
    def wake_at(self) -> float:
        """When something is to be done next."""
        return self.refresh_at if self.ours else self.over_at


@dataclass(frozen=True, slots=True)
class TooBrief:
    """The answer is 422 with this Min-SE."""

    min_s: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What our 2xx will say."""

    interval_s: int
    refresher: Literal["uac", "uas"]
    known: bool
    """Whether the peer knows session timers; else we refresh and do not require it of him (§9, table 2)."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """For the 2xx."""
        expires = ("Session-Expires", str(SessionExpires(self.interval_s, self.refresher)))
        return (expires, ("Require", TAG)) if self.known else (expires,)

    def session(self, now: float) -> Session:
        """The timer that runs from our 2xx on."""
        return Session(self.interval_s, self.refresher == "uas", now)


def terms(
    request: Request, running: Session | None, *, floor_s: int = MIN_S, wanted_s: int = WANTED_S
) -> Terms | TooBrief | None:
    """What a 2xx to this INVITE or UPDATE says of the timer (§9); None for none. Raises `Malformed`.

    `running` is the dialog's timer until now. `wanted_s` is asked for where the peer knows timers and names no
    interval; 0 asks for nothing.
    """
    value = request.headers.single("Session-Expires")
    asked = SessionExpires.parse(value) if value is not None else None
    least_s = min_se(request.headers)
    known = TAG in request.tokens("Supported") or TAG in request.tokens("Require")
    if asked is not None and asked.interval_s < floor_s:
        if known:
            return TooBrief(floor_s)
        asked = None  # a proxy's wish: not refused (§9), and not followed into a loop of refreshes
    standing: Literal["uac", "uas"] = "uas" if running is not None and running.ours else "uac"
    if asked is not None:
        interval_s = min(asked.interval_s, max(MAX_S, least_s))
        return Terms(interval_s, (asked.refresher or standing) if known else "uas", known)
    if running is not None:
        return Terms(max(running.interval_s, least_s), standing if known else "uas", known)
    return Terms(max(wanted_s, least_s, floor_s), "uac", known) if known and wanted_s else None


def asking(session: Session, least_s: int) -> tuple[tuple[str, str], ...]:
    """Headers of our refresh (§7.4); `least_s` is the greatest Min-SE that the peer has named."""
    expires = SessionExpires(max(session.interval_s, least_s), "uac" if session.ours else "uas")
    fields = (("Session-Expires", str(expires)),)
    return (*fields, ("Min-SE", str(least_s))) if least_s > MIN_S else fields


def settled(response: Response, now: float) -> Session | None:
    """The timer that the peer's 2xx settles (§7.2); None if it names none that can be read."""
    try:
        value = response.headers.single("Session-Expires")
        expires = None if value is None else SessionExpires.parse(value)
    except Malformed:
        return None
    if expires is None:
        return None
    return Session(min(max(expires.interval_s, MIN_S), MAX_S), expires.refresher != "uas", now)


def min_se(headers: Headers) -> int:
    """Min-SE of a request or of a 422, at least MIN_S (§5). Raises `Malformed`."""
    value = headers.single("Min-SE")
    return MIN_S if value is None else max(MIN_S, _seconds(value, "Min-SE")[0])


def _seconds(text: str, name: str) -> tuple[int, str]:
    found = _HEADER.match(text.strip())
    if not found:
        raise Malformed(f"{name} is not valid")
    return int(found[1]), found[2] or ""

"""One binding of ours at a registrar (RFC 3261 §10.2): asked for, kept, given up. Requests, answers and time in.

What follows a final answer, first line that fits:

| answer | while it is wanted | while it is given up |
|---|---|---|
| 2xx | bound until what it says; refreshed before that | over |
| 401, 407, not shown a password yet, or stale | again at once, signed | again at once, signed |
| 423, the first | again at once, for as long as it says | over |
| none, 408, 480, 5xx | the next address, after a back-off | over |
| any other | after a longer back-off | over |

Rules: one request at a time, CSeq rising; a binding that stands outlives a failed refresh until its own time is over;
an attempt has TRIES_MAX requests, whatever a registrar answers. Nobody's binding but ours is ever removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.sip.credentials import Challenge
from gateway.sip.errors import Malformed
from gateway.sip.events import BRANCH_BYTES, sent_by, via
from gateway.sip.flow import Flow
from gateway.sip.grammar import NameAddr, Uri, split_list
from gateway.sip.headers import Headers
from gateway.sip.message import Request, Response
from gateway.sip.reply import TAG_BYTES
from gateway.sip.screening import ALLOW
from gateway.sip.transaction import Transaction

EARLY_S = 90.0
"""Before a binding ends it is refreshed: two transactions that nobody answers (64*T1 each), and the wait between them.
Short ones at half of their time."""

REFRESH_S_MIN = 5.0
"""Between two refreshes, whatever the registrar grants: one that grants less is not asked more often."""

EXPIRES_S_MAX = 86_400
"""What is believed of a registrar's times: a day."""

RETRY_S = 10.0
"""The first back-off after no answer, doubled with each failure; half to all of it, by chance (RFC 5626 §4.5)."""

RETRY_S_MAX = 600.0

REFUSED_S = 300.0
"""The same after a no: who shows a wrong password too often is locked out by many registrars."""

REFUSED_S_MAX = 3600.0
"""Also the longest Retry-After that is kept."""

TRIES_MAX = 5
"""Requests of one attempt: two challenges (of a proxy, of the registrar), a stale one, and a longer interval."""

CONTACTS_MAX = 64
"""Of a 2xx that are looked at: bindings of others for the same address."""

_CHANCE_BYTES = 8
_PASSING = frozenset({408, 480, 486})
_AUTHORIZATION = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """Who we are at a registrar. Nothing of it shows in `repr`."""

    registrar: str
    """The Request-URI: scheme, domain, and port if it names one."""
    domain: str
    user: str
    login: str
    """Whose password it is; mostly `user`."""
    password: str
    expires_s: int


class Standing(StrEnum):
    """How a registration fares."""

    TRYING = "trying"
    REGISTERED = "registered"
    FAILED = "failed"


class Registration:
    """One account. `flows` are the ways to its registrar, the best first; without one it waits."""

    def __init__(self, account: Account, flows: Sequence[Flow], random: Callable[[int], bytes], now: float) -> None:
        self.account = account
        self.flows = tuple(flows)
        self.due: float | None = now
        """When `ask` is wanted next; None while it is not."""
        self.asking: Transaction | None = None
        """The request that waits for its answer."""
        self.until = 0.0
        """When the binding ends, unless it is refreshed; 0 without one."""
        self.status = 0
        """Of the last failure: the answer's, or 408 for none; 0 after a success."""
        self.leaving = False
        self._random = random
        self._call_id = random(16).hex()
        self._tag = random(TAG_BYTES).hex()
        self._cseq = 0
        self._turn = 0
        self._failures = 0
        self._tries = 0
        self._expires_s = account.expires_s
        self._asked_s = 0  # by the last request
        self._way: Flow | None = None  # and how it went
        self._outdated = False  # whether it was made before a change
        self._challenges: dict[int, Challenge] = {}
        self._counts: dict[int, int] = {}
        self._shown: set[int] = set()  # the challenges of this attempt that have been answered

    @property
    def over(self) -> bool:
        """Given up, and nothing more to come of it."""
        return self.leaving and self.asking is None and self.due is None

    def standing(self, now: float) -> Standing:
        """How it fares; a binding whose refresh fails still is one until its time is over."""
        if self.until > now:
            return Standing.REGISTERED
        return Standing.FAILED if self._failures else Standing.TRYING

    def change(self, account: Account, flows: Sequence[Flow], now: float) -> None:
        """Another password, interval or way for the same account: it registers anew at once, unless nothing changed."""
        if (account, tuple(flows)) != (self.account, self.flows) and not self.leaving:
            self.account, self.flows = account, tuple(flows)
            self._turn, self._expires_s = 0, account.expires_s
            self._challenges.clear()
            self._outdated = self.asking is not None
            self._begin(now)

    def leave(self, now: float) -> None:
        """Give the binding up; one that is only being asked for is given up when it is had."""
        if not self.leaving:
            self.leaving = True
            self._begin(now if self.until > now else None)

    def ask(self, now: float) -> tuple[Request, Flow] | None:
        """The REGISTER that is due, and its way; None without a way."""
        self.due = None
        if not self.flows:
            return None
        flow = self._way = self.flows[self._turn % len(self.flows)]
        self._asked_s = 0 if self.leaving else self._expires_s
        self._tries += 1
        self._cseq += 1
        account, aor = self.account, f"<sip:{self.account.user}@{self.account.domain}>"
        fields = [("Via", via(flow, self._random(BRANCH_BYTES))), ("Max-Forwards", "70")]
        fields += [("From", f"{aor};tag={self._tag}"), ("To", aor), ("Call-ID", self._call_id)]
        fields += [("CSeq", f"{self._cseq} REGISTER"), ("Contact", self._contact(flow))]
        fields += [("Expires", str(self._asked_s)), ALLOW]
        fields += [(_AUTHORIZATION[status][1], self._signed(status)) for status in self._challenges]
        return Request.make("REGISTER", account.registrar, Headers(tuple(fields))), flow

    def answered(self, response: Response, now: float) -> None:
        """A final answer to what was asked."""
        self.asking = None
        if response.status < 300:
            self._accepted(response, now)
        elif self._tries < TRIES_MAX and (self._challenged(response) or self._too_brief(response)):
            self.due = now
        else:
            self._failed(response.status, _seconds(response.headers.first("Retry-After")) or 0, now)
        self._catch_up(now)

    def unanswered(self, now: float) -> None:
        """Nobody answered what was asked."""
        self.asking = None
        self._failed(408, 0, now)
        self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        """An answer to what was asked before a change does not keep from asking anew."""
        if self._outdated and not self.leaving:
            self._begin(now)
        self._outdated = False

    def _begin(self, at: float | None) -> None:
        """A new attempt; a request that is under way is waited for first."""
        self.due = at
        self._tries = 0
        self._shown.clear()

    def _accepted(self, response: Response, now: float) -> None:
        self._failures = self.status = 0
        granted_s = self._granted_s(response, _seconds(response.headers.first("Expires"))) if self._asked_s else 0
        self.until = now + granted_s if granted_s else 0.0
        if self.leaving:
            self._begin(now if granted_s else None)
        elif not granted_s:
            self._failed(200, 0, now)  # it says that there is no binding
        else:
            self._begin(now + max(granted_s / 2, granted_s - EARLY_S, REFRESH_S_MIN))

    def _granted_s(self, response: Response, default_s: int | None) -> int:
        """How long our binding stands: what our Contact says, else Expires, else what was asked for (§10.2.4)."""
        assert self._way is not None, "something was asked"
        ours, others = list[int](), list[int]()
        default_s = self._asked_s if default_s is None else default_s
        for text in [text for line in response.headers.all("Contact") for text in split_list(line)][:CONTACTS_MAX]:
            try:
                named = NameAddr.parse(text)
                uri = Uri.parse(named.uri)
            except Malformed:
                continue
            told_s = _seconds(dict(named.parameters).get("expires"))
            is_ours = (uri.user, uri.host.strip("[]"), uri.port) == (self.account.user, *self._way.local)
            (ours if is_ours else others).append(default_s if told_s is None else told_s)
        return min(ours or others or [default_s])  # one that rewrites addresses names none that is ours

    def _challenged(self, response: Response) -> bool:
        """Whether the answer is a challenge that there is an answer to."""
        if response.status not in _AUTHORIZATION:
            return False
        challenge = Challenge.best(response.headers.all(_AUTHORIZATION[response.status][0]))
        if challenge is None or (response.status in self._shown and not challenge.stale):
            return False
        former = self._challenges.get(response.status)
        if former is None or former.nonce != challenge.nonce:
            self._counts[response.status] = 0
        self._challenges[response.status] = challenge
        self._shown.add(response.status)
        return True

    def _too_brief(self, response: Response) -> bool:
        """Whether a longer interval is wanted that may be asked for (§10.2.8)."""
        least_s = _seconds(response.headers.first("Min-Expires"))
        if response.status != 423 or self.leaving or least_s is None or not self._expires_s < least_s <= EXPIRES_S_MAX:
            return False
        self._expires_s = least_s
        return True

    def _failed(self, status: int, retry_after_s: int, now: float) -> None:
        self.status = status
        self._failures += 1
        self._challenges.clear()
        if self.leaving:
            self._begin(now if self._asked_s and self.until > now else None)
            return
        passing = status in _PASSING or status // 100 == 5
        self._turn += passing
        first_s, most_s = (RETRY_S, RETRY_S_MAX) if passing else (REFUSED_S, REFUSED_S_MAX)
        wait_s = min(most_s, first_s * 2 ** min(self._failures - 1, 10))
        chance = int.from_bytes(self._random(2), "big") / 0xFFFF
        self._begin(now + max(wait_s * (1 + chance) / 2, min(retry_after_s, REFUSED_S_MAX)))

    def _signed(self, status: int) -> str:
        self._counts[status] = self._counts.get(status, 0) + 1
        account, cnonce = self.account, self._random(_CHANCE_BYTES).hex()
        return self._challenges[status].answer(
            "REGISTER", account.registrar, account.login, account.password, self._counts[status], cnonce
        )

    def _contact(self, flow: Flow) -> str:
        over = f";transport={flow.transport}" if flow.reliable else ""
        return f"<sip:{self.account.user}@{sent_by(flow.local)}{over}>"


def _seconds(text: str | None) -> int | None:
    """A time of a registrar's, up to EXPIRES_S_MAX; Retry-After may have a comment (§20.33). None for no number."""
    words = (text or "").replace("(", ";").partition(";")[0].strip()
    return min(int(words), EXPIRES_S_MAX) if words.isascii() and words.isdecimal() and len(words) <= 10 else None

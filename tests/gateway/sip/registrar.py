"""A registrar on the bench, and the network to it, which loses by a script: no clock, no sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.sip.digest import Algorithm, Challenger, Verified, ha1
from gateway.sip.flow import Flow
from gateway.sip.grammar import Address
from gateway.sip.message import Request, parse
from gateway.sip.registration import Account, Standing
from gateway.sip.registrations import Changed, Registrations
from gateway.sip.reply import Incoming, Replies
from gateway.sip.transaction import Outgoing
from tests.gateway.sip.bench import LOCAL, counting, response_of

REALM = "carrier.example"
REGISTRAR: Address = ("192.0.2.9", 5060)
SECOND: Address = ("192.0.2.10", 5060)
WAY = Flow("udp", LOCAL, REGISTRAR)
ACCOUNT = Account("sip:carrier.example", "carrier.example", "4420", "4420", "secret", 3600)
DELAY_S = 0.02

Answer = tuple[int, Sequence[tuple[str, str]]]


class Registrar:
    """Knows one user; `bindings` are his Contacts and when they end."""

    def __init__(self, *, least_s: int = 60, most_s: int = 3600, algorithms: Sequence[Algorithm] = ("MD5",)) -> None:
        self.bindings: dict[str, float] = {}
        self.password = "secret"
        self.verdict: Callable[[Request], Answer | None] = lambda request: None
        """What it answers instead, if anything."""
        self._least_s, self._most_s = least_s, most_s
        self._algorithms = algorithms
        hashes: Callable[[str, Algorithm], str] = lambda user, name: ha1(name, user, REALM, self.password)  # noqa: E731
        self._challenger = Challenger(REALM, hashes, counting())

    def answer(self, request: Request, now: float) -> Answer:
        """The status and headers of its final answer."""
        if (told := self.verdict(request)) is not None:
            return told
        shown = self._challenger.verify(request.headers.all("Authorization"), "REGISTER", now)
        if not isinstance(shown, Verified):
            stale = shown is not None and shown.stale
            return 401, self._challenger.challenge(now, self._algorithms, stale=stale)
        wanted_s = int(request.headers.required("Expires"))
        if 0 < wanted_s < self._least_s:
            return 423, [("Min-Expires", str(self._least_s))]
        granted_s = min(wanted_s, self._most_s)
        self.bindings[request.headers.required("Contact")] = now + granted_s
        self.bindings = {contact: until for contact, until in self.bindings.items() if until > now}
        return 200, [("Contact", f"{contact};expires={until - now:.0f}") for contact, until in self.bindings.items()]


class Line:
    """Our registrations, the registrar, and datagrams between them; `lost` says which of ours do not arrive."""

    def __init__(self, registrar: Registrar | None = None) -> None:
        self.registrar = registrar or Registrar()
        self.now = 1000.0
        self.asked: list[tuple[float, Request]] = []
        """Requests that left, retransmissions included."""
        self.lost: Callable[[Request, Address], bool] = lambda request, to: False
        self._outgoing: list[Outgoing] = []
        self.ours = Registrations(self._outgoing, counting())
        self._replies = Replies("registrar", bytes(16))
        self._waiting: list[tuple[float, bytes]] = []
        self._answered: dict[str, bytes] = {}

    def want(self, account: Account = ACCOUNT, *ways: Flow) -> None:
        """One registration."""
        self.ours.want({"carrier": (account, ways or (WAY,))}, self.now)

    def run(self, seconds: float) -> None:
        """Everything that happens until then."""
        end = self.now + seconds
        self._carry()
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            due = [data for when, data in self._waiting if when <= self.now]
            self._waiting = [entry for entry in self._waiting if entry[0] > self.now]
            for data in due:
                assert self.ours.answered(response_of(data), self.now)
            self.ours.timers(self.now)
            self._carry()
        self.now = end

    def standing(self) -> Standing:
        """How the only registration fares."""
        [standing] = self.ours.standings(self.now)
        return Standing(standing)

    @property
    def changes(self) -> list[Changed]:
        """What has changed since this was asked last."""
        return self.ours.changes(self.now)

    @property
    def expires(self) -> list[int]:
        """What was asked for, request by request."""
        return [int(request.headers.required("Expires")) for _, request in self.asked]

    def _next(self) -> float | None:
        times = [self.ours.next_deadline(), *(when for when, _ in self._waiting)]
        return min((at for at in times if at is not None), default=None)

    def _carry(self) -> None:
        for data, flow in self._outgoing:
            request = parse(data)
            assert isinstance(request, Request)
            self.asked.append((self.now, request))
            if self.lost(request, flow.remote):
                continue
            if request.via.branch not in self._answered:
                status, headers = self.registrar.answer(request, self.now)
                incoming = Incoming.of(request, Flow("udp", flow.remote, LOCAL))
                self._answered[request.via.branch] = self._replies.make(incoming, status, headers)
            self._waiting.append((self.now + DELAY_S, self._answered[request.via.branch]))
        self._outgoing.clear()

"""Two agents and a network between them that loses, doubles, delays and reorders by a script: no clock, no sockets."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from gateway.sip.events import Event, Invited, Reinvited, Settings, Updated
from gateway.sip.outcomes import CallerEvent
from gateway.sip.uac import Caller
from gateway.sip.uas import UserAgent
from tests.gateway.sip.bench import ANSWER, FLOW, OFFER, OUTWARD, counting

Fate = tuple[float, ...]
"""What becomes of a datagram: the delays of its copies; none of them if it is lost."""

PROMPT: Fate = (0.01,)
LOST: Fate = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A datagram on the wire."""

    at: float
    by_caller: bool
    start: str


class Network:
    """One caller, one server that accepts what it is offered; `fate` decides for each datagram, in order."""

    def __init__(
        self,
        fate: Callable[[Seen], Fate] = lambda seen: PROMPT,
        *,
        answer_after_s: float | None = 0.0,
        settings: Settings | None = None,
    ) -> None:
        self.caller = Caller(Settings(), counting())
        self.server = UserAgent(settings or Settings(), counting())
        self.heard: list[CallerEvent] = []
        self.events: list[Event] = []
        self.wire: list[Seen] = []
        self.now = 0.0
        self._fate = fate
        self._answer_after_s = answer_after_s
        self._queue: list[tuple[float, int, str, bytes | int]] = []
        self._count = 0

    def call(self, *headers: tuple[str, str], offer: bytes = OFFER, answer: bytes = b"") -> int:
        """An INVITE leaves."""
        target, caller = "sip:service@192.0.2.1", "sip:alice@192.0.2.9"
        return self.caller.invite(target, OUTWARD, offer, self.now, caller=caller, headers=headers, answer=answer)

    @property
    def dialog(self) -> int:
        """The server's number of the last call."""
        return [event for event in self.events if isinstance(event, Invited)][-1].dialog

    def run(self, seconds: float) -> None:
        """Everything that happens until then."""
        end = self.now + seconds
        self._flush()
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            while self._queue and self._queue[0][0] <= self.now:
                self._arrive(*heapq.heappop(self._queue)[2:])
                self._flush()
            self.caller.timers(self.now)
            self.server.timers(self.now)
            self._flush()
        self.now = end

    def sent(self, start: str, *, by_caller: bool | None = None) -> int:
        """How often such a datagram was sent, lost ones included."""
        return len([s for s in self.wire if s.start.startswith(start) and by_caller in (None, s.by_caller)])

    def _next(self) -> float | None:
        times = [self.caller.next_deadline(), self.server.next_deadline()]
        times += [self._queue[0][0]] if self._queue else []
        return min((at for at in times if at is not None), default=None)

    def _arrive(self, what: str, data: bytes | int) -> None:
        if isinstance(data, int):
            self.server.accept(data, ANSWER, self.now)
        elif what == "caller":
            self.server.receive(data, FLOW, self.now)
        else:
            self.caller.receive(data, OUTWARD, self.now)

    def _flush(self) -> None:
        self.heard += self.caller.take_events()
        for event in self.server.take_events():
            self.events.append(event)
            if isinstance(event, Invited | Reinvited) and self._answer_after_s is not None:
                self._put(self._answer_after_s, "accept", event.dialog)
            elif isinstance(event, Updated) and self._answer_after_s is not None:
                self.server.update(event.dialog, ANSWER, self.now)
        for by_caller, agent in ((True, self.caller), (False, self.server)):
            for data, _ in agent.take_outgoing():
                seen = Seen(self.now, by_caller, data.split(b"\r\n")[0].decode())
                self.wire.append(seen)
                for delay_s in self._fate(seen):
                    self._put(delay_s, "caller" if by_caller else "server", data)

    def _put(self, delay_s: float, what: str, data: bytes | int) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._count, what, data))

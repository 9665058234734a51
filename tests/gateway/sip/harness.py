"""A user agent on a real loopback socket that rings and accepts: the other end for sipp and for hand-made packets."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from gateway.sip.events import Acknowledged, Ended, Event, Invited, Reinvited, Settings
from gateway.sip.flow import Flow
from gateway.sip.uas import UserAgent

HOST = "127.0.0.1"
ANSWER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
POLL_S = 0.05  # how soon `stop` is seen
RECEIVE_BUFFER_BYTES = 4 << 20  # sipp sends in bursts


class AnsweringServer:
    """Runs in a thread of its own; every event is kept in order, by dialog.

    `leap` is a number of ACKs and seconds: when so many have come, the agent's clock leaps so far, once.
    """

    def __init__(
        self, *, answer: bool = True, early_media: bool = False, leap: tuple[int, float] | None = None
    ) -> None:
        self.events: list[Event] = []
        self.cpu_s = 0.0
        self.datagrams = Counter[str]()
        self._answer = answer
        self._early = ANSWER if early_media else None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.bind((HOST, 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self.agent = UserAgent(Settings(), os.urandom)
        self._leap = leap
        self._ahead_s = 0.0
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="answering-server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while self._turn() or not self._stop.is_set():
                pass  # what the peer sent before it was gone is still heard
        except BaseException as error:
            self._failure = error
        self.cpu_s = time.thread_time()

    def _turn(self) -> bool:
        """Whether a datagram was received."""
        deadline = self.agent.next_deadline()
        wait_s = POLL_S if deadline is None else min(POLL_S, max(0.0, deadline - self._now()))
        self._socket.settimeout(max(wait_s, 0.0001))
        try:
            data, source = self._socket.recvfrom(65_535)
        except TimeoutError:
            received = False
        else:
            received = True
            self.datagrams["in"] += 1
            self.agent.receive(data, Flow("udp", self.address, source), self._now())
        now = self._now()
        self.agent.timers(now)
        for event in self.agent.take_events():
            self.events.append(event)
            match event:
                case Invited():
                    self.agent.ring(event.dialog, now, self._early)
                    if self._answer:
                        self.agent.accept(event.dialog, ANSWER, now)
                case Reinvited():
                    self.agent.accept(event.dialog, ANSWER, now)
                case _:
                    pass
        for data, flow in self.agent.take_outgoing():
            self.datagrams["out"] += 1
            self._socket.sendto(data, flow.remote)
        if self._leap and sum(isinstance(event, Acknowledged) for event in self.events) >= self._leap[0]:
            self._ahead_s, self._leap = self._leap[1], None
        return received

    def _now(self) -> float:
        return time.monotonic() + self._ahead_s

    @property
    def invited(self) -> list[int]:
        """Numbers of the dialogs that were offered, in order."""
        return [event.dialog for event in self.events if isinstance(event, Invited)]

    @property
    def ended(self) -> dict[int, list[str]]:
        """Why each dialog ended; a list, so that a second end shows."""
        ends: dict[int, list[str]] = {}
        for event in self.events:
            if isinstance(event, Ended):
                ends.setdefault(event.dialog, []).append(event.why)
        return ends

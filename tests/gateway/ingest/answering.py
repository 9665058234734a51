"""The agent behind its real listeners, UDP, TCP and TLS, with its real gate: it answers every call that is let in."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from gateway.config import Settings
from gateway.ingest.certificates import contexts
from gateway.ingest.identity import Identity
from gateway.ingest.listeners import Listeners
from gateway.sip.events import Acknowledged, Ended, Event, Invited, Reinvited
from gateway.sip.events import Settings as AgentSettings
from gateway.sip.flow import Flow
from gateway.sip.uas import UserAgent
from gateway.sip_settings import SipTls
from gateway.tenants import Directory
from tests.gateway.sip.harness import ANSWER, HOST

START_S = 10.0


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time can be put forward, so that nobody waits for a limit of hours."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


class ListeningServer:
    """Runs an event loop in a thread of its own; every event is kept in order."""

    def __init__(
        self, configuration: Mapping[str, Any] | None = None, *, answer: bool = True, hang_up: bool = False
    ) -> None:
        tree = {"sip": {"listen": f"{HOST}:0"}, **(configuration or {})}
        self.settings = Settings.model_validate(tree)
        self.events: list[Event] = []
        self.counters: Counter[str] = Counter()
        self.identity = Identity(self.settings, Directory(self.settings), os.urandom)
        self.agent = UserAgent(AgentSettings(), os.urandom, self.identity)
        self._answer = answer
        self._hang_up = hang_up
        self._timer: asyncio.TimerHandle | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="listening-server")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(START_S), "the server did not start"
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, over both transports."""
        return self._listeners.address

    @property
    def secure_address(self) -> tuple[str, int]:
        """Where it listens over TLS."""
        return self._listeners.secure_address

    def secure(self, tls: SipTls) -> None:
        """Certificates of new connections."""
        self._listeners.secure(contexts(tls))

    @property
    def invited(self) -> list[Invited]:
        """The calls that were let in, in order."""
        return [event for event in self.events if isinstance(event, Invited)]

    @property
    def ends(self) -> Counter[str]:
        """Why calls ended."""
        return Counter(event.why for event in self.events if isinstance(event, Ended))

    def skip(self, seconds: float) -> None:
        """Lets time pass for the connections."""

        def put_forward(now: float) -> None:
            self._loop.ahead_s += seconds

        self.do(lambda now: None)  # what has arrived is read first
        self.do(put_forward)

    def do(self, work: Callable[[float], object]) -> None:
        """Something with the agent, on its own loop; waits until it is done."""
        done = threading.Event()

        def run() -> None:
            work(time.monotonic())
            self._pump()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(START_S)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=Clock) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Clock)
        self._loop = loop
        self._stop = asyncio.Event()
        self._listeners = Listeners(self.settings, self.identity, self._receive, self.counters)
        if self.settings.sip.secure:
            self.secure(self.settings.sip.tls)
        async with self._listeners.open():
            self._started.set()
            await self._stop.wait()
        if self._timer is not None:
            self._timer.cancel()

    def _receive(self, data: bytes, flow: Flow) -> None:
        self.agent.receive(data, flow, time.monotonic())
        self._pump()

    def _pump(self) -> None:
        now = time.monotonic()
        self.agent.timers(now)
        for event in self.agent.take_events():
            self.events.append(event)
            if isinstance(event, Invited | Reinvited) and self._answer:
                self.agent.accept(event.dialog, ANSWER, now)
            elif isinstance(event, Acknowledged) and self._hang_up:
                self.agent.bye(event.dialog, now)
        for data, flow in self.agent.take_outgoing():
            self._listeners.send(data, flow)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.agent.next_deadline()
        self._timer = None if deadline is None else self._loop.call_later(max(0.0, deadline - now), self._pump)

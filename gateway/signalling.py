"""The socket and the clock around a `Caller` with one call: datagrams, or one connection over TLS."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from contextlib import suppress
from typing import cast

from gateway.errors import GatewayError
from gateway.ingest.handshakes import HANDSHAKE_S, SHUTDOWN_S
from gateway.sip.events import Settings, sent_by
from gateway.sip.flow import Flow
from gateway.sip.framing import Framer, Message
from gateway.sip.grammar import Address
from gateway.sip.outcomes import Answered, CallerEvent, Failed, HungUp
from gateway.sip.uac import Caller

END_S_MAX = 40.0
"""For our BYE: longer than its transaction may take (64*T1)."""

CANCEL_S_MAX = 2.0
"""For the answer to our CANCEL, when the caller of this code has lost its patience."""


class CallFailed(GatewayError):
    """The call was not established, or its answer cannot be used; `status` is the peer's, or 0."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(f"call failed: {status} {reason}" if status else f"call failed: {reason}")
        self.status = status


class Signalling:
    """One call; `open` comes first, `close` last."""

    def __init__(self) -> None:
        self.answered_at = 0.0
        self.over_at = 0.0
        self.over_by = "us"
        self.over = asyncio.Event()
        self._caller: Caller | None = Caller(Settings(server_name="callvault-caller"), secrets.token_bytes)
        self._call = 0
        self._answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._way: _Datagrams | _Connection | None = None

    async def open(self, target: Address, local_address: str, secure: ssl.SSLContext | None) -> None:
        """Get ready to call `target`, over TLS if there is a context for it. Raises OSError."""
        loop = asyncio.get_running_loop()
        if secure is None:
            _, self._way = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self, target), local_addr=(local_address, 0)
            )
        else:
            _, self._way = await loop.create_connection(
                lambda: _Connection(self, target),
                *target,
                local_addr=(local_address, 0),
                ssl=secure,
                server_hostname=target[0],
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )

    async def call(self, body: bytes, from_user: str, to_user: str, *, offerless: bool) -> Answered:
        """INVITE until it is answered. The transaction limits the wait; given up from outside, it is cancelled."""
        assert self._caller is not None
        assert self._way is not None, "it is open"
        flow = self._way.flow
        self._call = self._caller.invite(
            f"sip:{to_user}@{sent_by(flow.remote)}{';transport=tls' if flow.secure else ''}",
            flow,
            b"" if offerless else body,
            time.monotonic(),
            caller=f"sip:{from_user}@{sent_by(flow.local)}",
            answer=body,
        )
        self._pump(self._caller)
        try:
            return await self._answer
        except asyncio.CancelledError:
            await self.hang_up(CANCEL_S_MAX)
            raise

    async def hang_up(self, wait_s: float = END_S_MAX) -> None:
        """BYE or CANCEL, if the call is not over yet; returns when that is answered, or after `wait_s`."""
        assert self._caller is not None
        if self._caller.hang_up(self._call, time.monotonic()):
            self.over_at = time.monotonic()
            self._pump(self._caller)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.over.wait()

    def close(self) -> None:
        """Nothing more is sent or received."""
        if self._timer is not None:
            self._timer.cancel()
        self._caller = None
        if self._way is not None:
            self._way.close()

    def receive(self, data: bytes, flow: Flow) -> None:
        """One message."""
        if self._caller is not None:
            self._caller.receive(data, flow, time.monotonic())
            self._pump(self._caller)

    def lost(self) -> None:
        """The connection is gone, and the call with it: a caller listens nowhere for another."""
        self._on_event(HungUp(self._call, "lost"))
        if not self._answer.done():
            self._answer.set_exception(CallFailed("the connection was closed"))

    def _on_timer(self) -> None:
        self._timer = None
        if self._caller is not None:
            self._caller.timers(time.monotonic())
            self._pump(self._caller)

    def _pump(self, caller: Caller) -> None:
        for event in caller.take_events():
            self._on_event(event)
        for data, flow in caller.take_outgoing():
            if self._way is not None:
                self._way.send(data, flow)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = caller.next_deadline()
        if deadline is not None:
            delay_s = max(0.0, deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_event(self, event: CallerEvent) -> None:
        match event:
            case Answered():
                self.answered_at = time.monotonic()
                if not self._answer.done():
                    self._answer.set_result(event)
            case Failed():
                self.over.set()
                if not self._answer.done():
                    self._answer.set_exception(CallFailed(event.reason, event.status))
            case HungUp():
                if not self.over.is_set():
                    self.over_at = self.over_at or time.monotonic()
                    self.over_by = event.by
                self.over.set()
            case _:
                pass


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, signalling: Signalling, target: Address) -> None:
        self.flow = Flow("udp", ("", 0), target)
        self._signalling = signalling

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # Python 3.11's own is no subclass of it
        self.flow = Flow("udp", transport.get_extra_info("sockname")[:2], self.flow.remote)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._signalling.receive(data, self.flow.to(addr[:2]))

    def send(self, data: bytes, flow: Flow) -> None:
        self._transport.sendto(data, flow.remote)

    def close(self) -> None:
        self._transport.close()


class _Connection(asyncio.Protocol):
    def __init__(self, signalling: Signalling, target: Address) -> None:
        self.flow = Flow("tls", ("", 0), target, 1)
        self._signalling = signalling
        self._framer = Framer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.flow = Flow("tls", transport.get_extra_info("sockname")[:2], self.flow.remote, 1)

    def data_received(self, data: bytes) -> None:
        for frame in self._framer.feed(data):
            if isinstance(frame, Message):
                self._signalling.receive(frame.data, self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._signalling.lost()

    def send(self, data: bytes, flow: Flow) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._transport.abort()

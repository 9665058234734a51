"""SIP over UDP: the socket around the user agent, and what each of its events means for a call."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from typing import cast

from gateway.admission import Busy
from gateway.call import Call, Parties
from gateway.config import Settings
from gateway.sip.events import Acknowledged, Cancelled, Ended, Event, Invited, Reinvited
from gateway.sip.events import Settings as AgentSettings
from gateway.sip.grammar import NameAddr
from gateway.sip.message import Request
from gateway.sip.uas import UserAgent
from gateway.switchboard import RETRY_AFTER_S, Switchboard, answerable
from gateway.tenants import Directory
from media.errors import Malformed
from media.sdp import LocalMedia, SessionDescription, answer, parse
from storage.model import CallId

log = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 4 << 20  # some thousand INVITEs: the loop may stand still for a second without loss


class SipUdp(asyncio.DatagramProtocol):
    """One SIP listener. Everything runs on the event loop, one datagram at a time."""

    def __init__(
        self, settings: Settings, listen: tuple[str, int], directory: Directory, switchboard: Switchboard
    ) -> None:
        self._settings = settings
        self._listen = listen
        self._directory = directory
        self._switchboard = switchboard
        self._agent = UserAgent(
            AgentSettings(listen[0], listen[1], max_dialogs=settings.sip.calls_max),
            secrets.token_bytes,
            admit=lambda first, now: directory.trunk(first[0]) == directory.trunk(now[0]),
        )
        self._calls: dict[int, tuple[Call, SessionDescription, int]] = {}
        self._dialogs: dict[CallId, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._counted: Counter[str] = Counter()
        switchboard.hang_up = self.hang_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._counted["datagrams"] += 1
        self._agent.receive(data, (addr[0], addr[1]), self._listen, time.monotonic())
        self._pump()

    def error_received(self, exc: Exception) -> None:
        self._counted["socket_errors"] += 1  # ICMP for something we sent: the transaction's timers deal with it

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start: here, and in the user agent (its names begin with `sip_`)."""
        return self._counted + Counter({f"sip_{name}": count for name, count in self._agent.counts.items()})

    def warm_up(self) -> None:
        """Take a call that nobody sees, so that the first real one does not pay for what is done once."""
        agent = UserAgent(AgentSettings(*self._listen), secrets.token_bytes)
        agent.receive(_SAMPLE, ("192.0.2.1", 5060), self._listen, time.monotonic())
        for event in agent.take_events():
            if isinstance(event, Invited) and answerable(offer := parse(event.body)):
                self._directory.find(event.source[0], _user(event.request.uri))
                _parties(event.request, event.source[0])
                ours, here = [LocalMedia(2), None], self._settings.media.address
                described = answer(offer, ours, origin_id=1, origin_version=1, address=here, receive_only=False)
                agent.accept(event.dialog, described.to_bytes(), time.monotonic())
        agent.take_datagrams()

    def drain(self) -> None:
        """From now on new calls get 503, and OPTIONS says so."""
        self._agent.draining = True
        self._switchboard.draining = True

    def hang_up(self, call: CallId) -> None:
        """Send BYE for a live call; its record follows."""
        dialog = self._dialogs.get(call)
        if dialog is not None:
            self._agent.bye(dialog, time.monotonic())
            self._pump()

    def hang_up_all(self) -> None:
        """BYE to every call."""
        for call in list(self._dialogs):
            self.hang_up(call)

    def _pump(self) -> None:
        """Work off what the agent has to say, then set its timer."""
        while events := self._agent.take_events():
            for event in events:
                self._on_event(event)
        self._flush()
        deadline = self._agent.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _flush(self) -> None:
        assert self._transport is not None
        for data, destination, _ in self._agent.take_datagrams():
            self._transport.sendto(data, destination)

    def _on_timer(self) -> None:
        self._timer = None
        self._agent.timers(time.monotonic())
        self._pump()

    def _on_event(self, event: Event) -> None:
        match event:
            case Invited():
                self._on_invited(event)
            case Reinvited():
                self._on_reinvited(event)
            case Ended():
                self._on_ended(event)
            case Acknowledged() | Cancelled():
                pass

    def _on_invited(self, event: Invited) -> None:
        now = time.monotonic()
        match = self._directory.find(event.source[0], _user(event.request.uri))
        if match is None:
            self._counted["refused_unknown_source"] += 1
            self._agent.reject(event.dialog, 403, "Forbidden", now)
            return
        try:
            offer = parse(event.body)
        except Malformed as error:
            self._counted["refused_sdp"] += 1
            status, reason = (400, f"Bad SDP: {error}") if event.body else (488, "Offer Required")
            self._agent.reject(event.dialog, status, reason, now)
            return
        if not answerable(offer):
            self._counted["refused_codec"] += 1
            self._agent.reject(event.dialog, 488, "Not Acceptable Here", now, headers=[("Warning", _NO_CODEC)])
            return
        try:
            call = self._switchboard.begin(match, offer, _parties(event.request, event.source[0]))
        except Busy as busy:
            self._counted["refused_busy"] += 1
            log.warning("call refused", extra={"reason": busy.reason})
            retry = [("Retry-After", str(RETRY_AFTER_S))]
            self._agent.reject(event.dialog, 503, "Service Unavailable", now, headers=retry)
            return
        self._calls[event.dialog] = (call, offer, 1)
        self._dialogs[call.id] = event.dialog
        self._switchboard.answered(call, offer)
        self._agent.accept(event.dialog, self._answer(call, offer, 1), time.monotonic())

    def _on_reinvited(self, event: Reinvited) -> None:
        call, former, version = self._calls[event.dialog]
        now = time.monotonic()
        try:
            offer = parse(event.body) if event.body else former
        except Malformed as error:
            self._agent.reject(event.dialog, 400, f"Bad SDP: {error}", now)
            return
        if not answerable(offer) or len(offer.media) < len(former.media):
            self._agent.reject(event.dialog, 488, "Not Acceptable Here", now)
            return
        self._calls[event.dialog] = (call, offer, version + 1)
        self._switchboard.update(call, offer)
        self._agent.accept(event.dialog, self._answer(call, offer, version + 1), now)

    def _on_ended(self, event: Ended) -> None:
        found = self._calls.pop(event.dialog, None)
        if found is not None:
            self._dialogs.pop(found[0].id, None)
            self._switchboard.end(found[0], event.why)

    def _answer(self, call: Call, offer: SessionDescription, version: int) -> bytes:
        ports = {leg.index: LocalMedia(leg.pair.port) for leg in call.legs}
        described = answer(
            offer,
            [ports.get(index) for index in range(len(offer.media))],
            origin_id=int(call.id[:12], 16),
            origin_version=version,
            address=self._settings.media.address,
            receive_only=call.trunk.receive_only,
        )
        return described.to_bytes()


_SAMPLE_OFFER = """v=0
o=- 1 1 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 40000 RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=ptime:20
a=label:1
a=sendonly
m=audio 40002 RTP/AVP 0
a=label:2
a=sendonly
"""
_SAMPLE = f"""INVITE sip:1@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKsample;rport
Max-Forwards: 70
From: "A" <sip:2@192.0.2.1>;tag=1
To: <sip:1@192.0.2.2>
Call-ID: sample
CSeq: 1 INVITE
Contact: <sip:2@192.0.2.1:5060>
Content-Type: application/sdp
Content-Length: {len(_SAMPLE_OFFER)}

{_SAMPLE_OFFER}""".encode()

_NO_CODEC = '305 callvault "Incompatible media format: PCMA, PCMU over RTP/AVP are taken"'


def _parties(request: Request, source: str) -> Parties:
    caller, called = request.from_, request.to
    return Parties(
        from_user=_user(caller.uri),
        from_display=_display(caller),
        from_uri=str(caller.uri),
        to_user=_user(request.uri),
        to_uri=str(called.uri),
        source=source,
        protocol_call_id=request.call_id,
    )


def _display(party: NameAddr) -> str:
    return (getattr(party, "name", None) or "")[:256]


def _user(uri: str) -> str:
    """The user part of a SIP or tel URI, without parameters."""
    scheme, _, rest = str(uri).partition(":")
    if scheme.lower() == "tel":
        return rest.partition(";")[0]
    return rest.partition("@")[0].partition(";")[0] if "@" in rest else ""

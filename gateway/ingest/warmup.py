"""A call that nobody sees: what is done once in a process is done before the first real caller waits for it."""

from __future__ import annotations

import secrets
import time

from gateway.calls.offer import answerable
from gateway.ingest.parties import parties_of, user_of
from gateway.sip.events import Invited, Settings
from gateway.sip.flow import Flow
from gateway.sip.uas import UserAgent
from gateway.tenants import Directory
from media.sdp import LocalMedia, answer, parse

_OFFER = """v=0
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
_INVITE = f"""INVITE sip:1@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKsample;rport
Max-Forwards: 70
From: "A" <sip:2@192.0.2.1>;tag=1
To: <sip:1@192.0.2.2>
Call-ID: sample
CSeq: 1 INVITE
Contact: <sip:2@192.0.2.1:5060>
Content-Type: application/sdp
Content-Length: {len(_OFFER)}

{_OFFER}""".encode()

_FLOW = Flow("udp", ("192.0.2.2", 5060), ("192.0.2.1", 5060))


def warm_up(directory: Directory, media_address: str) -> None:
    """INVITE to 200 in an agent of its own; nothing is sent."""
    agent = UserAgent(Settings(), secrets.token_bytes)
    agent.receive(_INVITE, _FLOW, time.monotonic())
    for event in agent.take_events():
        if isinstance(event, Invited) and answerable(offer := parse(event.body)):
            directory.find(event.granted.source, user_of(event.request.uri))
            parties_of(event.request, event.granted.source, trusted=False)
            ours = [LocalMedia(2), None]
            described = answer(offer, ours, origin_id=1, origin_version=1, address=media_address, receive_only=False)
            agent.accept(event.dialog, described.to_bytes(), time.monotonic())

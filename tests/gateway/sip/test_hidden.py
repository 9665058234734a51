"""Keys in descriptions pass through the agent and show nowhere."""

from __future__ import annotations

import os

from gateway.sip.events import Invited, Settings
from gateway.sip.flow import Flow
from gateway.sip.uas import UserAgent
from tests.gateway.sip.bench import packet
from tests.gateway.sip.harness import ANSWER

THEIRS, OURS = (f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n".encode() for key in ("THEIRS", "OURS"))


def test_what_an_agent_keeps_of_a_call_does_not_show_its_keys() -> None:
    agent, flow = UserAgent(Settings(), os.urandom), Flow("tls", ("192.0.2.1", 5061), ("192.0.2.9", 40000), 1)
    agent.receive(packet("INVITE", body=ANSWER + THEIRS), flow, 1.0)
    [event] = agent.take_events()
    assert isinstance(event, Invited)
    assert b"THEIRS" in event.body
    agent.accept(event.dialog, ANSWER + OURS, 1.0)
    dialog = agent._endpoint.dialogs.get(event.dialog)
    assert dialog is not None
    assert b"OURS" in dialog.sdp
    kept = repr((event, dialog, list(agent._endpoint.transactions._servers.values())))
    assert "THEIRS" not in kept
    assert "OURS" not in kept

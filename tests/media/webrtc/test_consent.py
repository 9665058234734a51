"""Consent to send (RFC 7675) that is not renewed ends a session: its peer is gone without a word."""

from __future__ import annotations

import asyncio
import time

from benchmarks.browsers import Browser
from media.webrtc.messages import Over

from .test_worker import Gateway, packet, received, run

CONSENT_S = 30.0  # RFC 7675 §5.1: it expires after so long without an answer
SLACK_S = 15.0  # aioice counts six checks, each some 5 s after the one before and awaited for 0.5 s


def test_a_peer_that_answers_no_check_is_given_up_and_one_that_does_is_kept() -> None:
    async def test(gateway: Gateway) -> None:
        leaving, staying = Browser(), Browser()
        await leaving.connect(await gateway.accept(leaving, 1))
        await staying.connect(await gateway.accept(staying, 2))
        leaving.vanish()
        gone = time.monotonic()
        over = await asyncio.wait_for(until_over(gateway), CONSENT_S + SLACK_S)
        assert over == Over(1, "the peer has gone")
        assert time.monotonic() - gone > CONSENT_S - SLACK_S
        assert staying.state == "connected"  # silent for as long, but its checks are answered
        staying.send(packet(7))
        assert (await received(gateway.taps[1][0].rtp_socket))[: len(packet(7))] == packet(7)
        await staying.close()

    run(test)


async def until_over(gateway: Gateway) -> Over:
    while True:
        try:
            found = await gateway.hear()
        except TimeoutError:
            continue
        if isinstance(found, Over):
            return found

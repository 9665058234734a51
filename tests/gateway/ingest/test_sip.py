"""Whatever goes wrong with one call, the others go on."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from gateway.calls.announcement import Prompt
from gateway.config import Settings
from gateway.ingest.sip import SipIngest
from gateway.tenants import Directory
from tests.gateway.calls.test_switchboard import bench
from tests.gateway.sip.bench import packet, response_of
from tests.gateway.sip.harness import HOST

LIMIT_S = 20.0


class Broken(dict[str, Prompt]):
    """A part of ours with a fault in it."""

    def get(self, *_: object) -> Prompt | None:  # type: ignore[override]  # whatever it is asked
        raise RuntimeError("a fault")


async def answered(peer: socket.socket, address: tuple[str, int], call: str) -> int:
    """The final answer to an INVITE of this Call-ID."""
    invite = packet("INVITE", call=call, branch=call).replace(b":5061;branch", b":5061;rport;branch")
    peer.sendto(invite, address)
    async with asyncio.timeout(LIMIT_S):
        while (response := response_of(await asyncio.get_running_loop().sock_recv(peer, 65_535))).status < 200:
            pass
    assert response.call_id == call
    return response.status


def test_calls_of_a_tenant_that_has_left_are_refused_for_good(tmp_path: Path) -> None:
    async def work() -> None:
        settings = Settings.model_validate({"sip": {"listen": f"{HOST}:0"}})
        async with bench(tmp_path) as b:
            ingest = SipIngest(settings, Directory(settings), b.board)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind((HOST, 0))
                peer.setblocking(False)
                async with ingest.listening() as address:
                    b.board.closed = {b.recordings.tenant("default")}
                    assert await answered(peer, address, "late") == 403
                    assert ingest.counters["busy_tenant_closed"] == 1
                    b.board.closed = set()
                    assert await answered(peer, address, "reopened") == 200
                    ingest.hang_up_all()
                    await b.board.settled(LIMIT_S)

    asyncio.run(work())


def test_a_fault_of_ours_ends_its_call_and_no_other(tmp_path: Path) -> None:
    async def work() -> None:
        settings = Settings.model_validate({"sip": {"listen": f"{HOST}:0"}})
        async with bench(tmp_path) as b:
            ingest = SipIngest(settings, Directory(settings), b.board)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind((HOST, 0))
                peer.setblocking(False)
                async with ingest.listening() as address:
                    b.board.prompts = Broken()
                    assert await answered(peer, address, "unlucky") == 480
                    b.board.prompts = {}
                    assert await answered(peer, address, "lucky") == 200
                    assert ingest.counters["events_failed"] == 1
                    ingest.hang_up_all()
                    await b.board.settled(LIMIT_S)

    asyncio.run(work())

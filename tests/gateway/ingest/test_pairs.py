"""Two dialogs of a call that a phone forks are its two tracks: whichever comes first, hangs up first, or is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.call import Call
from gateway.calls.identifiers import Sort, wanted
from gateway.config import Settings
from gateway.ingest.pairs import PARTNER_S, Pairs
from gateway.ingest.sip import SipIngest
from gateway.sip.message import Request, Response, parse
from gateway.tenants import Directory, Match
from media.messages import Close, Open, Quiet, Update
from media.sdp import parse as parse_sdp
from storage.model import Kind
from tests.gateway.calls.test_switchboard import Bench, bench, detail_of
from tests.gateway.sip.bench import packet, reply_to, response_of
from tests.gateway.sip.harness import HOST
from tests.gateway.sip.siprec.test_fork import FAR, NEAR, invite

LIMIT_S = 20.0
SETTINGS = Settings.model_validate({"sip": {"listen": f"{HOST}:0"}})
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP {codec}\r\na=sendonly\r\n"
)


class Manager:
    """Unified CM, as far as a recorder sees it: dialogs over UDP."""

    def __init__(self, b: Bench, ingest: SipIngest, address: tuple[str, int], peer: socket.socket) -> None:
        self.b, self.ingest = b, ingest
        self._address, self._peer = address, peer
        self._numbers = itertools.count(1)
        self.tags: dict[str, str] = {}

    async def invite(self, call: str, parameters: str, *, uri: str = "", codec: int = 8, sdp: bool = True) -> Response:
        """An INVITE and its final answer; 200 is acknowledged."""
        body = SDP.format(host=HOST, port=40_000 + 2 * next(self._numbers), codec=codec).encode()
        data = self._packet("INVITE", call, parameters, uri=uri, body=body if sdp else b"")
        response = await self._ask(data, call)
        if response.status == 200:
            self.tags[call] = response.to.tag or ""
            self._send(self._packet("ACK", call, parameters, body=b"" if sdp else body))
        return response

    async def bye(self, call: str, parameters: str) -> Response:
        return await self._ask(self._packet("BYE", call, parameters, seq=2), call)

    async def probed(self) -> set[str]:
        """The Call-IDs of requests of ours that come now; each is told that there is no such dialog."""
        found: set[str] = set()
        while len(found) < len(self.tags):
            data = await self._receive()
            message = parse(data)
            if isinstance(message, Request):
                found.add(message.call_id)
                self._send(reply_to(data, 481))
        return found

    def _packet(
        self, method: str, call: str, parameters: str, *, uri: str = "", body: bytes = b"", seq: int = 1
    ) -> bytes:
        where = {"uri": uri or f"sip:9876@{HOST}", "branch": f"{call}-{method}", "to_tag": self.tags.get(call, "")}
        data = packet(method, call=call, body=body, seq=seq, **where)
        data = data.replace(b"<sip:alice@192.0.2.9>;", f"<sip:198101@192.0.2.9;{parameters}>;".encode(), 1)
        return data.replace(b":5061;branch", b":5061;rport;branch")

    async def _ask(self, data: bytes, call: str) -> Response:
        self._send(data)
        while True:
            received = await self._receive()
            if received.startswith(b"SIP/2.0") and response_of(received).status >= 200:
                response = response_of(received)
                assert response.call_id == call
                return response

    def _send(self, data: bytes) -> None:
        self._peer.sendto(data, self._address)

    async def _receive(self) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.get_running_loop().sock_recv(self._peer, 65_535)

    @property
    def calls(self) -> list[Call]:
        return list(self.b.board._calls.values())  # what nobody else need see

    def only(self) -> Call:
        (call,) = self.calls
        return call

    async def over(self) -> None:
        await self.b.board.settled(LIMIT_S)
        assert len(self.ingest._pairs) == 0


@asynccontextmanager
async def manager(folder: Path) -> AsyncIterator[Manager]:
    async with bench(folder) as b:
        ingest = SipIngest(SETTINGS, Directory(SETTINGS), b.board)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((HOST, 0))
            peer.setblocking(False)
            async with ingest.listening() as address:
                yield Manager(b, ingest, address, peer)
                ingest.hang_up_all()
                await b.board.settled(LIMIT_S)


def run(folder: Path, work: Callable[[Manager], Any]) -> None:
    async def all_of_it() -> None:
        async with manager(folder) as m:
            await work(m)

    asyncio.run(all_of_it())


def session_of(m: Manager, call: Call) -> dict[str, Any]:
    found: dict[str, Any] = detail_of(m.b, call)["recording_session"]
    return found


ORDERS = [(("near", NEAR), ("far", FAR)), (("far", FAR), ("near", NEAR))]


@pytest.mark.parametrize("first_gone", [0, 1])
@pytest.mark.parametrize("order", ORDERS, ids=["near first", "far first"])
def test_two_forks_are_one_call_of_two_tracks(tmp_path: Path, order: Any, first_gone: int) -> None:
    async def work(m: Manager) -> None:
        ports = []
        for name, parameters in order:
            answer = await m.invite(name, parameters)
            described = parse_sdp(answer.body)
            assert described.direction(described.media[0]).value == "recvonly"
            ports.append(described.media[0].port)
        call = m.only()
        assert [(leg.index, leg.label) for leg in call.legs] == [(("near", "far").index(n), n) for n, _ in order]
        assert [leg.pair.port for leg in call.legs] == ports
        opened = [command for command in m.b.worker.commands if isinstance(command, Open)]
        assert [command.remote for command in opened] == [(HOST, 40_002), (HOST, 40_004)]
        assert opened[0].origin_ns == opened[1].origin_ns
        assert not any(isinstance(command, Update) for command in m.b.worker.commands)  # the first one's as it was
        await asyncio.gather(*call.changes)
        assert (await m.bye(*order[first_gone])).status == 200
        assert m.only() is call
        (closed,) = (command for command in m.b.worker.commands if isinstance(command, Close))
        assert closed.leg == call.legs[first_gone].number
        assert (await m.bye(*order[1 - first_gone])).status == 200
        await m.over()
        session = session_of(m, call)
        assert session["by"] == "cisco"
        tracks = {track["label"]: track for track in session["tracks"]}
        assert set(tracks) == {"near", "far"}
        people = {presence["id"] for track in tracks.values() for presence in track["participants"]}
        assert people == {entry["id"] for entry in session["participants"]} and len(people) == 2
        assert [event["what"] for event in session["events"]] == ["hung_up"]
        assert tracks[order[first_gone][0]]["until_ms"] is not None
        identity = call.new.find(Kind.IDENTITY) if call.new else None
        assert identity is not None
        told = json.loads(m.b.recordings.document(call.tenant, identity.ref.artefact))
        assert told["joined"] == [order[1][0]]
        addresses = {a for p in told["recording_session"]["participants"] for a in p["addresses"]}
        assert addresses == {"sip:198101@192.0.2.9", "sip:+31201234567@192.0.2.9"}
        for name, _ in order:
            found = m.b.recordings.find(call.tenant, wanted(Sort.CALL_ID, name, sees_withheld=False))
            assert [record.id for record in found] == [call.id]
        assert len(m.b.recordings.call(call.tenant, call.id).find(Kind.AUDIO)) == 2

    run(tmp_path, work)


def test_a_client_that_leaves_the_offer_to_us_is_joined_all_the_same(tmp_path: Path) -> None:
    async def work(m: Manager) -> None:
        for name, parameters in ORDERS[1]:
            answer = await m.invite(name, parameters, sdp=False)
            assert parse_sdp(answer.body).media[0].port
        call = m.only()
        async with asyncio.timeout(LIMIT_S):
            while sum(isinstance(command, Update) for command in m.b.worker.commands) < 2:  # by the ACKs
                await asyncio.sleep(0.01)
        opened = [command for command in m.b.worker.commands if isinstance(command, Open)]
        assert [command.answered for command in opened] == [False, False]
        updates = [command for command in m.b.worker.commands if isinstance(command, Update)]
        assert [(u.leg, u.remote, u.receiving) for u in updates] == [
            (leg.number, (HOST, port), True) for leg, port in zip(call.legs, (40_002, 40_004), strict=True)
        ]
        assert m.b.board.counters["media_address_refused"] == 0
        assert call.roster is not None
        assert call.roster.facts()["events"] == []

    run(tmp_path, work)


def test_an_end_whose_partner_never_comes_is_a_call_of_one_track_that_says_so(tmp_path: Path) -> None:
    async def work(m: Manager) -> None:
        await m.invite("far", FAR)
        call = m.only()
        await m.bye("far", FAR)
        await m.over()
        (event,) = session_of(m, call)["events"]
        assert (event["what"], event["line"]) == ("never_came", 0)
        assert m.ingest.counters["partners_missing"] == 1
        await m.invite("near", NEAR)  # too late: its own call
        assert [leg.label for leg in m.only().legs] == ["near"]

    run(tmp_path, work)


def test_calls_that_are_recorded_twice_are_kept_apart(tmp_path: Path) -> None:
    """Both phones of a call, two recorders' numbers for one of them: each has two forks, and they come mixed."""
    other = NEAR.replace("x-refci=27298698", "x-refci=27298699")
    second = f"sip:9999@{HOST}"

    async def work(m: Manager) -> None:
        await m.invite("a-near", NEAR)
        await m.invite("b-near", other)
        await m.invite("c-near", NEAR, uri=second)
        await m.invite("b-far", other.replace("x-nearend;", "x-farend;"))
        await m.invite("c-far", FAR, uri=second)
        await m.invite("a-far", FAR)
        found = {call.parties.protocol_call_id: [p.protocol_call_id for p in call.joined] for call in m.calls}
        assert found == {"a-near": ["a-far"], "b-near": ["b-far"], "c-near": ["c-far"]}

    run(tmp_path, work)


def test_an_end_that_comes_again_is_another_call_and_the_next_partner_is_its(tmp_path: Path) -> None:
    async def work(m: Manager) -> None:
        await m.invite("near", NEAR)
        await m.invite("far", FAR)
        await m.bye("near", NEAR)
        await m.invite("near-again", NEAR)  # held and resumed, and the far end's BYE is late
        await m.invite("far-again", FAR)
        found = {call.parties.protocol_call_id: [p.protocol_call_id for p in call.joined] for call in m.calls}
        assert found == {"near": ["far"], "near-again": ["far-again"]}
        await m.bye("far", FAR)
        assert [call.parties.protocol_call_id for call in m.calls if not call.ending] == ["near-again"]

    run(tmp_path, work)


def test_a_pair_of_which_one_hung_up_is_asked_whether_it_stands_when_the_other_falls_silent(tmp_path: Path) -> None:
    async def work(m: Manager) -> None:
        await m.invite("near", NEAR)
        await m.invite("far", FAR)
        call = m.only()
        m.b.board.on_media(Quiet(call.legs[1].number, 300_000))
        assert m.b.board.counters["calls_probed"] == 0
        await m.bye("near", NEAR)
        assert m.b.board.counters["calls_probed"] == 1
        m.tags.pop("near")
        assert await m.probed() == {"far"}
        await m.over()

    run(tmp_path, work)


def test_an_end_that_cannot_be_taken_is_refused_and_may_come_again(tmp_path: Path) -> None:
    async def work(m: Manager) -> None:
        await m.invite("near", NEAR)
        call = m.only()
        assert (await m.invite("far", FAR, codec=18)).status == 488
        m.b.board._desk._ports, ports = _NoPorts(), m.b.board._desk._ports  # type: ignore[assignment]  # a small one
        assert (await m.invite("far-once-more", FAR)).status == 503
        m.b.board._desk._ports = ports
        assert (await m.invite("far-at-last", FAR)).status == 200
        assert m.only() is call
        assert [leg.label for leg in call.legs] == ["near", "far"]

    run(tmp_path, work)


class _NoPorts:
    def take(self, now: float, *, urgent: bool, ipv6: bool) -> None:
        from media.errors import Unavailable

        raise Unavailable("none")


def test_a_partner_is_awaited_for_so_long(tmp_path: Path) -> None:
    directory = Directory(SETTINGS)
    match = directory.find(HOST, "9876")
    assert match is not None
    matched = Match(match.trunk, match.tenant)

    async def work(m: Manager) -> None:
        await m.invite("near", NEAR)
        pairs = Pairs()
        first = pairs.seat(matched, invite(NEAR), None, 100.0)
        assert first is not None
        first.put(None)
        first.pair.call = m.only()
        for at, same in ((100.0 + PARTNER_S, True), (100.1 + PARTNER_S, False)):
            seat = pairs.seat(matched, invite(FAR), None, at)
            assert seat is not None
            assert (seat.pair is first.pair) is same

    run(tmp_path, work)

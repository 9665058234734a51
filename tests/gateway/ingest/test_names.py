"""Peers' names at a DNS server on loopback: what they stand for, when they are asked again, and what stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from gateway.ingest.names import ADDRESSES_MAX, TARGETS_MAX, USUAL, Names, Pace
from gateway.peers import PeerName
from tests.gateway.ingest.nameserver import NameServer

SBC = PeerName("host", "sbc.example")
SERVICE = PeerName("srv", "_sip._udp.carrier.example")
EITHER = PeerName("either", "_sip._udp.sbc.example")

RECORDS = {
    "sbc.example": [("A", "192.0.2.8"), ("A", "192.0.2.7"), ("AAAA", "2001:db8::7")],
    "_sip._udp.carrier.example": [
        ("SRV", "20 0 5060 sbc.example."),
        ("SRV", "10 1 5070 small.example."),
        ("SRV", "10 9 5080 large.example."),
        ("SRV", "5 0 5090 gone.example."),
    ],
    "small.example": [("A", "198.51.100.1")],
    "large.example": [("A", "198.51.100.2")],
    "nobody.example": [("A", "0.0.0.0"), ("A", "224.0.0.5"), ("A", "255.255.255.255"), ("AAAA", "::")],
    "empty.example": [("TXT", "x")],
    "_sip._udp.closed.example": [("SRV", "0 0 0 .")],
    "many.example": [("A", f"198.51.100.{n}") for n in range(1, 120)],
    "_sip._udp.many.example": [("SRV", f"{n} 0 5060 n{n}.example.") for n in range(30)],
    **{f"n{n}.example": [("A", f"203.0.113.{n + 1}")] for n in range(30)},
}


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer(dict(RECORDS)) as started:
        yield started


class Seen:
    """What names were told to their owner."""

    def __init__(self, server: NameServer, *wanted: PeerName, pace: Pace = USUAL) -> None:
        self.changes = 0
        self.failing: list[bool] = []
        self.names = Names([server.address], self._changed, lambda failing, now: self.failing.append(failing), pace)
        self.names.want(wanted)

    def _changed(self) -> None:
        self.changes += 1


def asked(server: NameServer, *wanted: PeerName) -> Seen:
    async def run() -> Seen:
        seen = Seen(server, *wanted)
        await seen.names.look()
        return seen

    return asyncio.run(run())


def test_a_host_stands_for_each_of_its_addresses(server: NameServer) -> None:
    seen = asked(server, SBC)
    assert seen.names.answers == {SBC: (("192.0.2.7", 0), ("192.0.2.8", 0), ("2001:db8::7", 0))}
    assert (seen.changes, seen.failing) == (1, [False])


def test_a_service_stands_for_its_hosts_in_its_order(server: NameServer) -> None:
    found = asked(server, SERVICE).names.answers[SERVICE]
    assert found[:3] == (("198.51.100.2", 5080), ("198.51.100.1", 5070), ("192.0.2.7", 5060))


def test_where_there_is_no_service_the_host_is_asked(server: NameServer) -> None:
    assert asked(server, EITHER).names.answers[EITHER][0] == ("192.0.2.7", 0)
    server.records["_sip._udp.sbc.example"] = [("SRV", "0 0 5099 small.example.")]
    assert asked(server, EITHER).names.answers[EITHER] == (("198.51.100.1", 5099),)


@pytest.mark.parametrize(
    "name",
    [
        PeerName("host", "unheard-of.example"),
        PeerName("host", "empty.example"),
        PeerName("host", "nobody.example"),
        PeerName("srv", "_sip._udp.closed.example"),
        PeerName("srv", "_sip._udp.unheard-of.example"),
        PeerName("either", "_sip._udp.unheard-of.example"),
        PeerName("host", ".".join(["a" * 60] * 5)),
    ],
)
def test_a_name_without_addresses_stands_for_none_and_is_told(server: NameServer, name: PeerName) -> None:
    seen = asked(server, name, SBC)
    assert seen.names.answers[name] == ()
    assert len(seen.names.answers[SBC]) == 3
    assert seen.failing == [True]


def test_an_answer_without_end_is_cut(server: NameServer) -> None:
    many, service = PeerName("host", "many.example"), PeerName("srv", "_sip._udp.many.example")
    answers = asked(server, many, service).names.answers
    assert (len(answers[many]), len(answers[service])) == (ADDRESSES_MAX, TARGETS_MAX)


def following(server: NameServer, work: Callable[[Seen], Awaitable[None]], pace: Pace = USUAL) -> Seen:
    """Names that are kept up while `work` goes on."""

    async def run() -> Seen:
        seen = Seen(server, SBC, pace=pace)
        task = asyncio.create_task(seen.names.run())
        try:
            await come(lambda: seen.changes == 1)
            await work(seen)
        finally:
            task.cancel()
        return seen

    return asyncio.run(run())


async def come(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


def test_the_last_good_answer_stands_while_dns_is_away(server: NameServer) -> None:
    async def work(seen: Seen) -> None:
        good = seen.names.answers
        server.silent = True
        await come(lambda: seen.failing[-1])
        assert seen.names.answers == good
        server.records["sbc.example"] = [("A", "192.0.2.99")]
        server.silent = False
        await come(lambda: seen.changes == 2)
        assert seen.names.answers == {SBC: (("192.0.2.99", 0),)}
        assert not seen.failing[-1]
        del server.records["sbc.example"]
        await come(lambda: seen.failing[-1])
        assert seen.names.answers == {SBC: (("192.0.2.99", 0),)}

    following(server, work, Pace(age_min=0.05, age_max=0.05, retry=0.05, lookup=0.2))


def test_a_name_that_is_new_is_asked_at_once_and_the_others_are_not(server: NameServer) -> None:
    async def work(seen: Seen) -> None:
        before = len(server.asked)
        seen.names.want([SBC, SERVICE])
        await come(lambda: seen.changes == 2)
        assert server.asked[before] == ("_sip._udp.carrier.example", "SRV")
        assert ("sbc.example", "A") in server.asked[before:], "as a target"
        seen.names.want([SERVICE])
        assert list(seen.names.answers) == [SERVICE]

    following(server, work)

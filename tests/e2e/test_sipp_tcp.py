"""sipp over TCP, all calls on one connection or each on its own; over IPv6; as a trunk that signs its requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.sip.digest import ha1
from tests.e2e.judge import SCENARIOS, Verdict, needs_sipp, sipp, undisturbed
from tests.e2e.system import running, until
from tests.e2e.test_sipp_system import states
from tests.gateway.ingest.answering import ListeningServer

pytestmark = [needs_sipp, pytest.mark.alone]

TCP = ("-max_socket", "1000", "-t")  # without a number of its own sipp wants more sockets than most machines allow
LIMIT_S = 60.0


def test_five_hundred_calls_at_fifty_a_second_over_tcp_beside_a_peer_with_a_connection_for_each(
    tmp_path: Path,
) -> None:
    one, each = tmp_path / "one", tmp_path / "each"
    one.mkdir()
    each.mkdir()
    with running(tmp_path) as system, ThreadPoolExecutor() as threads:
        client, port = system.client(), system.sip[1]
        first = threads.submit(sipp, port, one, ["-sn", "uac"], 500, "-r", "50", "-d", "100", *TCP, "t1")
        second = threads.submit(sipp, port, each, ["-sn", "uac"], 100, "-r", "10", "-d", "100", *TCP, "tn")
        assert first.result() == Verdict(successful=500, failed=0, retransmissions=0)
        assert second.result() == Verdict(successful=100, failed=0, retransmissions=0)
        until(lambda: not states(client)["live"], LIMIT_S)
        assert states(client) == {"no_media": 600}
        counters = client.json("/health/counters")
        assert (counters["connections"], counters["calls_answered"]) == (101, 600)


@pytest.mark.parametrize("way", ["t1", "u1"])
def test_a_trunk_that_signs_its_requests_is_let_in(way: str, tmp_path: Path) -> None:
    hashed = ha1("MD5", "carrier", "callvault", "secret")  # sipp 3.6 knows no other
    trunk = {"name": "signed", "tenant": "default", "users": [{"name": "carrier", "md5": hashed}]}

    def run() -> Verdict:
        with ListeningServer({"trunks": [{**trunk, "media_networks": ["127.0.0.0/8"]}]}) as server:
            scenario = ["-sf", str(SCENARIOS / "signed.xml")]
            verdict = sipp(server.address[1], tmp_path, scenario, 50, "-r", "50", *TCP, way)
            assert {event.granted.trunk for event in server.invited} == {"signed"}
            assert (len(server.invited), server.ends) == (50, {"bye": 50})
            assert not server.identity.counters
        return verdict

    assert undisturbed(run) == Verdict(successful=50, failed=0, retransmissions=0)


@pytest.mark.parametrize("way", ["t1", "u1"])
def test_calls_are_signalled_over_ipv6(way: str, tmp_path: Path) -> None:
    def run() -> Verdict:
        with ListeningServer({"sip": {"listen": "[::1]:0"}}) as server:
            verdict = sipp(server.address[1], tmp_path, ["-sn", "uac"], 50, "-r", "50", *TCP, way, host="::1")
            assert {event.flow.remote[0] for event in server.invited} == {"::1"}
            until(lambda: server.ends == {"bye": 50})
        return verdict

    assert undisturbed(run) == Verdict(successful=50, failed=0, retransmissions=0)

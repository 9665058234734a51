"""RTP ports come in pairs, even and odd, and rest before they come again."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from media.errors import Unavailable
from media.ports import PortPool

FIRST = 29_400


def test_pairs_are_even_and_odd_and_do_not_block() -> None:
    pair = PortPool("127.0.0.1", FIRST, FIRST + 10).take(0.0)
    with pair.rtp_socket, pair.rtcp_socket:
        assert pair.port % 2 == 0
        assert pair.rtp_socket.getsockname() == ("127.0.0.1", pair.port)
        assert pair.rtcp_socket.getsockname() == ("127.0.0.1", pair.port + 1)
        with pytest.raises(BlockingIOError):
            pair.rtp_socket.recv(1)


def test_a_released_port_rests() -> None:
    pool = PortPool("127.0.0.1", FIRST + 20, FIRST + 22, rest_s=60)
    pair = pool.take(0.0)
    pool.release(pair, 10.0)
    with pytest.raises(Unavailable):
        pool.take(69.9)
    again = pool.take(70.0)
    with again.rtp_socket, again.rtcp_socket:
        assert again.port == pair.port


def test_every_pair_is_handed_out_once_and_then_none() -> None:
    pool = PortPool("127.0.0.1", FIRST + 31, FIRST + 40)
    with ExitStack() as open_sockets:
        ports = set()
        for _ in range(4):
            pair = pool.take(0.0)
            open_sockets.callback(pair.close)
            ports.add(pair.port)
        assert ports == {FIRST + 32, FIRST + 34, FIRST + 36, FIRST + 38}
        with pytest.raises(Unavailable):
            pool.take(0.0)


def test_the_last_pairs_are_kept_for_who_is_urgent() -> None:
    pool = PortPool("127.0.0.1", FIRST + 100, FIRST + 164)  # 32 pairs, two of them kept
    with ExitStack() as open_sockets:
        for _ in range(30):
            open_sockets.callback(pool.take(0.0).close)
        with pytest.raises(Unavailable):
            pool.take(0.0)
        rested = pool.take(0.0, urgent=True)
        pool.release(rested, 0.0)
        with pytest.raises(Unavailable):
            pool.take(59.9)
        open_sockets.callback(pool.take(60.0, urgent=True).close)
        open_sockets.callback(pool.take(60.0, urgent=True).close)
        with pytest.raises(Unavailable):
            pool.take(60.0, urgent=True)


def test_a_port_that_another_program_holds_is_passed_over() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", FIRST + 51))
        pool = PortPool("127.0.0.1", FIRST + 50, FIRST + 54)
        pair = pool.take(0.0)
        with pair.rtp_socket, pair.rtcp_socket:
            assert pair.port == FIRST + 52


def test_the_first_port_differs_from_start_to_start() -> None:
    ports = set()
    for _ in range(12):
        pair = PortPool("127.0.0.1", FIRST + 100, FIRST + 300).take(0.0)
        pair.close()
        ports.add(pair.port)
    assert len(ports) > 1


def test_a_pair_is_of_the_family_that_is_asked_for() -> None:
    pool = PortPool("127.0.0.1", FIRST + 320, FIRST + 324, address6="::1")
    with ExitStack() as open_sockets:
        six, four = pool.take(0.0, ipv6=True), pool.take(0.0)
        for pair in (six, four):
            open_sockets.callback(pair.close)
        assert (six.ipv6, four.ipv6) == (True, False)
        assert [pair.rtp_socket.getsockname()[0] for pair in (six, four)] == ["::1", "127.0.0.1"]
        assert six.rtcp_socket.getsockname()[:2] == ("::1", six.port + 1)
        assert six.rtp_socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert six.port != four.port, "a port rests, whoever had it"
        with pytest.raises(Unavailable):
            pool.take(0.0, ipv6=True)


def test_without_an_address_there_is_none_of_ipv6() -> None:
    pool = PortPool("127.0.0.1", FIRST + 330, FIRST + 332)
    with pytest.raises(Unavailable, match="IPv6"):
        pool.take(0.0, ipv6=True)
    pool.take(0.0).close()

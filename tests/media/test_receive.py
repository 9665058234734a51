"""One pass takes what waits in many sockets: who sent it, when the kernel got it, and never more than there is room."""

from __future__ import annotations

import socket
import time

from media.endpoints import source_number
from media.ports import SO_RXQ_OVFL
from media.receive import BURST, SLOT_BYTES, Arena, Readiness, Sources, send

from .bench import LOOPBACK, Twins, udp_socket


def test_datagrams_come_with_their_socket_source_and_stamp() -> None:
    arena, sockets = Arena(64, Twins.core), [udp_socket() for _ in range(3)]
    sender = udp_socket()
    before_ns = time.time_ns()
    for index, text in ((0, b"one"), (2, b"two"), (2, b"three")):
        sender.sendto(text, sockets[index].getsockname())
    batch = arena.receive(Sources({10 + i: sock.fileno() for i, sock in enumerate(sockets)}))
    assert batch.keys.tolist() == [10, 12, 12]
    assert batch.lengths.tolist() == [3, 3, 5]
    assert batch.sources.tolist() == [source_number(*sender.getsockname())] * 3
    assert all(before_ns <= stamp <= time.time_ns() for stamp in batch.stamps_ns.tolist())
    texts = [arena.octets[i * SLOT_BYTES :][: batch.lengths[i]].tobytes() for i in range(3)]
    assert texts == [b"one", b"two", b"three"]
    assert not batch.more


def test_a_backlog_is_taken_in_bursts_and_in_order() -> None:
    arena, sock, sender = Arena(24, Twins.core), udp_socket(), udp_socket()
    for i in range(40):
        sender.sendto(bytes([i]), sock.getsockname())
    seen, passes = [], 0
    while True:
        batch = arena.receive(Sources({0: sock.fileno()}))
        assert len(batch.keys) <= BURST
        seen += [int(arena.octets[i * SLOT_BYTES]) for i in range(len(batch.keys))]
        passes += 1
        if not batch.more:
            break
    assert seen == list(range(40))
    assert passes == 3


def test_a_full_arena_leaves_the_rest_in_the_sockets() -> None:
    arena, sockets, sender = Arena(4, Twins.core), [udp_socket() for _ in range(8)], udp_socket()
    for sock in sockets:
        sender.sendto(b"x", sock.getsockname())
    sources = Sources({i: sock.fileno() for i, sock in enumerate(sockets)})
    batches = [arena.receive(sources) for _ in range(3)]
    assert [batch.keys.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], []]
    assert [batch.more for batch in batches] == [True, True, False]


def test_no_socket_waits_because_those_before_it_always_have_something() -> None:
    arena, sockets, sender = Arena(4, Twins.core), [udp_socket() for _ in range(8)], udp_socket()
    sources = Sources({i: sock.fileno() for i, sock in enumerate(sockets)})
    seen: list[int] = []
    for _ in range(4):
        for sock in sockets:
            sender.sendto(b"x", sock.getsockname())
        seen += arena.receive(sources).keys.tolist()
    assert set(seen) == set(range(8))


def test_a_datagram_that_does_not_fit_has_no_length() -> None:
    arena, sock, sender = Arena(4, Twins.core), udp_socket(), udp_socket()
    sender.sendto(bytes(SLOT_BYTES + 1), sock.getsockname())
    assert arena.receive(Sources({0: sock.fileno()})).lengths.tolist() == [0]


def test_what_a_full_buffer_has_cost_is_told_with_the_next_datagram() -> None:
    arena, sock, sender = Arena(64, Twins.core), udp_socket(), udp_socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    for _ in range(30):
        sender.sendto(bytes(172), sock.getsockname())
    sources = Sources({0: sock.fileno()})
    kept = len(arena.receive(sources).keys)
    sender.sendto(b"next", sock.getsockname())
    batch = arena.receive(sources)
    assert 0 < kept < 30
    assert batch.overflowed.tolist() == [30 - kept]
    assert batch.lengths.tolist() == [4]
    assert batch.stamps_ns[0] > 0


def test_readiness_names_the_sockets_that_can_be_read() -> None:
    readiness, quiet, busy, sender = Readiness(4), udp_socket(), udp_socket(), udp_socket()
    readiness.add(quiet.fileno())
    readiness.add(busy.fileno())
    assert readiness.ready() == []
    sender.sendto(b"x", busy.getsockname())
    assert readiness.ready() == [busy.fileno()]
    readiness.remove(busy.fileno())
    assert readiness.ready() == []


def test_an_answer_goes_back_where_a_datagram_came_from() -> None:
    ours, peer = udp_socket(), udp_socket()
    send(ours.fileno(), b"answer", source_number(*peer.getsockname()))
    assert peer.recvfrom(10) == (b"answer", (LOOPBACK, ours.getsockname()[1]))
